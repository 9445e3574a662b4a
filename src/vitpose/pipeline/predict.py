"""A run over many sources: read ahead, estimate in batches, write behind, and go on when one of them fails.

Pictures are decoded in one thread and results drawn and written in another while the model works; both queues are
short, so memory does not grow with the number of sources.
"""

import contextlib
import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.extras import require
from vitpose.core.poses import Boxes, Poses
from vitpose.detectors.given import GivenBoxes
from vitpose.formats.results import (
    COCO_CATEGORIES,
    COCO_RESULTS,
    Origin,
    ResultWriter,
    number_images,
    open_writers,
    refuse_foreign,
)
from vitpose.media.images import read_image, write_image
from vitpose.media.sources import OVERLAY, Source
from vitpose.media.video import read_frames
from vitpose.pipeline.estimator import IMAGES_IN_FLIGHT, PIXELS_IN_FLIGHT, PoseEstimator
from vitpose.rendering.draw import draw_poses

Image = NDArray[np.uint8]

FORMATS = ("json", "overlay", "coco", "csv", "parquet")

_READ_AHEAD = 4

_WRITE_BEHIND = 2 * IMAGES_IN_FLIGHT

_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be worked on, and why."""

    source: str
    message: str


@dataclass(slots=True)
class Summary:
    """How a run goes, and in the end how it went.

    Attributes:
        pictures: pictures and frames whose results are written.
        people: poses in them.
        failures: sources that were passed over.
        interrupted: the run was stopped from the keyboard; what was done until then is written.
    """

    pictures: int = 0
    people: int = 0
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class _Loaded:
    origin: Origin
    image: Image
    boxes: Boxes | None


@dataclass(frozen=True, slots=True)
class _VideoEnd:
    name: str
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Who wants to know how the run goes: every result once it is written, every failure."""

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
        What was done. A picture that cannot be read or worked on is a failure in the summary and does not stop the
        others.

    Raises:
        UsageError: a result would be written over a source or over somebody's own file.
        VitPoseError: anything that concerns the whole run: the detector's weights, a full disk. What was finished
            before is written.
    """
    if any(source.kind == "video" for source in sources):
        require("av", "video", "reading videos")
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and results need a folder: choose another one with --out")
    run = _Run(estimator, listeners or Listeners(), given)
    origins = _origins(sources, given, formats)
    if out is not None:
        _protect(sources, origins, out, formats)
    with contextlib.ExitStack() as stack:
        writers = open_writers(formats, out) if out is not None else []
        for writer in writers:
            stack.callback(writer.close)
        overlays = out if "overlay" in formats else None
        behind = stack.enter_context(_WriteBehind())
        try:
            for item in run.results(zip(sources, origins, strict=True)):
                behind.submit(_write, item, writers, overlays, run)
            behind.finish()
        except KeyboardInterrupt:
            run.summary.interrupted = True
    return run.summary


def _origins(sources: Sequence[Source], given: GivenBoxes | None, formats: tuple[str, ...]) -> list[Origin]:
    """Name the results; ids are those of the file the boxes come from, where it has them."""
    reserved = {COCO_RESULTS, COCO_CATEGORIES} if {"json", "coco"} <= set(formats) else set()
    names = [_fitting(f"{source.name}-picture" if source.name in reserved else source.name) for source in sources]
    known = [None if given is None else given.image_id(source.location) for source in sources]
    ids = number_images(names) if None in known else known
    return [
        Origin(name=name, source=_readable(source.location), image_id=_readable(name) if number is None else number)
        for source, name, number in zip(sources, names, ids, strict=True)
    ]


def _fitting(name: str) -> str:
    """Shorten a name that file systems (255 bytes) have no room for once it has its ending."""
    folder, slash, last = name.rpartition("/")
    if len(os.fsencode(last)) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(os.fsencode(last)).hexdigest()[:12]
    return f"{folder}{slash}{os.fsencode(last)[:_LONGEST_NAME].decode('utf-8', 'ignore')}-{digest}"


def _readable(text: str) -> str:
    """Replace what is not Unicode: file names may be any bytes, JSON and tables may not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _protect(sources: Sequence[Source], origins: Sequence[Origin], out: Path, formats: tuple[str, ...]) -> None:
    """Refuse to write over a source, or over a JSON file that is not ours."""
    inputs = {Path(source.location).absolute() for source in sources if source.kind != "url"}
    for origin in origins:
        targets = [out / f"{origin.name}.json"] * ("json" in formats)
        targets += [out / f"{origin.name}{OVERLAY}"] * ("overlay" in formats)
        for target in targets:
            if target.absolute() in inputs:
                raise UsageError(f"{target} is a source and would be overwritten: choose another folder with --out")
            refuse_foreign(target)


def _write(
    item: tuple[_Loaded, Poses] | _VideoEnd, writers: Sequence[ResultWriter], overlays: Path | None, run: "_Run"
) -> None:
    if isinstance(item, _VideoEnd):
        for writer in writers:
            writer.end_video(item.name, complete=item.complete)
        return
    loaded, poses = item
    for writer in writers:
        writer.add(loaded.origin, poses)
    if overlays is not None and loaded.origin.frame is None:
        write_image(overlays / f"{loaded.origin.name}{OVERLAY}", draw_poses(loaded.image, poses))
    run.summary.pictures += 1
    run.summary.people += len(poses)
    run.listeners.result(loaded.origin, poses)


class _WriteBehind:
    """Runs calls one after the other in a thread; whoever submits waits when too many are pending."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write")
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> "_WriteBehind":
        return self

    def __exit__(self, *_exception: object) -> None:
        # Results that were computed are written, also when the run breaks off.
        self._thread.shutdown(wait=True)

    def submit(self, call: Callable[..., None], *arguments: object) -> None:
        """Queue a call; an error of an earlier one is raised here."""
        self._pending.append(self._thread.submit(call, *arguments))
        while len(self._pending) > _WRITE_BEHIND or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()

    def finish(self) -> None:
        """Wait for what is pending; its errors are raised here."""
        while self._pending:
            self._pending.popleft().result()


class _Run:
    """The reading and estimating half of a run."""

    def __init__(self, estimator: PoseEstimator, listeners: Listeners, given: GivenBoxes | None) -> None:
        self.estimator = estimator
        self.listeners = listeners
        self.given = given
        self.summary = Summary()

    def results(self, sources: Iterable[tuple[Source, Origin]]) -> Iterator[tuple[_Loaded, Poses] | _VideoEnd]:
        """Yield results in order; pictures and frames are worked on together until they fill the batch budget."""
        batch: list[_Loaded] = []
        pixels = 0
        for item in self._load(sources):
            if isinstance(item, _VideoEnd):
                yield from self._estimate(batch)
                yield item
                batch, pixels = [], 0
                continue
            batch.append(item)
            pixels += item.image.shape[0] * item.image.shape[1]
            if pixels >= PIXELS_IN_FLIGHT or len(batch) >= IMAGES_IN_FLIGHT:
                yield from self._estimate(batch)
                batch, pixels = [], 0
        yield from self._estimate(batch)

    def _estimate(self, batch: Sequence[_Loaded]) -> Iterator[tuple[_Loaded, Poses]]:
        """Estimate together; if one picture spoils the batch, one by one."""
        if not batch:
            return
        boxes = [item.boxes for item in batch if item.boxes is not None]
        try:
            poses = self.estimator.estimate([item.image for item in batch], boxes if boxes else None)
        except InputError as error:
            if len(batch) == 1:
                self._fail(batch[0].origin.source, f"{batch[0].origin.source}: {error}")
                return
            for item in batch:
                yield from self._estimate([item])
            return
        yield from zip(batch, poses, strict=True)

    def _fail(self, source: str, message: str) -> None:
        failure = Failure(source, message)
        self.summary.failures.append(failure)
        self.listeners.failure(failure)

    def _load(self, sources: Iterable[tuple[Source, Origin]]) -> Iterator[_Loaded | _VideoEnd]:
        """Yield pictures and frames in order, decoding pictures ahead in a thread while the model works."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as reader:
            waiting: deque[tuple[Source, Origin, Future[Image] | None]] = deque()
            queue = iter(sources)
            try:
                while True:
                    for source, origin in itertools.islice(queue, _READ_AHEAD - len(waiting)):
                        is_video = source.kind == "video"
                        waiting.append(
                            (source, origin, None if is_video else reader.submit(read_image, source.location))
                        )
                    if not waiting:
                        return
                    source, origin, future = waiting.popleft()
                    if future is None:
                        yield from self._frames(source, origin)
                        continue
                    with self._passing_over(source):
                        yield self._picture(source, origin, future.result())
            finally:
                for _, _, future in waiting:
                    if future is not None:
                        future.cancel()

    @contextlib.contextmanager
    def _passing_over(self, source: Source) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            self._fail(_readable(source.location), _readable(str(error)))

    def _picture(self, source: Source, origin: Origin, image: Image) -> _Loaded:
        boxes = None if self.given is None else self.given.boxes_for(source.location, image.shape[:2])
        return _Loaded(origin, image, boxes)

    def _frames(self, source: Source, origin: Origin) -> Iterator[_Loaded | _VideoEnd]:
        if self.given is not None:
            self._fail(
                source.location, f"{source.location}: boxes from a file are for pictures; a video needs a detector"
            )
            return
        complete = False
        with self._passing_over(source):
            for frame in read_frames(Path(source.location)):
                yield _Loaded(replace(origin, frame=frame.index, time_s=frame.time_s), frame.image, None)
            complete = True
        yield _VideoEnd(origin.name, complete)
