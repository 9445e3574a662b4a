"""Frames of a container that can be read again: a file, or a film on the web."""

import contextlib
import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vitpose.core.errors import InputError
from vitpose.media.container import (
    BrokenOffError,
    UprightImages,
    average_rate,
    last_packet,
    open_container,
    packets,
    pyav,
)
from vitpose.media.frames import Clock, Frame, Span, VideoInfo
from vitpose.media.numbering import Keyframe, Numbering, find_keyframes

log = logging.getLogger(__name__)

_MISSING_S = 0.5
"""A film that ends this much before the length it announces was cut."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a container is and how FFmpeg is to open it.

    Attributes:
        address: path or address.
        shown: what to call it in messages, without passwords.
        options: of FFmpeg's protocol and format.
        timeout_s: longest wait for an answer and for the next packet.
    """

    address: str
    shown: str
    options: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[tuple[Any, Any]]:
        """Open container and video stream; see ``open_container`` for the errors."""
        container, stream = open_container(self.address, self.shown, options=self.options, timeout_s=self.timeout_s)
        with container:
            yield container, stream


@dataclass(slots=True)
class _Tally:
    """How one reading went."""

    decoded: int = 0
    broken: int = 0
    misplaced: int = 0

    def say(self, shown: str) -> None:
        if self.broken:
            log.warning("%s: %d packets could not be decoded; %d frames could", shown, self.broken, self.decoded)
        if self.misplaced:
            log.warning("%s: %d frames came out of order and were passed over", shown, self.misplaced)


class Film:
    """The frames of a container, from the beginning or from any frame on."""

    def __init__(self, location: Location, span: Span, *, rate: float | None = None, on_disk: bool = True) -> None:
        """Open the film, decode its first frame and close it.

        Args:
            location: where it is.
            span: the frames that are wanted.
            rate: frames a second where the film has no time stamps; by default what it declares.
            on_disk: all packets can be gone through to find keyframes to begin with, and what is missing does not come.

        Raises:
            InputError: cannot be opened, has no video stream, or its first frame cannot be decoded.
            MissingExtraError: PyAV is not installed.
        """
        self._location, self._span, self._rate = location, span, rate
        self._entries: list[Keyframe] | None = None if on_disk else []
        self._on_disk = on_disk
        self._unit_s = 0.0
        self.info = self._look()

    def frames(self, after: int = -1) -> Iterator[Frame]:
        """Yield the frames of the span whose index is above ``after``; see ``FrameSource``.

        Raises:
            BrokenOffError: the film ends before its end.
            InputError: nothing is left to show, and ``after`` is -1.
        """
        last_s: float | None = None
        clock = Clock(self._location.shown, self._rate or self.info.rate)
        images = UprightImages(self._location.shown, self.info.size)
        nothing = after < 0
        with contextlib.closing(self._numbered_from(after)) as numbered:
            for index, frame in numbered:
                time_s = clock.time_s(index, frame.time)
                if self._span.is_over(time_s):
                    break
                last_s = time_s
                if index > after and self._span.holds(index, time_s):
                    nothing = False
                    yield Frame(index, time_s, images(frame))
        if nothing:
            raise self._span.nothing_in(self._location.shown, last_s)

    def _look(self) -> VideoInfo:
        shown = self._location.shown
        with self._location.open() as (container, stream):
            images = UprightImages(shown)
            self._unit_s = float(stream.time_base)
            try:
                for _, frame in _decoded(container, stream, None, _Tally()):
                    images(frame)
                    break
            except BrokenOffError as error:
                raise InputError(f"{shown} breaks off before its first frame: {error}") from error
            if images.size is None:
                raise InputError(f"{shown} has a video stream, but no frame of it can be decoded")
            length = stream.duration
            duration = container.duration / 1e6 if container.duration else None
            return VideoInfo(
                size=images.size,
                rate=average_rate(stream),
                frames=stream.frames or None,
                duration_s=float(length * stream.time_base) if length else duration,
                audio=bool(container.streams.audio),
                live=False,
            )

    def _numbered_from(self, after: int) -> Generator[tuple[int, Any], None, None]:
        """Yield number and decoded frame, from a keyframe at or before the first wanted one where that is safe."""
        entry = self._entry(after)
        if entry is not None:
            with contextlib.closing(self._numbered(entry)) as numbered:
                first = _landed(numbered, entry)
                if first is not None:
                    yield first
                    yield from numbered
                    return
            log.debug("%s: cannot begin at frame %d; decoding from the first", self._location.shown, entry.index)
        yield from self._numbered(None)

    def _entry(self, after: int) -> Keyframe | None:
        if after < 0 and self._span.start_s <= 0:
            return None
        if self._entries is None:
            self._entries = self._find_entries()
        start_pts = self._span.start_s / self._unit_s
        before = [key for key in self._entries if key.index <= after + 1 or key.pts <= start_pts]
        return before[-1] if before and before[-1].index > 0 else None

    def _find_entries(self) -> list[Keyframe]:
        with self._location.open() as (container, stream):
            try:
                return find_keyframes(packets(container, stream), container, stream)
            except BrokenOffError:
                return []

    def _numbered(self, entry: Keyframe | None) -> Generator[tuple[int, Any], None, None]:
        tally = _Tally()
        with self._location.open() as (container, stream):
            if entry is not None:
                container.seek(entry.pts, stream=stream)
            try:
                yield from _decoded(container, stream, entry, tally, keep_rest=self._on_disk)
            finally:
                tally.say(self._location.shown)


@dataclass(slots=True)
class _Decoding:
    """Packets of one reading to numbered frames."""

    numbering: Numbering
    tally: _Tally
    end_pts: int = 0

    def take(self, packet: Any) -> Generator[tuple[int, Any], None, None]:
        """Decode a packet and yield number and frame of what comes out."""
        if not packet.size and packet.pts is not None:
            return  # An empty packet in the middle would end decoding.
        self.see(packet)
        self.numbering.packet(packet)
        try:
            frames = packet.decode()
        except pyav().FFmpegError:
            self.tally.broken += 1
            return
        for frame in frames:
            if self.numbering.is_before_entry(frame.pts):
                continue
            index = self.numbering.frame(frame.pts)
            if index is None:
                self.tally.misplaced += 1
                continue
            self.tally.decoded += 1
            yield index, frame

    def see(self, packet: Any) -> None:
        self.end_pts = max(self.end_pts, (packet.pts or 0) + (packet.duration or 0))


def _decoded(
    container: Any, stream: Any, entry: Keyframe | None, tally: _Tally, *, keep_rest: bool = True
) -> Generator[tuple[int, Any], None, None]:
    """Yield number and decoded frame from where the container stands, which is at or before the keyframe ``entry``.

    Where the film breaks off, the frames the decoder still holds have their places among some that did not come: they
    are given if ``keep_rest``, which is for films of which no more is to be had.

    Raises:
        BrokenOffError: the film ends before its end, after what it holds.
    """
    decoding = _Decoding(Numbering(container, stream, entry), tally)
    end_s = _announced_end_s(container, stream)
    try:
        for packet in _from_entry(packets(container, stream), entry):
            yield from decoding.take(packet)
    except BrokenOffError as error:
        if error.held is not None:
            decoding.see(error.held)
        # Servers that do not say how much they send seem to break off at the end.
        whole = end_s is not None and not _is_cut(end_s, decoding.end_pts, stream)
        for packet in [error.held, last_packet(stream)] if whole else [last_packet(stream)] if keep_rest else []:
            yield from decoding.take(packet)
        if not whole:
            raise
    if _is_cut(end_s, decoding.end_pts, stream):
        raise BrokenOffError(f"it ends before the {end_s:.2f} s it announces")


def _from_entry(found: Iterator[Any], entry: Keyframe | None) -> Iterator[Any]:
    """Pass over packets before the keyframe; yield nothing where it was missed."""
    if entry is not None:
        for packet in found:
            if packet.pts == entry.pts and packet.is_keyframe:
                yield packet
                break
            if packet.is_keyframe and packet.pts is not None and packet.pts > entry.pts:
                return
    yield from found


def _landed(numbered: Iterator[tuple[int, Any]], entry: Keyframe) -> tuple[int, Any] | None:
    """Return the first frame after a seek if it is the keyframe that was sought."""
    av = pyav()
    try:
        first = next(numbered, None)
    except (av.FFmpegError, BrokenOffError):
        return None
    return first if first is not None and first[0] == entry.index and first[1].key_frame else None


def _announced_end_s(container: Any, stream: Any) -> float | None:
    """Return the time at which a film says it ends, in seconds.

    Only lengths are believed that were written into the file and are those of the pictures: MPEG-TS has none, and
    Matroska's is that of the longest stream. MOV's counts from the first frame; Matroska's as FFmpeg writes it is the
    last time stamp, whatever the first one is.
    """
    if container.format.name.startswith("mov,") and stream.duration:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if container.format.name.startswith("matroska") and container.duration and len(container.streams) == 1:
        return float(container.duration / 1e6)
    return None


def _is_cut(end_s: float | None, end_pts: int, stream: Any) -> bool:
    return end_s is not None and float(end_pts * stream.time_base) < end_s - _MISSING_S
