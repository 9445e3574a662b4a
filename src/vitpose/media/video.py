"""Frames of video files, and of everything else that has frames: upright, in order, with their real times."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from vitpose.core.errors import InputError, UsageError
from vitpose.core.files import check_regular
from vitpose.media.container import BrokenOffError, pyav
from vitpose.media.film import Film, Location
from vitpose.media.frames import Frame, FrameSource, Span, VideoInfo
from vitpose.media.sequences import ImageSequence
from vitpose.media.sources import Source
from vitpose.media.streams import open_stream

__all__ = ["WHOLE", "Frame", "FrameSource", "Span", "VideoFile", "VideoInfo", "open_frames", "read_frames"]

log = logging.getLogger(__name__)

WHOLE = Span()
"""Every frame of a source."""


def open_frames(source: Source, span: Span = WHOLE, *, rate: float | None = None) -> FrameSource:
    """Open a video, a sequence of pictures or a live stream.

    Args:
        source: of the kinds ``video``, ``sequence`` or ``stream``; see ``expand_sources``.
        span: the frames that are wanted.
        rate: frames a second of a sequence, which has no times of its own, and of videos without time stamps, by
            default what those declare. Other sources have their own times.

    Raises:
        InputError: cannot be opened or has no frame that can be decoded.
        UsageError: another kind of source, a rate that is not above 0, or a sequence without one.
        MissingExtraError: PyAV is not installed.
    """
    if rate is not None and not 0 < rate < float("inf"):
        raise UsageError(f"the rate must be a number of frames a second above 0, not {rate:g}")
    if source.kind == "video":
        return VideoFile(source.location, span, name=source.name, rate=rate)
    if source.kind == "sequence":
        return ImageSequence(source.location, span, name=source.name, rate=rate)
    if source.kind == "stream":
        return open_stream(source.location, span, name=source.name, rate=rate)
    raise UsageError(f"{source.location} is a picture, not a source of frames")


def read_frames(path: str | Path) -> Iterator[Frame]:
    """Yield all frames of a video file, decoding each when it is asked for; see ``VideoFile``.

    Raises:
        InputError: missing, not a video, without video stream, or no frame can be decoded.
        MissingExtraError: PyAV is not installed.
    """
    yield from VideoFile(path).frames()


class VideoFile:
    """A video file.

    Of the first video stream every frame comes upright with the time stamp it is shown at, in the order it is shown;
    pixels are taken as square. Packets that cannot be decoded are passed over, and counted in a warning at the end; a
    file that was cut short gives what it holds, and a warning. Frames of another size than the first are scaled to it.

    Attributes:
        name: what results are named by.
        info: facts about the whole file.
    """

    def __init__(
        self, path: str | Path, span: Span = WHOLE, *, name: str | None = None, rate: float | None = None
    ) -> None:
        """Open the file and decode its first frame; see ``open_frames`` for the arguments.

        Raises:
            InputError: missing, empty, not a video, without video stream, frames too large, or none can be decoded.
            MissingExtraError: PyAV is not installed.
        """
        pyav()
        path = Path(path)
        with contextlib.suppress(FileNotFoundError):
            check_regular(path, str(path))
        if not path.is_file():
            raise InputError(f"{path} is a folder, not a video" if path.is_dir() else f"{path} does not exist")
        if not path.stat().st_size:
            raise InputError(f"{path} is empty")
        self.name = path.stem if name is None else name
        # Absolute, for FFmpeg takes what stands before a colon for a protocol.
        # A file may name other files and addresses; none of them is opened.
        self._location = Location(str(path.absolute()), str(path), {"protocol_whitelist": "file"})
        self._span = span
        self._film = Film(self._location, span, rate=rate)
        self.info: VideoInfo = self._film.info

    def frames(self, after: int = -1) -> Iterator[Frame]:
        """Yield the frames of the span whose index is above ``after``; see ``FrameSource``.

        MP4, MOV, Matroska and WebM of the usual codecs are entered at a keyframe; others are decoded from the first
        frame, which is passed over without being turned into pixels. Frames that cannot be decoded keep their index in
        the former.

        Raises:
            InputError: no frame lies in the span, or in what there is of a file that was cut short, with ``after=-1``.
        """
        last_s: float | None = None
        try:
            for frame in self._film.frames(after):
                last_s = frame.time_s
                yield frame
        except BrokenOffError as error:
            log.warning("%s breaks off: %s", self._location.shown, error)
            if after < 0 and last_s is None:
                raise self._span.nothing_in(self._location.shown, None) from error
