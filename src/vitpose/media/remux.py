"""Segments of a film joined into one MP4 file, with sound, without encoding again."""

import heapq
import io
import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from vitpose.core.errors import VitPoseError
from vitpose.core.files import atomic_path
from vitpose.media.segments import AHEAD, TIME_BASE, pyav, segment_stamps
from vitpose.media.sound import Sound
from vitpose.media.sources import DRAWN

log = logging.getLogger(__name__)

# The table of contents goes to the front, so that a browser plays while it loads. The clock of the whole file, to which
# the ends of edit lists are rounded, has by default only thousandths of a second.
_OPTIONS = {"movflags": "+faststart", "movie_timescale": str(TIME_BASE.denominator), "fflags": "+bitexact"}

_UNKNOWN_RATE = 25.0


def join(
    segments: Sequence[Path | bytes], target: Path, *, staging: Path, rate: float | None, sound: Path | None
) -> None:
    """Write the packets of all segments to one file, which appears whole or not at all.

    The first frame is at time 0. A frame lasts until the next one; the last as long as the one before it.

    Args:
        segments: at least one, in order, each with at least one frame.
        target: the file.
        staging: a folder of the same file system, for the file while it is being written.
        rate: frames a second, for the length of a single frame; None if not known.
        sound: film whose sound is added; None for a silent film. If its sound cannot be had, a warning says so, and
            the film is silent.

    Raises:
        VitPoseError: a segment is damaged, or the file cannot be written.
    """
    av = pyav()
    start = segment_stamps(segments[0])[0]
    ends = [stamp for segment in segments[-2:] for stamp in segment_stamps(segment)][-2:]
    single = round(1 / (rate or _UNKNOWN_RATE) / TIME_BASE)
    end = ends[-1] + (ends[1] - ends[0] if len(ends) == 2 else single)
    staged = staging / "film.mp4"
    with atomic_path(staged) as temporary:
        try:
            _write_with_sound(av, segments, temporary, (start, end), sound)
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise VitPoseError(f"cannot join the segments in {staging}: {error.strerror}") from error
    try:
        staged.replace(target)
    except OSError as error:
        raise VitPoseError(f"cannot write {target}: {error.strerror}") from error


def _write_with_sound(
    av: Any, segments: Sequence[Path | bytes], path: Path, span: tuple[int, int], source: Path | None
) -> None:
    """Write the film, silent if its sound cannot be had."""
    if source is not None:
        try:
            sound = Sound(source)
        except LookupError as error:
            log.info("%s has %s; the film is silent", source, error)
        except av.FFmpegError as error:
            log.warning("the sound of %s cannot be read (%s); the film is silent", source, error.strerror)
        else:
            try:
                with sound:
                    _write(av, segments, path, span, sound)
            except av.FFmpegError as error:
                if isinstance(error, OSError):  # the disk, not the sound
                    raise
                log.warning("the sound of %s cannot be added (%s); the film is silent", source, error.strerror)
            else:
                return
    _write(av, segments, path, span, None)


def _write(av: Any, segments: Sequence[Path | bytes], path: Path, span: tuple[int, int], sound: Sound | None) -> None:
    with av.open(str(path.absolute()), "w", format="mp4", options=_OPTIONS) as output:
        output.metadata["comment"] = DRAWN
        with _opened(av, segments[0]) as first:
            stream = output.add_stream_from_template(first.streams.video[0])
        stream.time_base = TIME_BASE
        pictures = _pictures(av, segments, span, stream)
        if sound is None:
            packets = pictures
        else:
            sound.add_stream(output)
            start_s, end_s = (stamp * TIME_BASE for stamp in span)
            packets = heapq.merge(pictures, sound.packets(start_s, end_s), key=lambda timed: timed[0])
        for _, packet in packets:
            output.mux_one(packet)


def _pictures(
    av: Any, segments: Sequence[Path | bytes], span: tuple[int, int], stream: Any
) -> Iterator[tuple[Fraction, Any]]:
    """Yield the frames' packets with times from 0 and with their durations, which segments do not hold."""
    held: Any = None
    for segment in segments:
        with _opened(av, segment) as container:
            for packet in container.demux(video=0):
                if not packet.size:
                    continue
                packet.pts = packet.dts = packet.pts - AHEAD - span[0]
                if held is not None:
                    held.duration = packet.pts - held.pts
                    held.stream = stream
                    yield held.pts * TIME_BASE, held
                held = packet
    held.duration = span[1] - span[0] - held.pts
    held.stream = stream
    yield held.pts * TIME_BASE, held


def _opened(av: Any, segment: Path | bytes) -> Any:
    return av.open(io.BytesIO(segment) if isinstance(segment, bytes) else str(segment.absolute()))
