"""``vitpose convert`` and the function behind it: any layout in, two out, the same heatmaps."""

import json

import foreign_layouts as foreign
import pytest
import torch
from foreign_layouts import heatmaps, random_model, tiny_plus, tiny_spec, write
from typer.testing import CliRunner

from vitpose.cli.main import app
from vitpose.core.errors import UsageError, WeightsError
from vitpose.models.variants import PLUS_HEADS
from vitpose.weights.convert import convert_checkpoint
from vitpose.weights.load import load_model


@pytest.fixture
def plus(tmp_path):
    model = random_model(tiny_plus())
    return model, write(tmp_path / "plus.pth", foreign.original(model))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(found / scale, expected / scale, atol=1e-5, rtol=0)


def test_to_our_format_and_on_to_transformers_and_back(tmp_path, plus):
    model, source = plus
    own, there, back = tmp_path / "own.safetensors", tmp_path / "there", tmp_path / "back.safetensors"
    done = convert_checkpoint(source, own)
    assert done.datasets == tuple(head.dataset for head in PLUS_HEADS)
    assert done.sha256 == load_model(source).sha256
    assert any("class token" in note for note in done.notes)
    loaded = load_model(own)
    assert loaded.metadata["converted_from"]["sha256"] == done.sha256
    assert loaded.metadata["converted_from"]["source"] == str(source)
    for head in PLUS_HEADS:
        close(heatmaps(loaded.model, head.dataset), heatmaps(model, head.dataset))
    done = convert_checkpoint(own, there, to="huggingface", dataset="wholebody")
    assert done.datasets == ("wholebody",)
    assert any("no place for coco, aic, mpii, ap10k, apt36k" in note for note in done.notes)
    assert any("dataset_index=5" in note for note in done.notes)
    convert_checkpoint(there, back)
    found = load_model(back).model
    assert found.spec.heads == (PLUS_HEADS[5],)
    close(heatmaps(found), heatmaps(model, "wholebody"))


def test_a_second_conversion_keeps_where_the_first_read(tmp_path, plus):
    _, source = plus
    own, again, thrice = (tmp_path / f"{number}.safetensors" for number in range(3))
    first = convert_checkpoint(source, own)
    second = convert_checkpoint(own, again, dataset="aic", fold=True)
    convert_checkpoint(again, thrice, half=True)
    history = load_model(thrice).metadata["converted_from"]
    for expected, read in ((str(again), None), (str(own), second.sha256), (str(source), first.sha256)):
        assert history["source"] == expected
        assert read is None or history["sha256"] == read
        history = history.get("converted_from")
    assert history is None


@pytest.mark.parametrize("to", ["vitpose", "huggingface"])
def test_fold(tmp_path, plus, to):
    model, source = plus
    out = tmp_path / ("out.safetensors" if to == "vitpose" else "out")
    done = convert_checkpoint(source, out, to=to, dataset="ap10k", fold=True)
    assert done.datasets == ("ap10k",)
    found = load_model(out).model
    assert found.spec.backbone.experts == 0
    assert found.spec.heads[0].codec == "msra"
    close(heatmaps(found), heatmaps(model, "ap10k"))


@pytest.mark.parametrize("to", ["vitpose", "huggingface"])
def test_half(tmp_path, to):
    model = random_model(tiny_spec())
    source = write(tmp_path / "a.pth", foreign.original(model))
    out = tmp_path / ("out.safetensors" if to == "vitpose" else "out")
    convert_checkpoint(source, out, to=to, half=True)
    found = load_model(out).model.state_dict()["backbone.blocks.1.ffn.fc1.weight"]
    assert torch.equal(found, model.state_dict()["backbone.blocks.1.ffn.fc1.weight"].half().float())


def test_wrong_targets_fail_before_anything_is_read(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_text("")
    for out, to, message in (
        ("a.safetensors", "onnx", "unknown layout 'onnx'"),
        ("a.pth", "vitpose", r"end .*a\.pth in \.safetensors"),
        ("folder.safetensors", "vitpose", "one file"),
        ("a.safetensors", "huggingface", "is a folder"),
        ("file", "huggingface", "names a file"),
    ):
        with pytest.raises(UsageError, match=message):
            convert_checkpoint("not read", tmp_path / out, to=to)


def test_what_does_not_fit_leaves_nothing(tmp_path):
    spec = tiny_spec(foreign.HeadSpec(dataset="coco", skeleton="coco17", keypoints=17, deconv_width=8))
    source = write(tmp_path / "a.pth", foreign.original(random_model(spec)))
    with pytest.raises(WeightsError, match="deconvolutions of 8 channels"):
        convert_checkpoint(source, tmp_path / "out", to="huggingface")
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path, plus):
    _, source = plus
    out = tmp_path / "own.safetensors"
    result = CliRunner().invoke(app, ["convert", str(source), str(out), "--dataset", "aic", "--fold", "--json"])
    assert result.exit_code == 0, result.output
    done = json.loads(result.stdout)
    assert done["path"] == str(out)
    assert done["datasets"] == ["aic"]
    assert "left out coco, mpii" in result.stderr
    result = CliRunner().invoke(app, ["convert", str(out), str(tmp_path / "there"), "--to", "huggingface", "--half"])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "there")
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [
        "config.json", "model.safetensors", "preprocessor_config.json"
    ]  # fmt: skip


def test_the_command_names_a_skeleton(tmp_path):
    head = foreign.HeadSpec(dataset="hen", skeleton="hen", keypoints=2)
    source = write(tmp_path / "hen.pth", foreign.original(random_model(tiny_spec(head))))
    toml = tmp_path / "hen.toml"
    toml.write_text('name = "hen"\nkeypoints = ["beak", "tail"]\n')
    out = tmp_path / "hen.safetensors"
    result = CliRunner().invoke(app, ["convert", str(source), str(out)])
    assert isinstance(result.exception, WeightsError)
    result = CliRunner().invoke(app, ["convert", str(source), str(out), "--skeleton", str(toml)])
    assert result.exit_code == 0, result.output
    assert load_model(out).skeletons["hen"].keypoints == ("beak", "tail")
