"""A film from its first frame to its results.

Reading, detecting, estimating, following and writing overlap (``stages.py``); each works on the same chunk of frames
wherever a run begins, and the journal grows by whole chunks, so a run that was killed and continued ends with the bytes
of one that was not.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vitpose.core.errors import InputError
from vitpose.core.poses import Boxes
from vitpose.formats.film import FILM_FORMATS, convert_film
from vitpose.formats.results import Origin
from vitpose.media.frames import Frame, FrameSource, Stoppable
from vitpose.media.sources import shown
from vitpose.media.video_writer import SegmentedVideo
from vitpose.pipeline.afterwards import smooth_journal
from vitpose.pipeline.chunks import Chunk, Saved, read_chunks
from vitpose.pipeline.demand import Demand
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.film_output import DrawnFilm, FilmCount, FilmFiles, FilmOutput, begin
from vitpose.pipeline.film_work import FilmWork
from vitpose.pipeline.following import Follower, make_tracker
from vitpose.pipeline.journal import Journal, Record, identify, read_records
from vitpose.pipeline.one_engine import one_engine
from vitpose.pipeline.own_results import Claim
from vitpose.pipeline.stages import overlapped
from vitpose.pipeline.summary import Listeners, VideoSummary
from vitpose.pipeline.video_options import VideoOptions

log = logging.getLogger(__name__)


def predict_video(
    estimator: PoseEstimator,
    source: FrameSource,
    *,
    out: Path | None = None,
    name: str | None = None,
    location: str | None = None,
    options: VideoOptions | None = None,
    listeners: Listeners | None = None,
) -> VideoSummary:
    """Estimate the poses in every frame of a film, say who is who, and write the results.

    Args:
        estimator: finds people and their poses; needs a detector.
        source: gives the frames.
        out: folder for the results; None writes nothing, the listeners are told.
        name: of the results, a relative path without suffix; the source's by default.
        location: path or address as the user gave it, for the results; the source's name by default. Of a file the
            sound is taken, and its content is compared when the run is continued.
        options: see ``VideoOptions``.
        listeners: told every frame and every result, in this thread.

    Returns:
        What was done. A run that is stopped from the keyboard keeps what it finished in files named ``.partial``, which
        ``resume`` continues; stopping is how a live source ends, and then the run is complete.

    Raises:
        UsageError: options that do not go with the source, an estimator without detector, another process that writes
            the same results, files of these names that are no results, or a run to be continued that was begun with
            other options, another model or another source.
        InputError: the source breaks off; what was finished is kept as above.
        VitPoseError: anything else that goes wrong, such as a full disk; what was finished is kept.
    """
    options = options or VideoOptions()
    options.check(source.info, out)
    follower = Follower(make_tracker(options.tracker, max_people=options.max_people), options.smoothing)
    files = None if out is None else FilmFiles(out, name or source.name)
    with contextlib.ExitStack() as stack:
        if files is not None:
            stack.enter_context(files.held_alone())
            Claim([location or source.name]).film(files, options.formats)
        begun = files.run.load() if files is not None and options.resume else None
        known = begun["identity"]["auto_engine"] or None if begun else None
        held = stack.enter_context(one_engine(estimator, source, known))
        run = _Run(
            source=source,
            work=FilmWork(estimator, Demand(options.detect_every), follower),
            options=options,
            name=name or source.name,
            location=location or source.name,
            shown=begun["identity"]["source"]["shown"] if begun else shown(location or source.name),
            listeners=listeners or Listeners(),
        )
        if files is None:
            return run.watch()
        return run.write(files, run.identity(estimator, held))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One film on its way; ``shown`` is the location as results say it, which a run that goes on keeps."""

    source: FrameSource
    work: FilmWork
    options: VideoOptions
    name: str
    location: str
    shown: str
    listeners: Listeners

    def identity(self, estimator: PoseEstimator, held: str) -> dict[str, Any]:
        """Return everything that changes results."""
        nobody = Boxes(np.zeros((0, 4), np.float32))
        empty = estimator.estimate([np.zeros((8, 8, 3), np.uint8)], [nobody])[0].to_dict()
        info, path = self.source.info, self._file
        return {
            "model": empty["model"] | {"batch_size": estimator.options.batch_size, "threshold": empty["threshold"]},
            "auto_engine": held,
            "options": self.options.identity() | {"overlay": "overlay" in self.options.formats},
            "chunk": self._chunk,
            "source": {"shown": self.shown, "size": list(info.size), "frames": info.frames}
            | ({} if path is None else identify(path)),
        }

    def watch(self) -> VideoSummary:
        """Work through the film and write nothing."""
        output = self._output()
        ended = self._first_pass(output, None)
        return self._summary(output.count, complete=ended or self.source.info.live, interrupted=not ended)

    def write(self, files: FilmFiles, identity: dict[str, Any]) -> VideoSummary:
        """Work through the film and write the results."""
        saved, earlier = begin(files, identity, self.options.formats, chunk=self._chunk, resume=self.options.resume)
        if earlier is not None:
            return self._already(files, earlier)
        output, complete = self._output(), False
        try:
            with DrawnFilm(self._open_film(files, resume=saved > 0)) as film:
                ended = self._work(files, output, film.video, saved)
                complete = ended or self.source.info.live
                drawn = film.finish(complete=complete)
        except InputError:
            if output.count.frames:
                self.listeners.broken(self._summary(output.count, complete=False, files=(files.partial,)))
            raise
        finally:
            if not saved and not output.count.frames and not complete:
                files.forget()
        if not complete:
            return self._summary(output.count, complete=False, interrupted=True, files=(files.partial, *drawn))
        return replace(self._complete(files, identity, output.count, drawn), interrupted=not ended)

    def _work(self, files: FilmFiles, output: FilmOutput, film: SegmentedVideo | None, saved: int) -> bool:
        """Fill the journal and draw the film; return whether the source came to its end."""
        later = self.options.smooths_afterwards
        with Journal(files.partial) as output.journal:
            output.film = None if later else film
            undrawn = saved if output.film is None else min(output.film.next_ordinal, saved)
            ended = self._first_pass(output, Saved(files.partial, saved, 0 if self.work.looks else undrawn))
        return self._second_pass(files, film, output.count.frames) if ended and later else ended

    def _first_pass(self, output: FilmOutput, known: Saved | None) -> bool:
        """Return whether the source came to its end, rather than somebody to the end of his patience."""
        chunks = read_chunks(self.source, self._chunk, known)
        final = not self.options.smooths_afterwards
        stages = (self.work.detect, self.work.estimate, self.work.follow, output.draw, output.write)
        try:
            with self._overlapped(chunks, *stages) as results:
                for chunk in results:
                    if not chunk.known:
                        for frame, record in zip(chunk.frames, chunk.records, strict=True):
                            self._tell(frame, record, final=final)
        except KeyboardInterrupt:
            return False
        return True

    @contextlib.contextmanager
    def _overlapped(self, chunks: Iterator[Chunk], *stages: Callable[[Chunk], Chunk]) -> Iterator[Iterator[Chunk]]:
        """Give the results to the block; when it ends, nobody waits any longer for what a source may still give."""
        with contextlib.closing(overlapped(chunks, *stages)) as results:
            try:
                yield results
            finally:
                if isinstance(self.source, Stoppable):
                    self.source.stop()

    def _second_pass(self, files: FilmFiles, film: SegmentedVideo | None, frames: int) -> bool:
        """Smooth and draw; return whether it came to its end."""
        if self.options.smoothing is None:
            return True
        try:
            smooth_journal(
                files.partial,
                files.smoothed,
                self.options.smoothing,
                name=self.name,
                source=self.shown,
                on_demand=self._on_demand,
            )
            if film is not None:
                self._draw(film, Saved(files.smoothed, frames, film.next_ordinal))
            for record in read_records(files.smoothed):
                self.listeners.result(self._origin(record), record.poses)
        except KeyboardInterrupt:
            return False
        return True

    def _draw(self, film: SegmentedVideo, known: Saved) -> None:
        """Draw what a journal says."""
        output = self._output(film=film)
        chunks = read_chunks(self.source, self._chunk, known, more=False)
        with self._overlapped(chunks, output.draw, output.write) as results:
            for _ in results:
                pass

    def _complete(
        self, files: FilmFiles, identity: dict[str, Any], count: FilmCount, drawn: tuple[Path, ...]
    ) -> VideoSummary:
        """Give the journal its name, where it is wanted, and write what is made from it."""
        run = {
            "identity": identity,
            "frames": count.frames,
            "people": count.people,
            "detections": count.detections,
            "drawn": [path.name for path in drawn],
        }
        files.run.save(run | {"complete": False})
        whole = files.smoothed if self.options.smooths_afterwards else files.partial
        # A journal that lies there from a run before stays where this one was not asked for any.
        if "json" in self.options.formats:
            whole = whole.replace(files.journal)
            files.partial.unlink(missing_ok=True)
        return self._convert(files, run, whole)

    def _convert(self, files: FilmFiles, run: dict[str, Any], journal: Path) -> VideoSummary:
        wanted = [one for one in FILM_FORMATS if one in self.options.formats]
        made = convert_film(journal, files.folder, files.name, wanted, self.options.film_options)
        formats = list(dict.fromkeys((*run.get("formats", ()), *self.options.formats)))
        run = run | {"complete": True, "formats": formats}
        files.run.save(run)
        return self._finished(files, run, made)

    def _already(self, files: FilmFiles, run: dict[str, Any]) -> VideoSummary:
        """Return what an earlier run did; make what it did not come to."""
        if run["complete"] and set(self.options.formats) <= set(run["formats"]):
            log.info("%s is complete already", self.name)
            return self._finished(files, run, [])
        run = {key: value for key, value in run.items() if key != "schema"}
        if "overlay" in self.options.formats and not run["drawn"] and run["frames"]:
            try:
                with DrawnFilm(self._open_film(files, resume=False)) as film:
                    if film.video is not None:
                        self._draw(film.video, Saved(files.journal, run["frames"], 0))
                    run["drawn"] = [path.name for path in film.finish(complete=True)]
            except KeyboardInterrupt:
                count = FilmCount(run["frames"], run["people"], run["detections"])
                return self._summary(count, complete=False, interrupted=True, files=(files.journal,))
        return self._convert(files, run, files.journal)

    def _finished(self, files: FilmFiles, run: dict[str, Any], made: list[Path]) -> VideoSummary:
        for path in (files.partial, files.smoothed):
            path.unlink(missing_ok=True)
        count = FilmCount(run["frames"], run["people"], run["detections"])
        drawn = [files.film.with_name(name) for name in run["drawn"]]
        return self._summary(count, complete=True, files=(files.journal, *drawn, *made))

    def _summary(
        self, count: FilmCount, *, complete: bool, interrupted: bool = False, files: tuple[Path, ...] = ()
    ) -> VideoSummary:
        return VideoSummary(
            frames=count.frames,
            people=count.people,
            detections=count.detections,
            complete=complete,
            interrupted=interrupted,
            files=tuple(path for path in files if path.exists()),
        )

    def _tell(self, frame: Frame, record: Record, *, final: bool) -> None:
        self.listeners.frame(frame, record.poses)
        if final:
            self.listeners.result(self._origin(record), record.poses)

    def _origin(self, record: Record) -> Origin:
        return Origin(name=self.name, source=self.shown, image_id=self.name, frame=record.frame, time_s=record.time_s)

    @property
    def _on_demand(self) -> bool:
        return self.options.detect_every > 1

    @property
    def _chunk(self) -> int:
        return self.options.chunk(self.source.info)

    @property
    def _file(self) -> Path | None:
        path = Path(self.location)
        return path if path.is_file() else None

    def _output(self, film: SegmentedVideo | None = None) -> FilmOutput:
        return FilmOutput(
            name=self.name,
            source=self.shown,
            on_demand=self._on_demand,
            film=film,
            blur=self.options.blur_faces,
        )

    def _open_film(self, files: FilmFiles, *, resume: bool) -> SegmentedVideo | None:
        if "overlay" not in self.options.formats:
            return None
        info = self.source.info
        return SegmentedVideo(
            files.film,
            size=info.size,
            rate=info.rate / self.options.span.stride if info.rate else None,
            audio_from=self._file if info.audio else None,
            resume=resume,
        )
