"""The sound of a film, cut to a span of time, as packets for an MP4 file."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from vitpose.core.extras import require

log = logging.getLogger(__name__)

# What players expect to find in an MP4 file. Others (Vorbis, raw samples, Windows Media) become AAC.
_COPIED = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""Sample rates of MPEG-4 audio (ISO 14496-3, table 1.18) that are in use."""

_SEEK_BACK_S = 5
"""Seeking goes this much too far back, because packets of sound and picture are not stored side by side."""


class Sound:
    """The first sound stream of a film. Copied as it is where MP4 can carry it, otherwise encoded again as AAC."""

    def __init__(self, path: Path) -> None:
        """Open the film.

        Raises:
            av.FFmpegError: it cannot be opened.
            LookupError: it has no sound, or sound that FFmpeg does not know.
        """
        self._av = require("av", "video", "reading sound")
        self._container = self._av.open(str(path.absolute()), metadata_errors="replace")
        streams = self._container.streams.audio
        if not streams or streams[0].codec_context is None:
            self._container.close()
            raise LookupError("no sound" if not streams else "a codec without decoder")
        self._input = streams[0]
        self._copied = self._input.codec_context.codec.canonical_name in _COPIED
        self._output: Any = None
        self._sought = False

    def __enter__(self) -> "Sound":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def add_stream(self, container: Any) -> None:
        """Make a stream for the sound in a container that is being written."""
        if self._copied:
            self._output = container.add_stream_from_template(self._input)
            return
        codec = self._input.codec_context
        rate = codec.sample_rate if codec.sample_rate in _AAC_RATES else 48_000
        layout = "mono" if codec.channels == 1 else "stereo"
        options = {"flags": "+bitexact"}  # or the encoder signs its work with its version
        self._output = container.add_stream("aac", rate=rate, layout=layout, bit_rate=160_000, options=options)
        self._output.codec_context.time_base = Fraction(1, rate)

    def packets(self, start_s: Fraction, end_s: Fraction) -> Iterator[tuple[Fraction, Any]]:
        """Yield the packets heard between two times, with the time of each, counted from ``start_s``.

        The packet in which the span begins comes with the one before it, which decoders need to begin cleanly; both
        have times below zero, and the container says to begin playing at zero. The last packet is cut by its duration.
        """
        before: Any = None
        last: int | None = None
        for packet in self._all(start_s):
            begin, end = _span(packet)
            if end <= start_s:
                before = packet
                continue
            if begin >= end_s:
                return
            for found in (before, packet) if before is not None else (packet,):
                at, until = _span(found)
                unit = found.time_base
                found.pts = found.dts = round((at - start_s) / unit)
                found.duration = max(round((min(until, end_s) - at) / unit), 1)
                found.stream = self._output
                if last is None or found.pts > last:  # times that stand still would end the whole film
                    last = found.pts
                    yield found.pts * unit, found
            before = None

    def _all(self, start_s: Fraction) -> Iterator[Any]:
        packets = self._stamped(start_s)
        return packets if self._copied else self._encoded(packets)

    def _stamped(self, start_s: Fraction) -> Iterator[Any]:
        """Yield the stored packets, from somewhat before the start where the film can be sought."""
        for sought in (True, False) if start_s > _SEEK_BACK_S else (False,):
            at_s = start_s - _SEEK_BACK_S if sought else None
            first = True
            for packet in self._demux(at_s):
                if packet.pts is None:
                    continue
                if first and sought and packet.pts * packet.time_base > start_s:
                    break  # landed behind the start: read from the beginning
                first = False
                yield packet
            else:
                return

    def _demux(self, at_s: Fraction | None) -> Iterator[Any]:
        """Yield packets, from a time on or from the beginning, until the film ends or breaks off."""
        try:
            if at_s is not None:
                self._container.seek(int(at_s / self._input.time_base), stream=self._input)
            elif self._sought:
                self._container.seek(0)
            self._sought = True
            for packet in self._container.demux(self._input):
                if packet.size:
                    yield packet
        except self._av.FFmpegError as error:
            log.warning("%s: the sound breaks off: %s", self._container.name, error.strerror)

    def _encoded(self, packets: Iterator[Any]) -> Iterator[Any]:
        broken = 0
        for packet in packets:
            try:
                frames = packet.decode()
            except self._av.FFmpegError:
                broken += 1
                continue
            for frame in frames:
                yield from self._output.encode(frame)
        yield from self._output.encode(None)
        if broken:
            log.warning("%s: %d packets of sound could not be decoded", self._container.name, broken)


def _span(packet: Any) -> tuple[Fraction, Fraction]:
    """Return when a packet begins and ends, in seconds on its source's clock."""
    return packet.pts * packet.time_base, (packet.pts + (packet.duration or 0)) * packet.time_base
