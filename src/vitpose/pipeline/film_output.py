"""What a film leaves on disk: the journal, the annotated film, and what is made from the journal."""

import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError, VitPoseError
from vitpose.core.files import held_alone
from vitpose.core.poses import Poses
from vitpose.media.segments import clear_parts
from vitpose.media.video_writer import SegmentedVideo
from vitpose.pipeline.chunks import Chunk
from vitpose.pipeline.journal import Journal, RunFile, keep_whole_chunks, refuse_another, to_line
from vitpose.rendering.blur import blur_faces
from vitpose.rendering.draw import draw_poses

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FilmFiles:
    """Where the results of a film lie.

    Attributes:
        folder: of all results.
        name: of this film's: a relative path without suffix.
    """

    folder: Path
    name: str

    def path(self, ending: str) -> Path:
        """Return the path that ends in ``ending``."""
        return self.folder / f"{self.name}{ending}"

    @property
    def journal(self) -> Path:
        """The whole journal."""
        return self.path(".jsonl")

    @property
    def partial(self) -> Path:
        """The journal while it grows."""
        return self.path(".partial.jsonl")

    @property
    def smoothed(self) -> Path:
        """The journal with what a second pass smoothed, until it takes the first one's place."""
        return self.path(".smoothed.jsonl")

    @property
    def film(self) -> Path:
        """The annotated film."""
        return self.path(".mp4")

    @property
    def run(self) -> RunFile:
        """What the run is."""
        return RunFile(self.path(".run.json"))

    @property
    def lock(self) -> Path:
        """What a run holds while it works: hidden, for it is nobody's result."""
        return self.folder / Path(self.name).with_name(f".{Path(self.name).name}.lock")

    def held_alone(self) -> contextlib.AbstractContextManager[None]:
        """Keep other runs away from these files for the length of a block.

        Raises:
            UsageError: another process writes them.
        """
        return held_alone(
            self.lock,
            f"another run is writing {self.partial}: wait until it has ended, or choose another folder with --out",
        )

    def clear(self) -> None:
        """Remove what a run that did not come to its end has left, before another one begins anew.

        Raises:
            VitPoseError: it cannot be removed.
        """
        try:
            run = self.run.load()
        except UsageError:
            run = None
        if run is None or run.get("complete"):
            return
        try:
            self.smoothed.unlink(missing_ok=True)
            if run["identity"]["options"]["overlay"]:
                self.film.with_suffix(".partial.mp4").unlink(missing_ok=True)
                clear_parts(self.film.with_suffix(".parts"))
        except OSError as error:
            raise VitPoseError(f"cannot remove {error.filename}: {error.strerror or error}") from error

    def forget(self) -> None:
        """Remove what a run without a frame leaves."""
        self.partial.unlink(missing_ok=True)
        self.run.path.unlink(missing_ok=True)


@dataclass(slots=True)
class FilmCount:
    """What went into the journal, earlier runs included."""

    frames: int = 0
    people: int = 0
    detections: int = 0

    def add(self, chunk: Chunk) -> None:
        """Count a chunk."""
        self.frames += len(chunk.records)
        self.people += sum(len(one.poses) for one in chunk.records)
        self.detections += sum(one.detected for one in chunk.records)


def begin(
    files: FilmFiles, identity: dict[str, Any], formats: Sequence[str], *, chunk: int, resume: bool
) -> tuple[int, dict[str, Any] | None]:
    """Prepare the folder for a run.

    Args:
        files: of the film.
        identity: of the run.
        formats: that are wanted; where an earlier run kept no journal to make them from, it is made again.
        chunk: processed frames a chunk.
        resume: continue an earlier run if there is one.

    Returns:
        How many frames are in the journal already; and what the earlier run says of itself, when all its frames are.

    Raises:
        UsageError: the earlier run was another one.
        VitPoseError: the folder cannot be written.
    """
    known = files.run.load() if resume else None
    # JSON knows no tuples, so what is compared went through it.
    plain = json.loads(json.dumps({"identity": identity}))
    if known is not None:
        if known["complete"]:
            # A film can be drawn from a whole journal, or not, as any other format is made from it.
            known["identity"]["options"]["overlay"] = plain["identity"]["options"]["overlay"]
        refuse_another(known["identity"], plain["identity"], files.run.path)
        if not known["complete"] and files.partial.is_file():
            return keep_whole_chunks(files.partial, chunk), None
        made = known.get("formats", ["json"])
        whole = "frames" in known  # a run that was only begun has none, whatever journal an earlier one left
        if whole and (files.journal.is_file() if "json" in made else set(formats) <= set(made)):
            return known["frames"], known
    elif resume and files.partial.is_file() and files.partial.stat().st_size:
        raise UsageError(
            f"{files.partial} has no {files.run.path.name} beside it that says how it was made: start again without"
            " resume"
        )
    files.clear()
    # First the journal, then what it is: a run without a journal is one whose journal has got its last name.
    try:
        files.partial.parent.mkdir(parents=True, exist_ok=True)
        files.partial.write_bytes(b"")
    except OSError as error:
        raise VitPoseError(f"cannot write {files.partial}: {error.strerror or error}") from error
    files.run.save(plain | {"complete": False})
    return 0, None


@dataclass(slots=True)
class FilmOutput:
    """The last two stages: draw each chunk; write it to the journal and then to the film.

    Attributes:
        name: of the results.
        source: as the user gave it.
        on_demand: whether lines say who found the boxes.
        journal: takes the lines; None where nothing is written or everything is written already.
        film: takes the pictures; None where none are drawn.
        blur: make faces unrecognisable.
        count: of what came through.
    """

    name: str
    source: str
    on_demand: bool = False
    journal: Journal | None = None
    film: SegmentedVideo | None = None
    blur: bool = False
    count: FilmCount = field(default_factory=FilmCount)

    def draw(self, chunk: Chunk) -> Chunk:
        """Draw what is not in the film yet."""
        if self.film is None:
            return chunk
        undrawn = self.film.next_ordinal
        drawn = tuple(
            annotated(frame.image, record.poses, blur=self.blur) if ordinal >= undrawn else None
            for ordinal, (frame, record) in enumerate(zip(chunk.frames, chunk.records, strict=True), chunk.first)
        )
        return replace(chunk, drawn=drawn)

    def write(self, chunk: Chunk) -> Chunk:
        """Write what is not on disk yet, the lines before the pictures."""
        if self.journal is not None and not chunk.known:
            self.journal.append(
                [to_line(one, name=self.name, source=self.source, on_demand=self.on_demand) for one in chunk.records]
            )
        if self.film is not None:
            for frame, image in zip(chunk.frames, chunk.drawn, strict=True):
                if image is not None:
                    self.film.add(frame.time_s, image)
        self.count.add(chunk)
        return replace(chunk, drawn=())


class DrawnFilm:
    """The annotated film, or that there is none; a block that fails leaves what was drawn as ``NAME.partial.mp4``."""

    def __init__(self, video: SegmentedVideo | None) -> None:
        self.video = video

    def finish(self, *, complete: bool) -> tuple[Path, ...]:
        """Let the film appear, complete or partial; return it if it has any frame."""
        video, self.video = self.video, None
        if video is None:
            return ()
        path = video.finish(complete, keep_parts=not complete and video.next_ordinal > 0)
        return () if path is None else (path,)

    def __enter__(self) -> "DrawnFilm":
        return self

    def __exit__(self, *_exception: object) -> None:
        # The error that ends the block is the one to hear about; the pieces stay for a resumed run.
        try:
            self.finish(complete=False)
        except VitPoseError as error:
            log.warning("%s", error)


def annotated(image: NDArray[np.uint8], poses: Poses, *, blur: bool) -> NDArray[np.uint8]:
    """Return a picture with the poses drawn on it, over faces that nobody recognises if ``blur``.

    Faces are hidden where the model saw them: smoothed points may lag behind a head that moves fast.
    """
    seen = poses if poses.raw_xy is None else replace(poses, xy=poses.raw_xy)
    return draw_poses(blur_faces(image, seen) if blur else image, poses)
