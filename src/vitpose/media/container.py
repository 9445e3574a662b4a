"""FFmpeg containers through PyAV: opened with limits, packets until the end or the break, frames as upright RGB."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.extras import require
from vitpose.core.geometry import Size
from vitpose.media.decode import MAX_PIXELS_VARIABLE, pixel_limit

log = logging.getLogger(__name__)


class BrokenOffError(Exception):
    """A container ended before its end: a connection died, or a file was cut where the format notices.

    Attributes:
        held: the packet before the break, of which a part may be missing; None if there was none.
    """

    def __init__(self, reason: str, held: Any = None) -> None:
        super().__init__(reason)
        self.held = held


def pyav() -> Any:
    """Return the module ``av``.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    return require("av", "video", "reading videos")


def open_container(
    location: str, shown: str, *, options: Mapping[str, str], timeout_s: float | None = None
) -> tuple[Any, Any]:
    """Open a container and choose its video stream; the caller closes the container.

    Args:
        location: path or address, as FFmpeg takes it.
        shown: what to call it in messages.
        options: FFmpeg's options of the format and the protocol.
        timeout_s: longest wait for an answer and for the next packet.

    Returns:
        Container and stream. A cover picture is not a video stream.

    Raises:
        InputError: cannot be opened, has no video stream, or frames of more pixels than are allowed.
        MissingExtraError: PyAV is not installed.
    """
    av = pyav()
    limit = pixel_limit()
    try:
        container = av.open(location, metadata_errors="replace", options=dict(options), timeout=timeout_s)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{shown} cannot be opened as a video: {reason(error)}") from error
    try:
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise InputError(f"{shown} has no video stream")
        codec = streams[0].codec_context
        if codec is None:
            raise InputError(f"{shown} has a video stream that FFmpeg has no decoder for")
        if codec.width * codec.height > limit:
            raise InputError(
                f"{shown} has frames of {codec.width}x{codec.height} pixels, more than the limit of {limit / 1e6:g}"
                f" million; set {MAX_PIXELS_VARIABLE} to allow it"
            )
        # Frames that turn out larger than the header says are refused by the decoder itself.
        codec.options = {**codec.options, "max_pixels": str(limit)}
        codec.thread_type = "AUTO"
    except BaseException:
        container.close()
        raise
    return container, streams[0]


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream; at its end an empty one, which makes the decoder give what it still holds.

    Raises:
        BrokenOffError: the container ends before its end; the packet before the break is not yielded.
    """
    av = pyav()
    source = container.demux(stream)
    held = None
    while True:
        try:
            packet = next(source, None)
        except av.FFmpegError as error:
            raise BrokenOffError(reason(error), held) from error
        if held is not None:
            yield held
        if packet is None:
            return
        held = packet


def last_packet(stream: Any) -> Any:
    """Return the empty packet that makes the decoder give what it still holds."""
    packet = pyav().Packet()
    packet.stream = stream
    return packet


def average_rate(stream: Any) -> float | None:
    """Return the frames a second that a stream declares or FFmpeg guesses; None where neither is known."""
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else None


def reason(error: BaseException) -> str:
    """Return what an error of FFmpeg says, without the address it adds."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__


class UprightImages:
    """Decoded frames to ``(height, width, 3)`` uint8 RGB, turned upright and all of one size.

    Phones write into the file how the picture is to be turned (ISO 14496-12, section 6.2.2); quarter turns and mirrored
    pictures are applied, other angles go to the nearest quarter turn. A frame of another size than the first is scaled
    to the size of the first, as players do: results and annotated videos keep one coordinate frame. Both are said once.
    """

    def __init__(self, shown: str, size: Size | None = None) -> None:
        """Take the size from the first frame unless it is given."""
        self.size = size
        self._shown = shown
        self._sizes_seen: set[Size] = set()
        self._warned = False

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        """Return one frame's pixels; ``frame`` is PyAV's."""
        return self.scale(self._turn(frame.to_ndarray(format="rgb24"), frame))

    def scale(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an upright image at the size of the first."""
        size = Size(*image.shape[:2])
        if self.size is None:
            self.size = size
        if size == self.size:
            return image
        if size not in self._sizes_seen:
            self._sizes_seen.add(size)
            log.warning(
                "%s: the picture changes to %dx%d pixels; such frames are scaled to the %dx%d of the first",
                self._shown,
                size.width,
                size.height,
                self.size.width,
                self.size.height,
            )
        smaller = size.height > self.size.height
        method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return cv2.resize(image, (self.size.width, self.size.height), interpolation=method).astype(np.uint8, copy=False)

    def _turn(self, image: NDArray[np.uint8], frame: Any) -> NDArray[np.uint8]:
        matrix = _display_matrix(frame)
        if matrix is None:
            return image
        # Rows of the matrix: stored x and y, columns: shown x and y; only signs and the larger pair matter.
        (a, b), (c, d) = matrix
        self._check_angle(a, b)
        if abs(a) + abs(d) < abs(b) + abs(c):
            image, a, d = image.transpose(1, 0, 2), c, b
        image = image[:, ::-1] if a < 0 else image
        image = image[::-1] if d < 0 else image
        return np.ascontiguousarray(image)

    def _check_angle(self, a: int, b: int) -> None:
        angle_deg = math.degrees(math.atan2(b, a))
        if abs(angle_deg - 90 * round(angle_deg / 90)) > 1 and not self._warned:
            self._warned = True
            log.warning(
                "%s is to be turned by %.0f degrees; it is turned by the nearest multiple of 90", self._shown, angle_deg
            )


def _display_matrix(frame: Any) -> list[list[int]] | None:
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            values = np.frombuffer(bytes(data), dtype=np.int32)
            return [[int(values[0]), int(values[1])], [int(values[3]), int(values[4])]]
    return None
