"""Frames of a video file, one at a time, upright, with their real presentation times."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.extras import require

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a video.

    Attributes:
        index: position in presentation order, from 0.
        time_s: presentation time stamp in seconds, as it is stored in the file.
        image: ``(height, width, 3)`` uint8 RGB, upright.
    """

    index: int
    time_s: float
    image: NDArray[np.uint8]


def read_frames(path: str | Path) -> Iterator[Frame]:
    """Yield the frames of the first video stream, decoding each when it is asked for.

    The rotation a phone writes into the file is applied. Packets that cannot be decoded are passed over, and counted
    in a warning at the end. Where a stream has no time stamps at all (raw H.264), times follow from the frame rate it
    declares. Pixels are taken as square.

    Raises:
        InputError: missing, not a video, without video stream, or no frame can be decoded.
        MissingExtraError: PyAV is not installed.
    """
    av = require("av", "video", "reading videos")
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is a folder, not a video" if path.is_dir() else f"{path} does not exist")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be opened as a video: {getattr(error, 'strerror', None) or error}") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path} has no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        index, broken = 0, 0
        for packet in _packets(av, container, stream):
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                broken += 1
                continue
            for frame in decoded:
                yield _frame(index, frame, stream)
                index += 1
        if not index:
            raise InputError(f"{path} has a video stream, but no frame of it can be decoded")
        if broken:
            log.warning("%s: %d packets could not be decoded; %d frames could", path, broken, index)


def _packets(av: Any, container: Any, stream: Any) -> Iterator[Any]:
    """Yield packets until the file ends or breaks off; a file that was cut short still gives what it holds."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            log.warning("%s breaks off: %s", container.name, error.strerror)
            return
        yield packet


def _frame(index: int, frame: Any, stream: Any) -> Frame:
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    # FFmpeg's angle is counter-clockwise, like that of rot90.
    turns = round(frame.rotation / 90)
    if turns:
        image = np.ascontiguousarray(np.rot90(image, turns))
    return Frame(index, _time(index, frame, stream), image)


def _time(index: int, frame: Any, stream: Any) -> float:
    if frame.time is not None:
        return float(frame.time)
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return index / float(rate) if rate else 0.0
