"""What every source of frames has in common: the frame, the facts about the source, and the part that is wanted."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a video.

    Attributes:
        index: position in presentation order, from 0, over all frames of the source, wanted or not.
        time_s: presentation time stamp in seconds, as it is stored in the file; never smaller than the one before.
        image: ``(height, width, 3)`` uint8 RGB, upright.
    """

    index: int
    time_s: float
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Facts about a whole source, whatever part of it is wanted.

    Attributes:
        size: of the upright frames, in pixels.
        rate: frames a second on average; None where it is not known.
        frames: how many the source says it has; None where it does not say.
        duration_s: length in seconds; None where it is not known.
        audio: whether there is sound.
        live: whether frames go by and cannot be had again.
    """

    size: Size
    rate: float | None
    frames: int | None
    duration_s: float | None
    audio: bool
    live: bool


@dataclass(frozen=True, slots=True)
class Span:
    """The frames of a source that are wanted.

    Attributes:
        start_s: first time stamp; 0 or less means from the beginning, wherever time stamps begin.
        end_s: time stamp to stop before; None means to the end.
        stride: take frames whose index is a multiple of this, so that a frame is taken or not wherever the span starts.

    Raises:
        UsageError: not finite numbers, an end that is not after the start, or a stride below 1.
    """

    start_s: float = 0.0
    end_s: float | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        if not math.isfinite(self.start_s) or (self.end_s is not None and not math.isfinite(self.end_s)):
            raise UsageError(f"the span {self.text} is not in finite seconds")
        if self.end_s is not None and self.end_s <= max(self.start_s, 0.0):
            raise UsageError(f"the span {self.text} is empty: its end must come after its start")
        if self.stride < 1:
            raise UsageError(f"the stride must be 1 or more, not {self.stride}")

    def holds(self, index: int, time_s: float) -> bool:
        """Whether a frame is wanted; the end is left to ``is_over``."""
        return index % self.stride == 0 and (self.start_s <= 0 or time_s >= self.start_s)

    def is_over(self, time_s: float) -> bool:
        """Whether no frame from this time stamp on is wanted."""
        return self.end_s is not None and time_s >= self.end_s

    def nothing_in(self, shown: str, last_s: float | None) -> InputError:
        """Return the error for a source that has no frame in the span and whose last frame seen is at ``last_s``."""
        reach = "" if last_s is None else f"; the last frame looked at is at {last_s:.3f} s"
        every = "" if self.stride == 1 else f" whose number is a multiple of {self.stride}"
        return InputError(f"{shown} has no frame{every} {self.text}{reach}")

    @property
    def text(self) -> str:
        """The span in words."""
        return f"from {self.start_s:g} s to " + ("the end" if self.end_s is None else f"{self.end_s:g} s")


class FrameSource(Protocol):
    """Anything that gives frames in presentation order.

    Attributes:
        name: what results are named by.
        info: facts about the whole source.
    """

    name: str
    info: VideoInfo

    def frames(self, after: int = -1) -> Iterator[Frame]:
        """Yield the frames of the span whose index is above ``after``, each decoded when it is asked for.

        Index, time stamp and pixels are those of a full read, whatever ``after`` is.

        Raises:
            InputError: nothing can be decoded, or, with ``after=-1``, nothing lies in the span.
            UsageError: ``after`` is given for a live source, whose frames have gone by.
        """
        ...


@runtime_checkable
class Stoppable(Protocol):
    """A source whose reader may wait long for what comes next, and can be told not to."""

    def stop(self) -> None:
        """Let the reading end at once, from any thread; a later call of ``frames`` begins anew."""
        ...


class Clock:
    """Time stamps of decoded frames in seconds, never going back, with those that are missing filled in by the rate."""

    def __init__(self, shown: str, rate: float | None) -> None:
        self._shown = shown
        self._step_s = 1 / rate if rate else 0.0
        self._stamp = (0, 0.0)
        self._last_s: float | None = None
        self._warned = False

    def time_s(self, index: int, stamp_s: float | None) -> float:
        """Return the time of the next frame.

        Args:
            index: of the frame.
            stamp_s: its time stamp; None where it has none.
        """
        if stamp_s is None:
            # Counted from the last stamp rather than summed up, so that rounding does not add up.
            stamp_s = self._stamp[1] + (index - self._stamp[0]) * self._step_s
        else:
            self._stamp = (index, stamp_s)
        if self._last_s is not None and stamp_s < self._last_s:
            if not self._warned:
                log.warning(
                    "%s: time stamps go back from %.3f s to %.3f s at frame %d; such frames get the time before them",
                    self._shown,
                    self._last_s,
                    stamp_s,
                    index,
                )
            self._warned = True
            stamp_s = self._last_s
        self._last_s = stamp_s
        return stamp_s
