"""A film runs on one engine from its first frame to its last, also when it is continued another day."""

from pathlib import Path

import numpy as np
import pytest
from moving_blocks import BlockDetector, Blocks

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.engines.auto import AutoEngine
from vitpose.engines.choose import Choice
from vitpose.models.pose import create_model
from vitpose.models.variants import BackboneSpec, HeadSpec, ModelSpec
from vitpose.pipeline import one_engine as module
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head
from vitpose.pipeline.one_engine import one_engine

SPEC = ModelSpec(
    name="tiny",
    backbone=BackboneSpec(width=32, depth=1, heads=2),
    heads=(HeadSpec(dataset="coco", skeleton="coco17", keypoints=17, deconv_width=16),),
    input_size=Size(64, 48),
)


@pytest.fixture
def estimator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PoseEstimator:
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path))
    skeleton = load_skeleton("coco17")
    engine = AutoEngine(create_model(SPEC, seed=0).eval(), {"coco": skeleton}, device="cpu", enough=4)
    engine._waiting = True  # as on a machine with more than one engine
    return PoseEstimator({"coco": Head(SPEC.heads[0], skeleton, engine)}, detector=BlockDetector())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of crops on which an engine was chosen; what is chosen is not the engine that begins."""
    calls: list[int] = []

    def choose(_model: object, crops: np.ndarray, **_options: object) -> Choice:
        calls.append(len(crops))
        return Choice(name="eager-fp32", tried=())

    monkeypatch.setattr("vitpose.engines.auto.choose_engine", choose)
    return calls


CROPS = np.zeros((6, 64, 48, 3), np.uint8)


def test_the_engine_does_not_change_during_a_film(estimator: PoseEstimator, measured: list[int]) -> None:
    engine = estimator.engine
    with one_engine(estimator, Blocks(50), None) as name:
        assert name == "eager"
        inside = engine._engine  # type: ignore[attr-defined]
        engine(CROPS)
        assert engine._engine is inside  # type: ignore[attr-defined]
        assert measured == []
    engine(CROPS)
    assert measured == [6], "afterwards it may"


def test_a_long_film_is_worth_measuring(estimator: PoseEstimator, measured: list[int]) -> None:
    with one_engine(estimator, Blocks(module._LONG), None) as name:
        assert name == "eager-fp32"
    assert measured == [64]


def test_a_live_source_does_not_wait_for_that(estimator: PoseEstimator, measured: list[int]) -> None:
    with one_engine(estimator, Blocks(module._LONG, live=True), None) as name:
        assert name == "eager"
    with one_engine(estimator, Blocks(module._LONG, ()), None) as name:
        assert name == "eager", "there is nobody to measure on"
    assert measured == []


def test_a_film_is_continued_with_what_it_was_begun_with(estimator: PoseEstimator, measured: list[int]) -> None:
    with one_engine(estimator, Blocks(module._LONG), "eager-bf16") as name:
        assert name == "eager-bf16"
        assert estimator.engine.name == "eager-cpu-bf16"
    assert measured == []


def test_an_engine_that_never_changes_is_left_alone() -> None:
    from moving_blocks import block_estimator

    with one_engine(block_estimator(), Blocks(), None) as name:
        assert name == ""


def test_what_a_film_was_begun_with_holds_for_that_film_alone(estimator: PoseEstimator, measured: list[int]) -> None:
    engine = estimator.engine
    before = engine._engine  # type: ignore[attr-defined]
    with one_engine(estimator, Blocks(50), "eager-bf16"):
        borrowed = engine._engine  # type: ignore[attr-defined]
        assert borrowed is not before
        assert engine(CROPS).shape == (6, 17, 16, 12)
    assert engine._engine is before  # type: ignore[attr-defined]
    with one_engine(estimator, Blocks(50), None) as name:
        assert name == "eager"
    with pytest.raises(UsageError, match="closed"):
        borrowed(CROPS)
