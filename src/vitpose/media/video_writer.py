"""An annotated film, written segment by segment, so that a run that is killed can go on and end with the same bytes."""

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError, VitPoseError
from vitpose.core.geometry import Size
from vitpose.media.remux import join
from vitpose.media.segments import TIME_BASE, PartsFolder, SegmentEncoder, pyav, segment_stamps

log = logging.getLogger(__name__)

_FORMAT = 2
"""Raised whenever the encoder's settings change, so that segments of both kinds are never joined."""


class SegmentedVideo:
    """Frames in, ``NAME.mp4`` out: H.264 that every player plays, with the time stamps the frames came with.

    The film's clock starts at its first frame; every later frame keeps its distance from it, to 1/90000 s. A frame that
    is not later than the one before is shown one such tick after it: none is dropped, and the clock is never bent.
    H.264 with halved colour takes even sizes, so an odd picture gets one more row or column, a copy of its last:
    positions in pixels stay what they are.

    While frames come, whole segments of ``segment_frames`` frames gather in ``NAME.parts``; ``finish`` joins them
    without encoding again.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: Size,
        rate: float | None = None,
        audio_from: Path | None = None,
        segment_frames: int = 256,
        resume: bool = False,
    ) -> None:
        """Open the folder of segments.

        Args:
            path: where the whole film will stand, ending in ``.mp4``.
            size: of the frames.
            rate: written frames a second, a hint for the encoder and the length of a single frame; None if not known.
            audio_from: the film whose sound is added, on whose clock the frames' times are.
            segment_frames: frames a segment.
            resume: go on after the whole segments of an earlier run.

        Raises:
            UsageError: another suffix, an empty size, or no frame a segment.
            MissingExtraError: PyAV is not installed.
            VitPoseError: its FFmpeg cannot encode H.264, or the folder cannot be written.
        """
        self.path = Path(path)
        if self.path.suffix != ".mp4":
            raise UsageError(f"annotated films are written as .mp4, not {self.path.name}")
        if min(size) < 1 or segment_frames < 1:
            raise UsageError(f"cannot write frames of {size.width}x{size.height} in segments of {segment_frames}")
        self._size, self._rate, self._audio_from = size, rate, audio_from
        self._even = Size(size.height + size.height % 2, size.width + size.width % 2)
        self._segment_frames = segment_frames
        made_with = {
            "format": _FORMAT,
            "size": list(size),
            "rate": rate,
            "segment_frames": segment_frames,
            "libraries": {name: list(version) for name, version in pyav().library_versions.items()},
        }
        self._parts = PartsFolder(self.path.with_suffix(".parts"), made_with, resume=resume)
        self._last = segment_stamps(self._parts.paths[-1])[-1] if self._parts.count else None
        self._encoder: SegmentEncoder | None = None
        self._pending = 0
        self._unsaved: bytes | None = None
        self._closed = self._lost = self._warned = False

    @property
    def next_ordinal(self) -> int:
        """Position among the written frames, from 0, of the first frame that is not in a whole segment."""
        return self._parts.count * self._segment_frames

    def add(self, time_s: float, image: NDArray[np.uint8]) -> None:
        """Write one frame.

        Args:
            time_s: its presentation time.
            image: ``(height, width, 3)`` uint8 RGB.

        Raises:
            UsageError: a time that is no number, an image of another size, or a film that was closed.
            VitPoseError: the segment cannot be encoded or written (disk full); the whole ones before it stay.
        """
        if self._closed or self._lost:
            raise UsageError(f"{self.path} was closed; no frame can be added")
        if image.shape != (*self._size, 3) or image.dtype != np.uint8:
            raise UsageError(
                f"{self.path} takes (height, width, 3) uint8 RGB of {self._size.width}x{self._size.height} pixels, not"
                f" {image.shape} {image.dtype}"
            )
        stamp = self._stamp(time_s)
        self._lost = True  # until all has worked: a film that lacks a frame must not go on
        if self._encoder is None:
            self._encoder = SegmentEncoder(self._even, self._rate)
        self._encoder.add(stamp, self._pad(image))
        self._last = stamp
        self._pending += 1
        if self._pending == self._segment_frames:
            self._unsaved = self._end_segment()
            with self._kept():
                self._parts.save(self._unsaved)
            self._unsaved = None
        self._lost = False

    def finish(self, complete: bool, *, keep_parts: bool = False) -> Path | None:
        """Join the segments, add the sound, and let the film appear.

        Args:
            complete: whether all frames were added. If so the film is ``NAME.mp4``, and an earlier ``NAME.partial.mp4``
                goes; else it is ``NAME.partial.mp4``, with every frame so far.
            keep_parts: leave the whole segments, so that a resumed run does not have to encode them again.

        Returns:
            The film's path; None when it has no frame, for then there is no film.

        Raises:
            UsageError: the film was closed, or it is called complete after a frame could not be written.
            VitPoseError: the film cannot be written (disk full); the whole segments stay.
        """
        if self._closed or (complete and self._lost):
            raise UsageError(f"{self.path} was closed before all its frames were written")
        partial = self.path.with_suffix(".partial.mp4")
        target = self.path if complete else partial
        segments: list[Path | bytes] = [*self._parts.paths]
        if self._unsaved is not None:
            segments.append(self._unsaved)
        elif self._pending:
            segments.append(self._end_segment())
        self.close()
        if segments:
            with self._kept():
                join(segments, target, staging=self._parts.folder, rate=self._rate, sound=self._audio_from)
        if complete:
            partial.unlink(missing_ok=True)
        if not (keep_parts and self._parts.count):
            self._parts.clear()
        return target if segments else None

    def close(self) -> None:
        """Stop without a film: the unfinished segment is given up, the whole ones stay for a resumed run."""
        self._closed = True
        self._encoder = self._unsaved = None

    def __enter__(self) -> "SegmentedVideo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end_segment(self) -> bytes:
        encoder, self._encoder, self._pending = self._encoder, None, 0
        assert encoder is not None  # there are pending frames
        return encoder.close()

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Say what an error of writing has left, and what to do."""
        try:
            yield
        except VitPoseError as error:
            frames, folder = self.next_ordinal, self._parts.folder
            hint = f"; the first {frames} frames stay in {folder}: make room and resume the run" if frames else ""
            raise VitPoseError(f"{error}{hint}") from error

    def _stamp(self, time_s: float) -> int:
        if not math.isfinite(time_s):
            raise UsageError(f"{self.path}: a frame's time is {time_s}, not a number of seconds")
        stamp = round(time_s / TIME_BASE)
        if self._last is None or stamp > self._last:
            return stamp
        if not self._warned:
            before_s = float(self._last * TIME_BASE)
            log.warning(
                "%s: the frame at %.3f s is not after the one at %.3f s; shown just after", self.path, time_s, before_s
            )
        self._warned = True
        return self._last + 1

    def _pad(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._even == self._size:
            return image
        rows, columns = self._even.height - self._size.height, self._even.width - self._size.width
        return np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
