import json

import numpy as np
import pytest
from tiny_models import tiny_model

from vitpose.core.skeleton import load_skeleton
from vitpose.pipeline.bench import Scene, Settings, bench, matmul_peak, peak_memory_mib, take_turns
from vitpose.pipeline.peer import TransformersPeer

SKELETON = load_skeleton("coco17")


def test_turns_alternate_after_one_round_to_warm_up():
    seen = []
    sides = {name: lambda name=name: seen.append(name) or {"total": 1.0} for name in "ab"}
    found = take_turns(sides, 3)
    assert "".join(seen) == "ab" * 4
    assert {name: len(turns) for name, turns in found.items()} == {"a": 3, "b": 3}


def test_rows_add_up():
    settings = Settings(engines=("eager-fp32", "eager-bf16"), batches=(1, 3), repeats=2, price=2.0)
    found = bench(tiny_model(), SKELETON, settings)
    json.dumps(found)
    assert [(row["engine"], row["people"]) for row in found["rows"]] == [
        ("eager-fp32", 1),
        ("eager-bf16", 1),
        ("eager-fp32", 3),
        ("eager-bf16", 3),
    ]
    for row in found["rows"]:
        times = row["ms_a_person"]
        assert all(times[stage] > 0 for stage in ("before", "model", "after", "total"))
        assert times["total"] * row["people"] == pytest.approx(row["latency_ms"], rel=0.01)
        assert row["people_a_second"] == pytest.approx(1000 / times["total"], rel=0.02)
        assert 0 <= row["fraction_of_peak"] < 1.5  # rounded; a tiny model on a busy machine reaches next to nothing
        assert row["cost_a_million_people"] == pytest.approx(2 * row["hours_a_million_people"], rel=0.3, abs=0.02)
    assert found["peak_memory_mib"] > 50


def test_measured_limit_is_a_rate():
    assert 0.5 < matmul_peak("fp32", "cpu", size=256, repeats=2) < 1e6
    assert peak_memory_mib("cpu") > 50


@pytest.mark.slow
def test_transformers_runs_the_same_weights():
    from vitpose.codec.codec import Codec
    from vitpose.engines.eager import EagerEngine
    from vitpose.models.pose import create_model

    model = create_model("vitpose-ti", seed=0).eval()
    scene = Scene.made_up(3)
    peer = TransformersPeer(model, SKELETON)
    inputs = peer.before(scene.image, scene.boxes)
    outputs = peer.run(inputs)
    engine = EagerEngine(model, device="cpu")
    from vitpose.core.geometry import CropTransform

    heatmaps = engine(CropTransform.from_boxes(scene.boxes, engine.input_size).warp(scene.image))
    assert np.abs(outputs.heatmaps.numpy() - heatmaps).max() < 0.05 * np.abs(heatmaps).max()
    assert len(peer.after(outputs, scene.boxes)) == 3
    assert Codec().decode(heatmaps, engine.input_size)[0].shape == (3, 17, 2)
    settings = Settings(engines=("eager-fp32",), batches=(2,), repeats=1, transformers=True)
    found = bench(model, SKELETON, settings)
    assert found["rows"][0]["times_faster"]["picture_to_keypoints"] > 0.5
    assert found["rows"][1]["engine"] == "transformers"
