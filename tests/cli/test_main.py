"""The command as a whole: what it writes can be read, whatever the locale and the names."""

import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from vitpose.cli.main import main


def vitpose(folder: Path, *arguments: str, encoding: str = "cp1252") -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "vitpose", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A folder with a name in Chinese, and a picture and labels in it."""
    folder = tmp_path / "图片"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "甲.png")
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 6, 6], "area": 36, "keypoints": [3, 3, 2]}
    plain = {
        "images": [{"id": 1, "file_name": "甲.png", "width": 8, "height": 8}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
    }
    (folder / "标签.json").write_text(json.dumps(plain))
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_json_is_unicode_whatever_the_locale(labels: Path, encoding: str) -> None:
    done = vitpose(labels.parent, "doctor", "data", labels.name, "--json", encoding=encoding)
    assert b"Traceback" not in done.stderr
    (report,) = json.loads(done.stdout.decode("utf-8"))
    assert report["source"] == "图片/标签.json"


def test_names_that_are_no_unicode_stop_nothing(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    done = vitpose(tmp_path, "train", "coco-b", "--data", name, "--show", encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert b'root = "caf\\udce9"' in done.stdout
    done = vitpose(tmp_path, "tracks", name)
    assert done.returncode == 3
    assert b"caf\\udce9" in done.stderr


def test_streams_that_cannot_be_told_how_to_write_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "argv", ["vitpose", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert written.getvalue().startswith("vitpose ")


NAMES = ["图片😀", 'a "quoted" one', "back\\slash", "end\x7f", "# no comment", "naïve'"]


@pytest.mark.parametrize("name", NAMES)
def test_paths_go_into_a_recipe_as_they_are(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "coco-b", "--data", name, "--model", f"{name}/best.safetensors", "--show"]
    monkeypatch.setattr(sys, "argv", ["vitpose", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    shown = tomllib.loads(capsys.readouterr().out)
    assert shown["data"]["root"] == name
    assert shown["model"]["start"] == f"{name}/best.safetensors"
