"""What a score is worth: from a checkpoint's metadata to every result."""

import csv
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitpose
from vitpose.cli.main import main
from vitpose.core.errors import WeightsError
from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton
from vitpose.metrics.calibration import Calibration
from vitpose.models.pose import create_model
from vitpose.models.variants import BackboneSpec, HeadSpec, ModelSpec
from vitpose.pipeline.options import Options
from vitpose.pipeline.probabilities import CALIBRATION, Probabilities, from_metadata, to_metadata
from vitpose.weights.checkpoint import save_checkpoint

SPOTS = Skeleton(name="spots", keypoints=("red", "green", "blue"))
CURVES = Calibration(
    keypoints=("blue", "red", "green"), slopes=(4.0, 6.0, 8.0), intercepts=(-1.0, 0.5, -3.0), pairs=(9, 8, 7)
)
BOXES = [[5, 5, 40, 50], [20, 0, 70, 60]]
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def metadata(curves: Calibration = CURVES, **options: object) -> dict[str, object]:
    entry = to_metadata(curves, Options(**options))  # type: ignore[arg-type]
    return {CALIBRATION: {"spots": json.loads(json.dumps(entry))}}


def known(**options: object) -> Probabilities:
    found = from_metadata(metadata(**options), "spots", SPOTS, "model")
    assert found is not None
    return found


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    spec = ModelSpec(
        name="tiny",
        backbone=BackboneSpec(width=16, depth=1, heads=2),
        heads=(HeadSpec(dataset="spots", skeleton="spots", keypoints=3, kind="simple"),),
        input_size=Size(64, 48),
    )
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, create_model(spec, seed=0).eval(), {"spots": SPOTS}, metadata())
    return path


def test_curves_are_matched_to_the_heads_keypoints_by_name() -> None:
    scores = np.random.default_rng(1).random((5, 3)).astype(np.float32)
    found = known()(scores, Options())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, CURVES.apply(scores[:, [2, 0, 1]])[:, [1, 2, 0]], rtol=1e-6)
    assert known()(scores[:0], Options()).shape == (0, 3)


def test_other_settings_than_the_fitted_ones_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    scores = np.zeros((1, 3), np.float32)
    probabilities = known(flip_test=True)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            probabilities(scores, Options())
    assert [record.getMessage() for record in caplog.records] == [
        "model: p_correct was calibrated with flip_test True, and is only roughly right with flip_test False"
    ]
    caplog.clear()
    known(flip_test=True, decode_sigma=0.8)(scores, Options(flip_test=True, decode_sigma=0.8, batch_size=4))
    assert not caplog.records


def test_without_a_calibration_there_are_no_probabilities(caplog: pytest.LogCaptureFixture) -> None:
    assert from_metadata({}, "spots", SPOTS, "model") is None
    assert from_metadata(metadata(), "other", SPOTS, "model") is None
    wider = Skeleton(name="more", keypoints=(*SPOTS.keypoints, "white"))
    with caplog.at_level(logging.INFO):
        assert from_metadata(metadata(), "spots", wider, "model") is None
    assert "lacks 1 of 4 keypoints (white)" in caplog.text


@pytest.mark.parametrize("entry", [{"schema": "vitpose.calibration/9"}, 5, {**CURVES.to_dict(), "settings": 3}])
def test_damaged_entries_are_refused(entry: object) -> None:
    with pytest.raises(WeightsError, match="the calibration of spots is damaged"):
        from_metadata({CALIBRATION: {"spots": entry}}, "spots", SPOTS, "model")


def test_a_calibrated_checkpoint_gives_probabilities(checkpoint: Path) -> None:
    pose = vitpose.load(checkpoint, engine="eager-fp32", detector=None)
    for options in ({}, {"refine": True}):
        people, nobody = pose.with_options(**options)([IMAGE, IMAGE], boxes=[BOXES, []])
        expected = CURVES.apply(people.scores[:, [2, 0, 1]])[:, [1, 2, 0]]
        np.testing.assert_allclose(people.p_correct, expected, rtol=1e-6)
        assert nobody.p_correct is not None
        assert nobody.p_correct.shape == (0, 3), "a table's columns do not depend on who is in a picture"


def test_the_command_writes_them(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.chdir(tmp_path)
    Image.fromarray(IMAGE).save("photo.png")
    Path("boxes.json").write_text(json.dumps({"photo.png": BOXES}))
    command = ["predict", "photo.png", "--model", str(checkpoint), "--boxes", "boxes.json", "--out", "out"]
    monkeypatch.setattr(sys, "argv", ["vitpose", *command, "--format", "json,csv,parquet"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    poses = Poses.from_dict(json.loads(Path("out/photo.json").read_text()))
    assert poses.p_correct is not None
    with Path("out/poses.csv").open(newline="") as file:
        from_csv = [float(row["p_correct"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(from_csv, poses.p_correct.ravel(), rtol=1e-6)
    np.testing.assert_array_equal(pq.read_table("out/poses.parquet")["p_correct"].to_numpy(), poses.p_correct.ravel())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_exported_file_carries_its_calibration(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from vitpose.engines.export import export
    from vitpose.engines.gate import Limits
    from vitpose.weights.load import load_model

    loaded = load_model(checkpoint)
    crops = np.random.default_rng(2).integers(0, 256, (2, 64, 48, 3), dtype=np.uint8)
    free = Limits(p50=1e9, p99=1e9, keypoint_p50=1e9, oks=1e9)
    entry = loaded.metadata[CALIBRATION]["spots"]
    export(loaded.model, tmp_path / "m.onnx", skeleton=SPOTS, crops=crops, limits=free, calibration=entry)
    poses = vitpose.load(tmp_path / "m.onnx", detector=None)(IMAGE, boxes=BOXES)
    np.testing.assert_allclose(poses.p_correct, CURVES.apply(poses.scores[:, [2, 0, 1]])[:, [1, 2, 0]], rtol=1e-6)
