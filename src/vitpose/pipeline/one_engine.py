"""One film, one engine: which of them ``engine="auto"`` runs is settled before the first frame and written down."""

import contextlib
import itertools
from collections.abc import Iterator

import numpy as np

from vitpose.core.geometry import CropTransform
from vitpose.engines.auto import COMPARED, ENOUGH, AutoEngine
from vitpose.engines.base import Crops
from vitpose.media.frames import FrameSource
from vitpose.pipeline.chunks import reading
from vitpose.pipeline.estimator import PoseEstimator

_LONG = 4 * ENOUGH
"""Frames from which finding out the fastest engine first pays, with one person in each."""

_LOOKED_AT = 64
"""Frames in which people are looked for to find it out."""

_LEAST = 8


@contextlib.contextmanager
def one_engine(estimator: PoseEstimator, source: FrameSource, begun_with: str | None) -> Iterator[str]:
    """Keep the estimator to one engine for a film.

    ``auto`` takes what was chosen before on this machine. Where nothing was, a long film is worth measuring on its own
    first people; other films run with PyTorch.

    Args:
        estimator: its engine is held inside the block.
        source: the film.
        begun_with: what an earlier run of the film yielded here, if this one continues it.

    Yields:
        The engine's name, to be handed in when the film is continued; empty for an engine that never changes.
    """
    engine = estimator.engine
    if not isinstance(engine, AutoEngine):
        yield ""
        return
    if begun_with is None and engine.undecided and not source.info.live and (source.info.frames or 0) >= _LONG:
        crops = _first_people(estimator, source)
        if len(crops) >= _LEAST:
            engine.decide(crops)
    with engine.held(begun_with) as name:
        yield name


def _first_people(estimator: PoseEstimator, source: FrameSource) -> Crops:
    """Return crops of the people in the first frames, in which nothing else is done."""
    size, head = estimator.engine.input_size, estimator.head
    crops: list[Crops] = []
    with reading(source) as frames:
        for frame in itertools.islice(frames, _LOOKED_AT):
            if estimator.detector is None or sum(map(len, crops)) >= COMPARED:
                break
            people = estimator.detector([frame.image])[0].xyxy
            transform = CropTransform.from_boxes(people, size, convention=head.codec, square=head.square_box)
            crops.append(transform.warp(frame.image))
    return np.concatenate(crops)[:COMPARED] if crops else np.zeros((0, *size, 3), np.uint8)
