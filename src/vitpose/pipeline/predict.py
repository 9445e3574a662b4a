"""A run over many sources: read ahead, estimate in batches, write behind, and go on when one of them fails.

Pictures go through ``pictures.py``, films through ``stream.py``, one after the other; results of pictures are drawn and
written in a thread while the model works on the next ones. All queues are short, so memory does not grow with the
number of sources.
"""

import contextlib
import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.extras import require
from vitpose.core.poses import Poses
from vitpose.core.text import readable
from vitpose.detectors.given import GivenBoxes
from vitpose.formats.results import (
    COCO_CATEGORIES,
    COCO_RESULTS,
    TABLE,
    Origin,
    ResultWriter,
    number_images,
    open_writers,
)
from vitpose.media.images import write_image
from vitpose.media.sources import DRAWN, OVERLAY, Source, shown
from vitpose.pipeline.estimator import IMAGES_IN_FLIGHT, PoseEstimator
from vitpose.pipeline.film_output import FilmFiles
from vitpose.pipeline.own_results import Claim
from vitpose.pipeline.pictures import PictureWork
from vitpose.pipeline.purpose import PICTURE_FORMATS
from vitpose.pipeline.summary import Failure, Listeners, Summary
from vitpose.rendering.draw import draw_poses

if TYPE_CHECKING:
    from vitpose.pipeline.measure import Measurement
    from vitpose.pipeline.summary import VideoSummary
    from vitpose.pipeline.video_options import VideoOptions

Image = NDArray[np.uint8]

_FILMS = ("video", "sequence", "stream")
"""Kinds of sources that have frames."""

_WRITE_BEHIND = IMAGES_IN_FLIGHT

_LONGEST_NAME = 200


def predict_sources(  # noqa: PLR0913 - each is a choice of its own
    estimator: PoseEstimator,
    sources: Sequence[Source],
    *,
    out: Path | None = None,
    formats: tuple[str, ...] = ("json",),
    given: GivenBoxes | None = None,
    video: "VideoOptions | None" = None,
    max_people: int | None = None,
    blur_faces: bool = False,
    listeners: Listeners | None = None,
) -> Summary:
    """Estimate the poses in every source and write the results.

    Args:
        estimator: does the work.
        sources: pictures, URLs, videos and whatever else has frames; see ``media.sources.expand_sources``.
        out: folder for the results; None writes nothing.
        formats: of ``PICTURE_FORMATS`` those of pictures, of ``VIDEO_FORMATS`` those of films.
        given: boxes from a file instead of the detector, for pictures.
        video: what is done with films; its formats are replaced by ``formats``.
        max_people: of a picture keep only so many people, those with the surest boxes; of films, see ``video``.
        blur_faces: make the faces of everybody who is found unrecognisable in every picture and film that is written,
            also of those who are not among the ``max_people``.
        listeners: told about results and failures as they come.

    Returns:
        What was done. A source that cannot be read or worked on is a failure in the summary and does not stop the
        others.

    Raises:
        UsageError: a result would be written over a source or over somebody's own file, formats of films alone are
            wanted of pictures alone, or options do not go with a film, before anything is done; of a later film that
            is a failure.
        VitPoseError: anything that concerns the whole run: the detector's weights, a full disk. What was finished
            before is written.
    """
    films = [source for source in sources if source.kind in _FILMS]
    if films:
        require("av", "video", "reading videos")
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and results need a folder: choose another one with --out")
    run = _Run(estimator, listeners or Listeners(), given, sources)
    origins = _origins(sources, given, formats)
    if out is not None:
        measured = video is not None and video.measurement is not None
        _protect(sources, origins, out, formats, given=given, measured=measured)
    wanted = [name for name in formats if name in PICTURE_FORMATS]
    if out is not None and sources and not films and formats and not wanted:
        raise UsageError(
            f"only films are written as {', '.join(formats)}: choose from {', '.join(PICTURE_FORMATS)} for pictures"
        )
    with contextlib.ExitStack() as stack:
        writers = open_writers(wanted, out) if out is not None and (not films or len(films) < len(sources)) else []
        for writer in writers:
            stack.callback(writer.close)
        try:
            for is_film, group in itertools.groupby(
                zip(sources, origins, strict=True), lambda pair: pair[0].kind in _FILMS
            ):
                if is_film:
                    run.films(list(group), out, formats, video, blur_faces=blur_faces)
                else:
                    with _WriteBehind() as behind:
                        for origin, poses, image in run.pictures(group):
                            drawn = image if "overlay" in wanted else None
                            behind.submit(_write, origin, poses, writers, out, drawn, run, blur_faces, max_people)
                        behind.finish()
        except KeyboardInterrupt:
            run.summary.interrupted = True
    return run.summary


def _origins(sources: Sequence[Source], given: GivenBoxes | None, formats: tuple[str, ...]) -> list[Origin]:
    """Name the results; ids are those of the file the boxes come from, where it has them."""
    reserved = {COCO_RESULTS, COCO_CATEGORIES} if {"json", "coco"} <= set(formats) else set()
    if {"csv", "parquet"} & set(formats):
        reserved |= {TABLE}
    taken = {source.name.casefold() for source in sources}
    names = [_fitting(_unreserved(source.name, reserved, taken)) for source in sources]
    known = [None if given is None else given.image_id(source.location) for source in sources]
    # A picture the file does not know has no boxes, so nothing asks for its id: the others keep theirs.
    nameless = [
        number is None and (given is None or given.knows(source.location))
        for source, number in zip(sources, known, strict=True)
    ]
    ids = number_images(names) if any(nameless) or not any(known) else known
    return [
        Origin(name=name, source=shown(source.location), image_id=readable(name) if number is None else number)
        for source, name, number in zip(sources, names, ids, strict=True)
    ]


def _unreserved(name: str, reserved: Collection[str], taken: set[str]) -> str:
    """Return a name that neither the files about everything nor another source has; some systems ignore case."""
    if name.casefold() not in reserved:
        return name
    numbered = (f"{name}-picture" if number == 1 else f"{name}-picture-{number}" for number in itertools.count(1))
    found = next(one for one in numbered if one.casefold() not in taken)
    taken.add(found.casefold())
    return found


def _fitting(name: str) -> str:
    """Shorten a name that file systems (255 bytes) have no room for once it has its ending."""
    folder, slash, last = name.rpartition("/")
    if len(os.fsencode(last)) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(os.fsencode(last)).hexdigest()[:12]
    return f"{folder}{slash}{os.fsencode(last)[:_LONGEST_NAME].decode('utf-8', 'ignore')}-{digest}"


def _protect(
    sources: Sequence[Source],
    origins: Sequence[Origin],
    out: Path,
    formats: tuple[str, ...],
    *,
    given: GivenBoxes | None,
    measured: bool,
) -> None:
    """Refuse to write over a source, or over a file that is no result of ours, before anything slow begins."""
    claim = Claim([*(source.location for source in sources), *([] if given is None else [given.source])])
    if any(source.kind not in _FILMS for source in sources):
        claim.everything(out, formats)
    for source, origin in zip(sources, origins, strict=True):
        if source.kind in _FILMS:
            claim.film(FilmFiles(out, origin.name), _of_films(formats), measured=measured)
        else:
            claim.picture(out, origin.name, formats)


def _of_films(formats: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("coco-video" if name == "coco" else name for name in formats)


def _write(
    origin: Origin,
    poses: Poses,
    writers: Sequence[ResultWriter],
    out: Path | None,
    drawn: Image | None,
    run: "_Run",
    blur: bool,
    most: int | None,
) -> None:
    everybody, poses = poses, _surest(poses, most)
    for writer in writers:
        writer.add(origin, poses)
    if out is not None and drawn is not None:
        picture = draw_poses(_faceless(drawn, everybody) if blur else drawn, poses)
        write_image(out / f"{origin.name}{OVERLAY}", _small_enough(picture), comment=DRAWN)
    run.summary.pictures += 1
    run.summary.people += len(poses)
    run.listeners.result(origin, poses)


def _small_enough(picture: Image) -> Image:
    """Shrink what JPEG has no room for."""
    longest = max(picture.shape[:2])
    if longest <= _LONGEST_JPEG:
        return picture
    height, width = (max(round(side * _LONGEST_JPEG / longest), 1) for side in picture.shape[:2])
    return np.asarray(PIL.Image.fromarray(picture).resize((width, height)), dtype=np.uint8)


_LONGEST_JPEG = 65_500
"""Pixels a side may have, by libjpeg."""


def _surest(poses: Poses, count: int | None) -> Poses:
    """Keep so many people, those with the surest boxes, in their order."""
    if count is None or len(poses) <= count:
        return poses
    return poses[np.sort(np.argsort(-poses.box_scores, kind="stable")[:count])]


def _faceless(image: Image, poses: Poses) -> Image:
    from vitpose.rendering.blur import blur_faces

    return blur_faces(image, poses)


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

    def __init__(
        self,
        estimator: PoseEstimator,
        listeners: Listeners,
        given: GivenBoxes | None,
        sources: Sequence[Source],
    ) -> None:
        self.estimator = estimator
        self.listeners = listeners
        self.given = given
        self.sources = sources
        self.summary = Summary()

    def films(
        self,
        films: Sequence[tuple[Source, Origin]],
        out: Path | None,
        formats: tuple[str, ...],
        video: "VideoOptions | None",
        *,
        blur_faces: bool,
    ) -> None:
        """Work through films; a folder of pictures does not load what only films need."""
        from vitpose.media.video import open_frames
        from vitpose.pipeline.stream import predict_video
        from vitpose.pipeline.video_options import VideoOptions

        options = video or VideoOptions()
        options = replace(options, formats=_of_films(formats), blur_faces=options.blur_faces or blur_faces)
        for source, origin in films:
            with self._passing_over(source):
                if self.given is not None:
                    raise InputError(f"{source.location}: boxes from a file are for pictures; a video needs a detector")
                frames = open_frames(source, options.span, rate=options.rate)
                done = predict_video(
                    self.estimator,
                    frames,
                    out=out,
                    name=origin.name,
                    location=source.location,
                    options=options.for_source(frames.info),
                    listeners=replace(self.listeners, broken=self._broken),
                )
                self._count(done)
                if done.complete and out is not None and options.measurement is not None:
                    self._measure(source, out / origin.name, options.measurement)
                # A live source has no other end; but who stops it does not mean to begin the next one.
                if done.interrupted and not (done.complete and source is self.sources[-1]):
                    raise KeyboardInterrupt

    def _count(self, done: "VideoSummary") -> None:
        self.summary.frames += done.frames
        self.summary.people += done.people

    def _broken(self, done: "VideoSummary") -> None:
        """A source broke off: what was finished of it counts, and the listeners hear of it."""
        self._count(done)
        self.listeners.broken(done)

    def _measure(self, source: Source, named: Path, measurement: "Measurement") -> None:
        """Measure a film that is done; that it cannot be measured takes nothing from its results."""
        from vitpose.pipeline.measure import measure_film

        results, folder = (named.with_name(f"{named.name}.{ending}") for ending in ("jsonl", "motion"))
        try:
            measure_film(results, folder, measurement)
        except (InputError, UsageError) as error:
            self._fail(
                shown(source.location),
                f"{shown(source.location)}: the poses are written, but the movement is not measured: {error}",
            )

    def pictures(self, sources: Iterable[tuple[Source, Origin]]) -> Iterator[tuple[Origin, Poses, Image]]:
        """Yield results in order; what fails is told and passed over."""
        with contextlib.closing(PictureWork(self.estimator, self.given).results(sources)) as entries:
            for entry in entries:
                if isinstance(entry, Failure):
                    self._fail(entry.source, entry.message)
                elif entry.poses is not None:
                    yield entry.origin, entry.poses, entry.image

    def _fail(self, source: str, message: str) -> None:
        failure = Failure(source, message)
        self.summary.failures.append(failure)
        self.listeners.failure(failure)

    @contextlib.contextmanager
    def _passing_over(self, source: Source) -> Iterator[None]:
        try:
            yield
        except (InputError, UsageError) as error:
            # What does not go with the first film may go with none. Later it is a reason to leave out one: another run
            # holds its results, say, or it is not the film any more that a run was begun with.
            if isinstance(error, UsageError) and not (self.summary.frames or self.summary.pictures):
                raise
            self._fail(shown(source.location), readable(str(error)))
