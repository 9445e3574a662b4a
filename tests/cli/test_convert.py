"""``vitpose convert`` replaces what it wrote itself, and nothing else."""

import json
from pathlib import Path

import pytest
from foreign_layouts import random_model, tiny_spec
from typer.testing import CliRunner

from vitpose.cli.main import app
from vitpose.core.errors import UsageError
from vitpose.core.skeleton import load_skeleton
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.load import load_model

SKELETONS = {"coco": load_skeleton("coco17")}


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """What a training wrote."""
    path = tmp_path / "run" / "best.safetensors"
    path.parent.mkdir()
    save_checkpoint(path, random_model(tiny_spec()), SKELETONS, {"step": 7})
    return path


def convert(*words: object, fails: bool = False) -> str:
    done = CliRunner().invoke(app, ["convert", *map(str, words)])
    if fails:
        assert isinstance(done.exception, UsageError), (done.output, done.exception)
        return str(done.exception)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_the_source_is_not_replaced(best: Path, tmp_path: Path) -> None:
    before = best.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(best)
    (best.parent / "config.toml").write_text("")
    for source, target in ((best, best), (best, tmp_path / "link.safetensors"), (best.parent, best)):
        assert "is read by this command" in convert(source, target, "--half", fails=True)
    assert best.read_bytes() == before


def test_only_what_was_converted_is_replaced(best: Path, tmp_path: Path) -> None:
    out = tmp_path / "half.safetensors"
    for options in ((), ("--half",)):
        assert convert(best, out, *options).strip() == str(out)
    assert load_model(out).metadata["converted_from"]["source"] == str(best)
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, random_model(tiny_spec()), SKELETONS, {"step": 9})
    for content in (other.read_bytes(), b"mine", best.read_bytes()[:100]):
        other.write_bytes(content)
        assert f"{other} exists and is no result of `vitpose convert`" in convert(best, other, fails=True)
        assert other.read_bytes() == content
    other.write_bytes(b"")
    convert(best, other)


def test_folders_of_transformers_likewise(best: Path, tmp_path: Path) -> None:
    folder, back = tmp_path / "there", tmp_path / "back.safetensors"
    for options in ((), ("--half",)):
        convert(best, folder, "--to", "huggingface", *options)
    convert(folder, back)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for source in (folder, folder / "model.safetensors"):
        assert "is read by this command" in convert(source, folder, "--to", "huggingface", fails=True)
    config = json.loads(files["config.json"])
    for name, content in (("config.json", config | {"transformers_version": "5.1.0"}), ("config.json", None)):
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_text(json.dumps(content))
        message = convert(best, folder, "--to", "huggingface", fails=True)
        assert "exists and is no result of `vitpose convert`" in message
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
