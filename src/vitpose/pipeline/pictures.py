"""Pictures to poses while files are read: decoding, looking for people and estimating overlap.

Files are decoded in several threads (Pillow lets others run meanwhile), and the detector looks at the next pictures
while the model works on these. What is worked on together depends on the pictures and not on timing, so results are the
same in every run; and there are a few batches of pictures at any time, whatever their number.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.poses import Boxes, Poses
from vitpose.core.text import readable
from vitpose.detectors.given import GivenBoxes
from vitpose.engines.threads import usable_cores
from vitpose.formats.results import Origin
from vitpose.media.images import read_image
from vitpose.media.sources import Source
from vitpose.pipeline.estimator import IMAGES_IN_FLIGHT, PIXELS_IN_FLIGHT, PoseEstimator
from vitpose.pipeline.stages import overlapped
from vitpose.pipeline.summary import Failure

Image = NDArray[np.uint8]

_READERS = 4
"""Threads that decode at most: enough to keep a GPU busy with photographs, and no more memory than that takes."""

_PIXELS = PIXELS_IN_FLIGHT // 2
"""Of a batch, and of what was decoded and waits: less than where nothing overlaps, for there are several."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was read.

    Attributes:
        origin: what its result is called.
        image: ``(height, width, 3)`` uint8 RGB.
        boxes: of the people in it; None until somebody looked.
        poses: of the people in it; None until they were estimated.
    """

    origin: Origin
    image: Image
    boxes: Boxes | None = None
    poses: Poses | None = None


Entry = Picture | Failure
"""A picture on its way, or why it went no further; failures keep their place among the pictures."""


class PictureWork:
    """Takes pictures from file to poses."""

    def __init__(self, estimator: PoseEstimator, given: GivenBoxes | None = None) -> None:
        """Join the parts.

        Args:
            estimator: does the work.
            given: boxes from a file instead of the estimator's detector.
        """
        self._estimator, self._given = estimator, given

    def results(self, sources: Iterable[tuple[Source, Origin]]) -> Generator[Entry, None, None]:
        """Yield every picture with its poses, or why there are none, in order.

        Closing the generator stops all threads.

        Args:
            sources: pictures and what their results are called.
        """
        batches = _batched(self._read(sources))
        for done in overlapped(batches, self._found, self._estimated):
            yield from done

    def _read(self, sources: Iterable[tuple[Source, Origin]]) -> Iterator[Entry]:
        """Yield what was decoded, in order, while threads decode what follows."""
        workers = min(usable_cores(), _READERS)
        with ThreadPoolExecutor(workers, thread_name_prefix="decode") as readers:
            waiting: deque[tuple[Source, Origin, Future[Image]]] = deque()
            try:
                for source, origin in sources:
                    waiting.append((source, origin, readers.submit(read_image, source.location)))
                    while len(waiting) > 2 * workers or _decoded(waiting) > _PIXELS:
                        yield self._entry(*waiting.popleft())
                while waiting:
                    yield self._entry(*waiting.popleft())
            finally:
                for _, _, future in waiting:
                    future.cancel()

    def _entry(self, source: Source, origin: Origin, future: Future[Image]) -> Entry:
        try:
            image = future.result()
            boxes = None if self._given is None else self._given.boxes_for(source.location, image.shape[:2])
        except InputError as error:
            return Failure(origin.source, readable(str(error)))
        return Picture(origin, image, boxes)

    def _found(self, batch: Sequence[Entry]) -> Sequence[Entry]:
        """Look for people where nobody said where they are."""
        detector = self._estimator.detector
        if self._given is not None or detector is None:
            return batch

        def look(pictures: Sequence[Picture]) -> list[Entry]:
            found = detector([picture.image for picture in pictures])
            return [replace(picture, boxes=boxes) for picture, boxes in zip(pictures, found, strict=True)]

        return _each(batch, look)

    def _estimated(self, batch: Sequence[Entry]) -> Sequence[Entry]:
        def estimate(pictures: Sequence[Picture]) -> list[Entry]:
            boxes = [picture.boxes for picture in pictures if picture.boxes is not None]
            poses = self._estimator.estimate([picture.image for picture in pictures], boxes or None)
            return [replace(picture, poses=one) for picture, one in zip(pictures, poses, strict=True)]

        return _each(batch, estimate)


def _each(batch: Sequence[Entry], work: Callable[[Sequence[Picture]], list[Entry]]) -> list[Entry]:
    """Work on the pictures of a batch; what had failed before keeps its place."""
    done = iter(_together([entry for entry in batch if isinstance(entry, Picture)], work))
    return [next(done) if isinstance(entry, Picture) else entry for entry in batch]


def _together(pictures: Sequence[Picture], work: Callable[[Sequence[Picture]], list[Entry]]) -> list[Entry]:
    """Work on all at a time or, if one of them spoils that, on one after the other."""
    if not pictures:
        return []
    try:
        return work(pictures)
    except InputError as error:
        if len(pictures) == 1:
            source = pictures[0].origin.source
            return [Failure(source, f"{source}: {error}")]
    return [entry for picture in pictures for entry in _together([picture], work)]


def _batched(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield what is worked on together: pictures until they fill the budget."""
    batch: list[Entry] = []
    pixels = 0
    for entry in entries:
        batch.append(entry)
        pixels += _pixels(entry.image) if isinstance(entry, Picture) else 0
        if pixels >= _PIXELS or len(batch) >= IMAGES_IN_FLIGHT:
            full, batch, pixels = batch, [], 0
            yield full
            del full  # while the next one is read, this one is somebody else's
    if batch:
        yield batch


def _decoded(waiting: Iterable[tuple[Source, Origin, Future[Image]]]) -> int:
    """Return how many pixels are decoded and wait."""
    ready = (future for _, _, future in waiting if future.done() and future.exception() is None)
    return sum(_pixels(future.result()) for future in ready)


def _pixels(image: Image) -> int:
    return image.size // 3
