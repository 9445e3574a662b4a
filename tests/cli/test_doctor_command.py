"""``vitpose doctor`` from outside."""

import json

import pytest
from typer.testing import CliRunner

from vitpose.cli.doctor import annotation_files, app
from vitpose.core.errors import GateError, InputError


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "annotations").mkdir()
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "keypoints": [2, 3, 2, 0, 0, 0]}
    plain = {
        "images": [{"id": 1, "file_name": "none.jpg"}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "worm", "keypoints": ["head", "tail"]}],
    }
    (tmp_path / "annotations/labels.json").write_text(json.dumps(plain))
    (tmp_path / "annotations/detections.json").write_text(json.dumps([{"bbox": [1, 2, 3, 4], "score": 1}]))
    return tmp_path


def test_the_installation_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path))
    plain = json.loads(run("--json").stdout)
    assert {"packages", "devices", "processor", "engines", "chosen", "extras", "caches"} <= set(plain)
    shown = run().stdout
    assert f"python: {plain['python']}" in shown
    assert f"  eager: {plain['engines']['eager']}" in shown
    assert str(tmp_path) in shown


def test_no_such_path_is_unreadable_input(tmp_path):
    with pytest.raises(InputError, match="there is no file or folder"):
        annotation_files(tmp_path / "nowhere")


def test_a_folder_is_searched_for_annotations(folder):
    assert [path.name for path in annotation_files(folder)] == ["labels.json"]
    with pytest.raises(InputError, match="no annotation files"):
        annotation_files(folder.parent)


def test_errors_end_with_six_and_a_report(folder):
    result = run("data", folder)
    assert isinstance(result.exception, GateError)
    assert result.exception.exit_code == 6
    assert "error: missing (1)" in result.stdout
    assert "none.jpg" in result.stdout
    plain = json.loads(run("data", folder, "--json").stdout)
    assert plain[0]["counts"]["missing"] == 1


def test_warnings_fail_only_when_asked(folder):
    from PIL import Image

    Image.new("RGB", (20, 20)).save(folder / "annotations/none.jpg")
    assert run("data", folder).exit_code == 0
    assert isinstance(run("data", folder, "--strict").exception, GateError)
