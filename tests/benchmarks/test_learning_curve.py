"""The curves of a run are drawn and its weights set beside the guess that knows only the box."""

import json

import harness
import learning_curve
import numpy as np
import pytest
from levers.scoring import median_pose

from vitpose.data.readers.read import read_labelled
from vitpose.training.recipe import load_config
from vitpose.training.run import train
from vitpose.training.state import RunFolder


def test_a_run_becomes_numbers_and_a_drawing(shared, tmp_path, monkeypatch, capsys):
    settings = [
        f"data.root={shared / 'data'}",
        "data.train.0.first=8",
        "data.validation.0.first=4",
        "data.workers=0",
        "model.backbone.width=32",
        "model.backbone.depth=1",
        "model.backbone.heads=1",
        "model.input_size=[64,48]",
        "loop.batch_size=4",
        "loop.precision=fp32",
        "loop.log_every=1",
        "loop.evaluate_every=1",
        "schedule.epochs=3",
    ]
    run = RunFolder(tmp_path / "run")
    train(load_config("lspet-ti-128x96", settings), run.path, cpu=True)
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(learning_curve, "RESULTS", tmp_path)
    figure = tmp_path / "curve.svg"
    monkeypatch.setattr("sys.argv", ["learning_curve.py", "--run", str(run.path), "--figure", str(figure)])
    learning_curve.main()
    result = json.loads((tmp_path / "learning_curve.json").read_text())["result"]
    assert [step for step, _ in result["loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in result["mean_oks"]] == [2, 4, 6]
    assert (result["people"], result["judged"], result["step"]) == (8, 4, 6)
    assert 0 < result["mean_oks_of_guess"] < 1
    drawn = figure.read_text()
    assert "median pose" in drawn
    assert "<image" not in drawn
    # Without a run the same drawing is made from the results.
    monkeypatch.setattr("sys.argv", ["learning_curve.py", "--figure", str(figure)])
    learning_curve.main()
    assert figure.read_text() == drawn
    capsys.readouterr()


def test_long_series_are_shortened_and_keep_their_mean(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps({"step": step, "loss": step % 7}) + "\n" for step in range(1, 2001)))
    found = learning_curve.series(metrics, "loss")
    assert len(found) == learning_curve.POINTS
    assert found[-1][0] == 2000
    assert np.mean([value for _, value in found]) == pytest.approx(np.mean([step % 7 for step in range(1, 2001)]))
    assert learning_curve.series(metrics, "nothing") == []


def test_the_labels_themselves_have_an_oks_of_one(shared):
    folder = shared / "data" / "lspet"
    people = read_labelled("coco", folder / "annotations.json", folder / "images").for_training().select(slice(0, 40))
    truth = np.stack([record.keypoints for record in people.records]).astype(np.float64)
    assert learning_curve.mean_oks(truth, people) == pytest.approx(1.0)
    assert 0.05 < learning_curve.mean_oks(median_pose(people, people), people) < 0.6
