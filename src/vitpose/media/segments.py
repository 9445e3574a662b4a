"""The segments of a film that is being written: a fixed number of frames each, encoded on their own.

A segment is a NUT file (FFmpeg's own container), because NUT keeps any time stamp exactly as it is. Its bytes depend
on its frames alone: a fixed number of threads, no dates, no B-frames, the first frame a key frame. That is what lets a
run that was killed go on with the next segment and end with the file it would have ended with anyway.
"""

import contextlib
import io
import json
import logging
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import VitPoseError
from vitpose.core.extras import require
from vitpose.core.files import atomic_write_bytes, atomic_write_text
from vitpose.core.geometry import Size

log = logging.getLogger(__name__)

TIME_BASE = Fraction(1, 90_000)
"""One tick: the clock of MPEG, fine enough for every usual frame rate."""

# Without B-frames packets come in the order they are shown: nothing is shifted at the seams or at the ends. Threads are
# fixed because x264's output depends on their number, and its choice of routines is kept off the processor's features.
_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0", "g": "60", "x264-params": "cpu-independent=1"}
_THREADS = 4

_BT709, _LIMITED = 1, 1
"""ITU-T H.273: matrix, primaries and transfer of HD video; levels 16 to 235."""

_NAME = re.compile(r"\d{6}\.nut")
_MANIFEST = "film.json"

AHEAD = 2**40
"""Segments hold times so many ticks later, some months: NUT knows none below zero, and films do."""


def pyav() -> Any:
    """Return the module ``av``.

    Raises:
        MissingExtraError: PyAV is not installed.
        VitPoseError: its FFmpeg was built without the H.264 encoder.
    """
    av = require("av", "video", "writing videos")
    try:
        av.codec.Codec("libx264", "w")
    except ValueError as error:
        raise VitPoseError(
            "writing videos needs FFmpeg's encoder libx264, which this build of PyAV lacks: install PyAV's wheels from"
            " PyPI (pip install --force-reinstall --only-binary av av), or run without the annotated video"
        ) from error
    return av


class SegmentEncoder:
    """H.264 of a few frames, in memory until it is closed."""

    def __init__(self, size: Size, rate: float | None) -> None:
        """Open an encoder.

        Args:
            size: of the frames, even in both directions.
            rate: frames a second, by which the encoder spends its bits; 30 when not known.
        """
        self._av = pyav()
        self._buffer = io.BytesIO()
        self._container = self._av.open(self._buffer, "w", format="nut", options={"fflags": "+bitexact"})
        rate_hint = Fraction(rate or 30).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate_hint, options=_OPTIONS)
        self._stream.width, self._stream.height, self._stream.pix_fmt = size.width, size.height, "yuv420p"
        codec = self._stream.codec_context
        codec.time_base = TIME_BASE
        codec.thread_count, codec.thread_type = _THREADS, "FRAME"
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = _LIMITED

    def add(self, stamp: int, image: NDArray[np.uint8]) -> None:
        """Encode one frame.

        Args:
            stamp: presentation time in ticks, above the one before.
            image: ``(height, width, 3)`` uint8 RGB of the encoder's size.

        Raises:
            VitPoseError: the encoder refuses it, for instance a picture larger than H.264 allows.
        """
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = stamp + AHEAD, TIME_BASE
        try:
            self._container.mux(self._stream.encode(frame))
        except self._av.FFmpegError as error:
            height, width = image.shape[:2]
            raise VitPoseError(
                f"cannot encode a frame of {width}x{height} pixels as H.264 ({error.strerror}); a side may have 16384"
                " at most: run without the annotated video"
            ) from error

    def close(self) -> bytes:
        """Encode what the encoder still holds and return the whole segment."""
        self._container.mux(self._stream.encode())
        self._container.close()
        return self._buffer.getvalue()


def segment_stamps(segment: Path | bytes) -> list[int]:
    """Return the time stamps of a segment's frames, in ticks.

    Raises:
        VitPoseError: it is not a segment.
    """
    av = pyav()
    try:
        with av.open(io.BytesIO(segment) if isinstance(segment, bytes) else str(segment.absolute())) as container:
            return [packet.pts - AHEAD for packet in container.demux(video=0) if packet.size]
    except (av.FFmpegError, IndexError) as error:
        raise VitPoseError(f"{segment!s:.200} is damaged; delete its folder and run again") from error


def parts_in(folder: Path) -> list[Path]:
    """Return what a run takes for its own in a folder; what it was writing when killed begins with ``.part-``."""
    if not folder.is_dir():
        return []
    entries = sorted(folder.iterdir())
    return [
        e
        for e in entries
        if _NAME.fullmatch(e.name) or e.name in (_MANIFEST, "film.mp4") or e.name.startswith(".part-")
    ]


def is_begun(folder: Path) -> bool:
    """Whether a run has noted in a folder how it makes its segments."""
    try:
        made_with = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(made_with, dict) and "segment_frames" in made_with


def clear_parts(folder: Path) -> None:
    """Remove what a run left in a folder, and the folder if nothing of somebody else's is in it."""
    for path in parts_in(folder):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


class PartsFolder:
    """The segments that are whole, in a folder beside the film."""

    def __init__(self, folder: Path, made_with: Mapping[str, Any], *, resume: bool) -> None:
        """Open or make the folder.

        Args:
            folder: where the segments lie.
            made_with: all that decides their bytes beside the frames; segments made with something else are dropped.
            resume: keep the whole segments an earlier run left.

        Raises:
            VitPoseError: the folder cannot be made or written to.
        """
        self.folder = folder
        mark = json.dumps(dict(made_with), sort_keys=True)
        self.count = self._kept(mark) if resume else 0
        if not self.count:
            self.clear()
            atomic_write_text(folder / _MANIFEST, mark)
        for path in parts_in(self.folder):
            if path.name != _MANIFEST and path not in self.paths:
                path.unlink()

    @property
    def paths(self) -> list[Path]:
        """The whole segments in order."""
        return [self._path(index) for index in range(self.count)]

    def save(self, segment: bytes) -> None:
        """Write the next segment; it appears whole or not at all.

        Raises:
            VitPoseError: it cannot be written; the earlier ones stay.
        """
        atomic_write_bytes(self._path(self.count), segment)
        self.count += 1

    def clear(self) -> None:
        """Remove the segments, and the folder if nothing of somebody else's is in it."""
        self.count = 0
        clear_parts(self.folder)

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.nut"

    def _kept(self, mark: str) -> int:
        manifest = self.folder / _MANIFEST
        if not manifest.is_file():
            return 0
        if manifest.read_text(encoding="utf-8") != mark:
            log.info(
                "%s was made with other settings or other libraries; the film is written from the start", self.folder
            )
            return 0
        count = 0
        while self._path(count).is_file():
            count += 1
        return count
