"""A film in chunks: what goes from stage to stage, and the first stage, which reads."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, VitPoseError
from vitpose.core.poses import Boxes
from vitpose.media.frames import Frame, FrameSource
from vitpose.pipeline.journal import Record, read_records

T = TypeVar("T")

_NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some frames in a row and what is known about them so far.

    Attributes:
        first: ordinal of the first frame: how many processed frames came before it.
        frames: the frames.
        known: the records come from the journal of an earlier run; the pictures may be empty then.
        boxes: what the detector found in each frame; None where it did not look.
        records: the results.
        drawn: annotated pictures; None for those that are in the film already.
    """

    first: int
    frames: tuple[Frame, ...]
    known: bool = False
    boxes: tuple[Boxes | None, ...] = ()
    records: tuple[Record, ...] = ()
    drawn: tuple[NDArray[np.uint8] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Saved:
    """What an earlier run left.

    Attributes:
        journal: its records.
        count: how many there are.
        pictures_from: ordinal of the first of them whose picture is needed again.
    """

    journal: Path
    count: int
    pictures_from: int


def read_chunks(source: FrameSource, size: int, saved: Saved | None = None, *, more: bool = True) -> Iterator[Chunk]:
    """Yield the film in chunks of ``size`` processed frames, those an earlier run saved first.

    Args:
        source: the film.
        size: of a chunk; the last one may be shorter.
        saved: frames whose results are known.
        more: go on after them.

    Raises:
        InputError: the source breaks off, after what it gave until then; or it is not the one the journal is about.
    """
    after, ordinal = -1, 0
    records: Iterator[Record] = iter(())
    if saved is not None:
        records = itertools.islice(read_records(saved.journal), saved.count)
        for batch in _batched(itertools.islice(records, saved.pictures_from), size):
            frames = tuple(Frame(one.frame, one.time_s, _NO_PICTURE) for one in batch)
            yield Chunk(ordinal, frames, known=True, records=batch)
            after, ordinal = batch[-1].frame, ordinal + len(batch)
    if not more and (saved is None or ordinal == saved.count):
        return
    with reading(source, after) as found:
        for batch in _batched(records, size):
            frames = tuple(_picture_of(one, found) for one in batch)
            yield Chunk(ordinal, frames, known=True, records=batch)
            ordinal += len(batch)
            del frames
        for frames in _batched(found if more else iter(()), size):
            yield Chunk(ordinal, frames)
            ordinal += len(frames)
            del frames


@contextlib.contextmanager
def reading(source: FrameSource, after: int = -1) -> Iterator[Iterator[Frame]]:
    """Give the frames above an index to the block, and close what reads them when it ends."""
    frames = source.frames(after)
    try:
        yield frames
    finally:
        close = getattr(frames, "close", None)  # generators have it, an iterator need not
        if close is not None:
            close()


def _picture_of(record: Record, frames: Iterator[Frame]) -> Frame:
    frame = next(frames, None)
    if frame is None or (frame.index, frame.time_s) != (record.frame, record.time_s):
        given = "nothing more" if frame is None else f"frame {frame.index} at {frame.time_s:g} s"
        raise InputError(
            f"the journal has frame {record.frame} at {record.time_s:g} s, the source gives {given}:"
            " it is not the same any more, so start again without resume"
        )
    return frame


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Yield tuples of ``size``; what came before an error is yielded before the error is raised."""
    batch: list[T] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == size:
                full, batch = tuple(batch), []
                yield full
                del full
    except VitPoseError:
        if batch:
            yield tuple(batch)
        raise
    if batch:
        yield tuple(batch)
