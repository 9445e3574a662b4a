"""Which number a decoded frame has, and from which keyframes reading may begin without changing the answer.

Where every packet holds one frame and time stamps tell the order, a frame's number is that of the packets with earlier
stamps. That does not depend on where reading began nor on damaged frames before, which keep their number though nothing
is shown for them. Elsewhere frames are counted as they come, and reading always begins with the first.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Formats with a table of samples, where a sample is a whole frame: elsewhere a field, or half a frame, may be a packet.
_SAMPLED_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")

# Codecs that show every packet, once. VP8 for one has packets that are only referred to.
_SHOWN_CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "ffv1", "prores", "dnxhd")

_LEAST_BETWEEN = 16
"""Packets between two keyframes that are remembered: where all are keyframes, more would only take memory."""

_IDR = 5
"""Type of the H.264 unit (ITU-T H.264, table 7-1) after which nothing before it is referred to."""


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A frame from which decoding gives the same pixels as decoding from the beginning.

    Attributes:
        index: its number.
        pts: its presentation time stamp in units of the stream.
    """

    index: int
    pts: int


class Numbering:
    """Numbers decoded frames from the packets that were demuxed so far."""

    def __init__(self, container: Any, stream: Any, entry: Keyframe | None = None) -> None:
        """Begin with the first packet, or with the packet of the keyframe ``entry``."""
        self._order = _Order(container, stream)
        self._entry = entry
        self._next = 0 if entry is None else entry.index
        self._waiting: list[int] = []

    def packet(self, packet: Any) -> None:
        """Take note of a packet before it is decoded."""
        before_entry = self._entry is not None and packet.pts is not None and packet.pts < self._entry.pts
        if packet.size and not packet.is_discard and self._order.add(packet) and not before_entry:
            heapq.heappush(self._waiting, packet.pts)

    def frame(self, pts: int | None) -> int | None:
        """Return the number of a decoded frame; None for one that has no place after the frames before it."""
        if self._order.is_regular:
            if pts is None:
                return None
            while self._waiting and self._waiting[0] < pts:
                heapq.heappop(self._waiting)
                self._next += 1
            if not self._waiting or self._waiting[0] != pts:
                return None
            heapq.heappop(self._waiting)
        self._next += 1
        return self._next - 1

    def is_before_entry(self, pts: int | None) -> bool:
        """Whether a frame is shown before the keyframe that reading began with, and so may be half decoded."""
        return self._entry is not None and pts is not None and pts < self._entry.pts


class _Order:
    """Whether time stamps have told the order of the frames up to here."""

    def __init__(self, container: Any, stream: Any) -> None:
        codec = stream.codec_context
        self.is_regular = container.format.name in _SAMPLED_FORMATS and codec.codec.canonical_name in _SHOWN_CODECS
        self._reorders = bool(codec.has_b_frames)
        self._last_pts: int | None = None

    def add(self, packet: Any) -> bool:
        pts, dts, last = packet.pts, packet.dts, self._last_pts
        backwards = not self._reorders and last is not None and pts is not None and pts <= last
        if pts is None or backwards or (dts is not None and pts < dts):
            self.is_regular = False
        self._last_pts = pts
        return self.is_regular


def find_keyframes(packets: Iterable[Any], container: Any, stream: Any) -> list[Keyframe]:
    """Return the keyframes from which reading may begin, from all packets of a stream, without decoding.

    A keyframe counts if all packets before it are shown before it; those after it that are shown before it (leading
    frames) are counted. Of H.264 only IDR frames count: other keyframes need not be free of what came before.

    Returns:
        Keyframes in order; none at all where time stamps do not tell the order throughout.
    """
    order = _Order(container, stream)
    length_bytes = _length_bytes(stream)
    found: list[Keyframe] = []
    passed, leading, highest = 0, 0, None
    candidate: tuple[int, int] | None = None  # packets before, time stamp
    for packet in packets:
        if not packet.size or packet.is_discard:
            continue
        if not order.add(packet):
            return []
        if candidate is not None and packet.pts == candidate[1]:
            candidate = None
        elif candidate is not None and packet.pts < candidate[1]:
            leading += 1
        far = candidate is None or passed - candidate[0] >= _LEAST_BETWEEN
        alone = highest is None or highest < packet.pts
        if packet.is_keyframe and far and alone and _is_entry(packet, length_bytes):
            if candidate is not None:
                found.append(Keyframe(candidate[0] + leading, candidate[1]))
            candidate, leading = (passed, packet.pts), 0
        passed += 1
        highest = packet.pts if highest is None else max(highest, packet.pts)
    if candidate is not None:
        found.append(Keyframe(candidate[0] + leading, candidate[1]))
    return found


def _length_bytes(stream: Any) -> int | None:
    """Bytes of the length before each H.264 unit (ISO 14496-15, 5.3.3.1); None for other codecs, 0 if not told."""
    if stream.codec_context.codec.canonical_name != "h264":
        return None
    header = stream.codec_context.extradata
    return (header[4] & 3) + 1 if header and len(header) > 4 and header[0] == 1 else 0


def _is_entry(packet: Any, length_bytes: int | None) -> bool:
    if length_bytes is None:
        return True
    data, place = bytes(packet), 0
    while length_bytes and place + length_bytes < len(data):
        if data[place + length_bytes] & 31 == _IDR:
            return True
        place += length_bytes + int.from_bytes(data[place : place + length_bytes], "big")
    return False
