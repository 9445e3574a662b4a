"""A run over many sources: read ahead, estimate in batches, write behind, and go on when one of them fails.

Pictures are decoded in one thread and results drawn and written in another while the model works; both queues are
short, so memory does not grow with the number of sources.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.poses import Boxes, Poses
from vitpose.detectors.given import GivenBoxes
from vitpose.formats.results import Origin, ResultWriter, open_writers
from vitpose.media.images import read_image, write_image
from vitpose.media.sources import Source
from vitpose.media.video import read_frames
from vitpose.pipeline.estimator import IMAGES_IN_FLIGHT, PIXELS_IN_FLIGHT, PoseEstimator
from vitpose.rendering.draw import draw_poses

Image = NDArray[np.uint8]

FORMATS = ("json", "overlay", "coco", "csv", "parquet")

_READ_AHEAD = 4

_WRITE_BEHIND = 2 * IMAGES_IN_FLIGHT


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be worked on, and why."""

    source: str
    message: str


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        pictures: pictures and frames done.
        people: poses in them.
        failures: sources that were passed over.
        interrupted: the run was stopped from the keyboard; what was done until then is written.
    """

    pictures: int
    people: int
    failures: tuple[Failure, ...] = ()
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class _Loaded:
    origin: Origin
    image: Image
    boxes: Boxes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Who wants to know how the run goes: every result, every failure."""

    result: Callable[[Origin, Poses], None] = lambda _origin, _poses: None
    failure: Callable[[Failure], None] = lambda _failure: None


def predict_sources(
    estimator: PoseEstimator,
    sources: Sequence[Source],
    *,
    out: Path | None = None,
    formats: tuple[str, ...] = ("json",),
    given: GivenBoxes | None = None,
    listeners: Listeners | None = None,
) -> Summary:
    """Estimate the poses in every source and write the results.

    Args:
        estimator: does the work.
        sources: pictures, URLs and videos; see ``media.sources.expand_sources``.
        out: folder for the results; None writes nothing.
        formats: any of ``json``, ``overlay``, ``coco``, ``csv``, ``parquet``. Overlays are drawn for pictures.
        given: boxes from a file instead of the detector.
        listeners: told about results and failures as they come.

    Returns:
        What was done. A picture that cannot be read is a failure in the summary and does not stop the others.

    Raises:
        VitPoseError: anything that concerns the whole run: the detector's weights, a full disk.
    """
    listeners = listeners or Listeners()
    pictures = people = 0
    failures: list[Failure] = []

    def fail(failure: Failure) -> None:
        failures.append(failure)
        listeners.failure(failure)

    interrupted = False
    with contextlib.ExitStack() as stack:
        writers: list[ResultWriter] = open_writers(formats, out, stack) if out is not None else []
        overlays = out if "overlay" in formats else None
        behind = stack.enter_context(_WriteBehind())
        try:
            for loaded, poses in _estimates(estimator, _load(sources, given, fail)):
                behind.submit(_write, loaded, poses, writers, overlays)
                pictures += 1
                people += len(poses)
                listeners.result(loaded.origin, poses)
        except KeyboardInterrupt:
            interrupted = True
        behind.finish()
    return Summary(pictures, people, tuple(failures), interrupted)


def _write(loaded: _Loaded, poses: Poses, writers: Sequence[ResultWriter], overlays: Path | None) -> None:
    for writer in writers:
        writer.add(loaded.origin, poses)
    if overlays is not None and loaded.origin.frame is None:
        write_image(overlays / f"{loaded.origin.name}.overlay.jpg", draw_poses(loaded.image, poses))


class _WriteBehind:
    """Runs calls one after the other in a thread; whoever submits waits when too many are pending."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write")
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> "_WriteBehind":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def submit(self, call: Callable[..., None], *arguments: object) -> None:
        """Queue a call; an error of an earlier one is raised here."""
        self._pending.append(self._thread.submit(call, *arguments))
        while len(self._pending) > _WRITE_BEHIND or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()

    def finish(self) -> None:
        """Wait for what is pending; its errors are raised here."""
        while self._pending:
            self._pending.popleft().result()


def _estimates(estimator: PoseEstimator, loaded: Iterator[_Loaded]) -> Iterator[tuple[_Loaded, Poses]]:
    """Estimate pictures together until they fill the batch budget; frames of a video share batches like pictures."""
    batch: list[_Loaded] = []
    pixels = 0
    for item in loaded:
        batch.append(item)
        pixels += item.image.shape[0] * item.image.shape[1]
        if pixels >= PIXELS_IN_FLIGHT or len(batch) >= IMAGES_IN_FLIGHT:
            yield from _estimate(estimator, batch)
            batch, pixels = [], 0
    if batch:
        yield from _estimate(estimator, batch)


def _estimate(estimator: PoseEstimator, batch: Sequence[_Loaded]) -> Iterator[tuple[_Loaded, Poses]]:
    images = [item.image for item in batch]
    boxes = [item.boxes for item in batch if item.boxes is not None]
    return zip(batch, estimator.estimate(images, boxes if boxes else None), strict=True)


def _load(sources: Iterable[Source], given: GivenBoxes | None, fail: Callable[[Failure], None]) -> Iterator[_Loaded]:
    """Yield pictures and frames in order, decoding pictures ahead in a thread while the model works."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as reader:
        waiting: deque[tuple[Source, Future[Image] | None]] = deque()
        queue = iter(sources)
        try:
            while True:
                for source in itertools.islice(queue, _READ_AHEAD - len(waiting)):
                    is_video = source.kind == "video"
                    waiting.append((source, None if is_video else reader.submit(_read, source)))
                if not waiting:
                    return
                source, future = waiting.popleft()
                try:
                    yield from _frames(source, given) if future is None else [_picture(source, future.result(), given)]
                except InputError as error:
                    fail(Failure(source.location, str(error)))
        finally:
            for _, future in waiting:
                if future is not None:
                    future.cancel()


def _read(source: Source) -> Image:
    return read_image(source.location)


def _picture(source: Source, image: Image, given: GivenBoxes | None) -> _Loaded:
    origin = Origin(name=source.name, source=source.location)
    boxes = None if given is None else given.boxes_for(source.location, image.shape[:2])
    return _Loaded(origin, image, boxes)


def _frames(source: Source, given: GivenBoxes | None) -> Iterator[_Loaded]:
    if given is not None:
        raise InputError(f"{source.location}: boxes from a file are for pictures; a video needs a detector")
    for frame in read_frames(Path(source.location)):
        origin = Origin(name=source.name, source=source.location, frame=frame.index, time_s=frame.time_s)
        yield _Loaded(origin, frame.image, None)
