import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import tiny_model
from typer.testing import CliRunner

from vitpose.cli.main import app
from vitpose.core.errors import GateError, InputError, UsageError, VitPoseError
from vitpose.core.skeleton import load_skeleton
from vitpose.weights.checkpoint import save_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, two pictures and their boxes."""
    skeletons = {"coco": load_skeleton("coco17"), "aic": load_skeleton("aic14")}
    save_checkpoint(tmp_path / "tiny.safetensors", tiny_model(), skeletons, {})
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
    boxes = {name: [[5, 5, 40, 50], [30, 10, 70, 55]] for name in ("a.png", "b.png")}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path / "cache"))
    return tmp_path


def run(*arguments: str, fails: type[Exception] | None = None):
    done = CliRunner().invoke(app, [*arguments])
    if fails is None:
        assert done.exit_code == 0, (done.output, done.exception)
    else:
        assert isinstance(done.exception, fails), (done.output, done.exception)
    return done


def test_what_is_exported_is_predicted_with(folder):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    shared = ["--boxes", "boxes.json"]
    source = ["tiny.safetensors", "--images", "photos", "--dataset", "aic", "--end-to-end", "--json"]
    report = json.loads(run("export", *source, "-o", "model.onnx", *shared).stdout)
    assert (report["crops"], report["passed"], report["path"]) == (4, True, "model.onnx")
    told = ["--format", "none", "--json", *shared]
    lines = run("predict", "photos", "--model", "model.onnx", *told).stdout.splitlines()
    expected = run("predict", "photos", "--model", "tiny.safetensors", "--dataset", "aic", *told).stdout.splitlines()
    for line, other in zip(lines, expected, strict=True):
        found, wanted = json.loads(line), json.loads(other)
        assert found["skeleton"]["name"] == "aic14"
        assert found["model"]["engine"] == "onnxruntime-cpu-fp32"
        for person, same in zip(found["people"], wanted["people"], strict=True):
            assert np.allclose(person["keypoints"], same["keypoints"], atol=0.02)
    run("predict", "photos", "--model", "model.onnx", "--dataset", "coco", *told, fails=UsageError)
    run("predict", "photos", "--model", "model.onnx", "--engine", "eager", *told, fails=UsageError)
    limit = ["--max-shift", "-1"]
    run("export", *source, "-o", "refused.onnx", *shared, *limit, fails=GateError)
    assert not (folder / "refused.onnx").exists()


def test_wrong_exports_are_refused(folder):
    shared = ["--images", "photos", "--boxes", "boxes.json"]
    run("export", "tiny.safetensors", *shared, "--precision", "int9", fails=UsageError)
    run("export", "tiny.safetensors", *shared, "--to", "onyx", fails=UsageError)
    (folder / "nobody.json").write_text('{"a.png": [], "b.png": []}')
    run("export", "tiny.safetensors", "--images", "photos", "--boxes", "nobody.json", fails=InputError)


def test_an_export_passes_over_pictures_that_cannot_be_read(folder):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    (folder / "photos" / "0.png").write_bytes(b"no picture")
    (folder / "photos" / "gone.png").symlink_to("nowhere.png")
    done = run("export", "tiny.safetensors", "--images", "photos", "--images", "none.png", "--detector", "whole",
               "--json", "-o", "model.onnx")  # fmt: skip
    assert json.loads(done.stdout)["crops"] == 2
    told = [line for line in done.stderr.splitlines() if line.startswith("passed over: ")]
    assert [name for name in ("none.png", "0.png", "gone.png") if any(name in line for line in told)] == [
        "none.png",
        "0.png",
        "gone.png",
    ]
    assert len(told) == 3
    (folder / "bad").mkdir()
    (folder / "photos" / "0.png").rename(folder / "bad" / "0.png")
    error = run("export", "tiny.safetensors", "--images", "bad", "--detector", "whole", fails=InputError).exception
    assert str(error) == "nobody was found in bad, and 1 could not be read, named above"


def test_where_an_export_goes_is_tried_before_people_are_looked_for(folder, monkeypatch):
    monkeypatch.setattr("vitpose.pipeline.crops.read_image", lambda _: pytest.fail("the pictures were read"))
    (folder / "taken").write_text("a file")
    (folder / "folder.onnx").mkdir()
    for place in ("taken/model.onnx", "taken/model", "folder.onnx"):
        error = run("export", "tiny.safetensors", "--images", "photos", "--detector", "whole", "-o", place,
                    fails=VitPoseError).exception  # fmt: skip
        assert str(error).startswith(f"cannot write {place}")
    run("export", "tiny.safetensors", "--images", "photos", "-o", "model.xml", fails=UsageError)


def test_an_export_replaces_another_export_and_nothing_else(folder):
    pytest.importorskip("onnxruntime", reason="the extras `onnx` and `openvino` are not installed")
    pytest.importorskip("onnxscript", reason="the extras `onnx` and `openvino` are not installed")
    pytest.importorskip("openvino", reason="the extras `onnx` and `openvino` are not installed")
    shared = ["export", "tiny.safetensors", "--images", "photos", "--detector", "whole"]
    for target in ("onnx", "xml"):
        place = folder / f"model.{target}"
        options = ["--to", "openvino" if target == "xml" else "onnx", "-o", place.name]
        for content in (b"mine", b"<mine/>"):
            place.write_bytes(content)
            message = str(run(*shared, *options, fails=UsageError).exception)
            assert f"{place.name} exists and is no result of `vitpose export`" in message
            assert place.read_bytes() == content
        place.write_bytes(b"")
        for dataset in ("coco", "aic"):
            run(*shared, *options, "--dataset", dataset)
    weights = folder / "other.bin"
    weights.write_bytes(b"mine")
    message = str(run(*shared, "--to", "openvino", "-o", "other.xml", fails=UsageError).exception)
    assert "other.bin exists and is no result of `vitpose export`" in message
    assert weights.read_bytes() == b"mine"


def test_what_is_read_is_not_exported_or_benched_over(folder, monkeypatch):
    monkeypatch.setattr("vitpose.pipeline.crops.read_image", lambda _: pytest.fail("the pictures were read"))
    (folder / "tiny.safetensors").rename(folder / "tiny.onnx")
    before = (folder / "tiny.onnx").read_bytes()
    error = run("export", "tiny.onnx", "--images", "photos", "--detector", "whole", "-o", "tiny.onnx", fails=UsageError)
    assert str(error.exception).startswith("--out tiny.onnx is read by this command")
    (folder / "tiny.onnx").rename(folder / "tiny.bin")
    error = run("export", "tiny.bin", "--images", "photos", "--detector", "whole", "--to", "openvino", "-o", "tiny.xml",
                fails=UsageError)  # fmt: skip
    assert "tiny.bin is read by this command" in str(error.exception)
    error = run("bench", "tiny.bin", "--out", "tiny.bin", fails=UsageError)
    assert "--out tiny.bin is read by this command" in str(error.exception)
    assert (folder / "tiny.bin").read_bytes() == before


def test_bench_prints_a_table_or_json(folder):
    shared = ["bench", "tiny.safetensors", "--people", "1,2", "--repeats", "1", "--engines", "eager-fp32"]
    table = run(*shared, "--device", "cpu", "--out", "found.json").stdout
    assert len([line for line in table.splitlines() if line.startswith("eager-fp32")]) == 2
    assert "GFLOP/s" in table
    found = json.loads((folder / "found.json").read_text())
    assert found["machine"]["cores"] >= 1
    printed = json.loads(run(*shared, "--device", "cpu", "--json").stdout)
    assert [row["people"] for row in printed["rows"]] == [1, 2]


def test_wrong_benches_are_refused(folder):
    run("bench", "tiny.safetensors", "--people", "0", fails=UsageError)
    run("bench", "tiny.safetensors", "--people", "x", fails=UsageError)
    run("bench", "tiny.safetensors", "--against", "tensorflow", fails=UsageError)
    run("bench", "tiny.safetensors", "--engines", "eagr", fails=UsageError)
