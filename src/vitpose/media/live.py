"""Reading what goes by: a thread that keeps the newest frames, connects again, and lets time go on."""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.media.container import BrokenOffError
from vitpose.media.frames import Span

log = logging.getLogger(__name__)

KEPT = 8
"""Frames that wait at most; when more come, the oldest is dropped."""

_FAR_S = 10.0
"""A time stamp this far from the clock on the wall does not go on from those before."""

_JOIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How a lost connection is taken up again: after a wait that doubles with each try in vain.

    Attributes:
        tries: how often in a row, before giving up.
        first_wait_s: wait before the first try, in seconds.
        longest_wait_s: longest wait, in seconds.
    """

    tries: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0


class Retries:
    """Counts tries in vain, says so each time, waits and gives up."""

    def __init__(self, shown: str, policy: Reconnect, wait: Callable[[float], object]) -> None:
        """Take what to call the source in messages, how often to try, and a function that waits for seconds."""
        self._shown, self._policy, self._wait = shown, policy, wait
        self.vain = 0

    def lost(self, reason: str) -> None:
        """Say that the connection is lost and wait for the next try.

        Raises:
            InputError: that was the last try.
        """
        policy = self._policy
        if self.vain >= policy.tries:
            raise InputError(f"{self._shown}: the connection was lost and {policy.tries} tries were in vain: {reason}")
        wait_s = min(policy.first_wait_s * 2**self.vain, policy.longest_wait_s)
        self.vain += 1
        log.warning(
            "%s: connection lost (%s); trying again in %g s (%d of %d)",
            self._shown,
            reason,
            wait_s,
            self.vain,
            policy.tries,
        )
        self._wait(wait_s)

    def back(self) -> None:
        """Say that frames come again, if they did not."""
        if self.vain:
            log.warning("%s: connected again", self._shown)
        self.vain = 0


class LiveClock:
    """Times of live frames in seconds since the first, going on across connections and never back.

    Within a connection time stamps tell the time. Where there are none, where a connection begins, and where they jump,
    the clock on the wall tells how much time has gone by.
    """

    def __init__(self) -> None:
        self._shift_s: float | None = None
        self._last: tuple[float, float] | None = None

    def lost(self) -> None:
        """Take note that the next frame belongs to another connection."""
        self._shift_s = None

    def time_s(self, stamp_s: float | None, now_s: float) -> float:
        """Return the time of the next frame.

        Args:
            stamp_s: its time stamp in any time frame of its connection; None where it has none.
            now_s: clock on the wall, in any time frame.
        """
        last_s, last_now_s = self._last or (0.0, now_s)
        expected_s = last_s + (now_s - last_now_s)
        found_s = expected_s if stamp_s is None or self._shift_s is None else stamp_s + self._shift_s
        if not last_s <= found_s <= expected_s + _FAR_S:
            found_s = expected_s
        if stamp_s is not None:
            self._shift_s = found_s - stamp_s
        self._last = (found_s, now_s)
        return found_s


class Feed(Protocol):
    """A connection to pictures that go by.

    Attributes:
        shown: what to call it in messages.
        rate: frames a second it declares; known after the first picture.
        audio: whether there is sound; known after the first picture.
    """

    shown: str
    rate: float | None
    audio: bool

    def pictures(self) -> Generator[tuple[float | None, Any], None, None]:
        """Connect and yield time stamps in seconds (None where there are none) and pictures as they come.

        Raises:
            InputError: cannot connect.
            BrokenOffError: the connection is lost.
        """
        ...

    def image(self, picture: Any) -> NDArray[np.uint8]:
        """Return a picture as ``(height, width, 3)`` uint8 RGB, upright and of the first picture's size."""
        ...


class Pump:
    """A thread that reads a feed as fast as it comes and keeps the newest frames for a reader that may be slower."""

    def __init__(self, feed: Feed, span: Span, policy: Reconnect) -> None:
        self._feed, self._span = feed, span
        self._stopped = threading.Event()
        self._retries = Retries(feed.shown, policy, self._stopped.wait)
        self._changed = threading.Condition()
        self._newest: deque[tuple[int, float, Any]] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._wanted = 0
        self._dropped = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[Iterator[tuple[int, float, Any]]]:
        """Read in a thread for the length of the block; give an iterator over index, time in seconds and picture.

        The iterator raises what the thread ends with.
        """
        # A daemon: a read that hangs in the network must not keep the process from ending.
        thread = threading.Thread(target=self._run, name="live", daemon=True)
        thread.start()
        try:
            yield self._items()
        finally:
            self.stop()
            thread.join(_JOIN_S)
            if self._dropped:
                log.warning(
                    "%s: %d of %d frames were dropped, because they came faster than they were worked on",
                    self._feed.shown,
                    self._dropped,
                    self._wanted,
                )

    def stop(self) -> None:
        """Send away whoever waits for a picture, or for the next try; callable from any thread, and more than once."""
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()

    def _items(self) -> Iterator[tuple[int, float, Any]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._ended or self._stopped.is_set())
                if self._stopped.is_set():
                    return
                if not self._newest:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._newest.popleft()
            yield item

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # Whatever it is, it belongs to the reader.
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _read(self) -> None:
        clock, index = LiveClock(), 0
        while not self._stopped.is_set():
            reason = "the stream ended"
            try:
                with contextlib.closing(self._feed.pictures()) as pictures:
                    for stamp_s, picture in pictures:
                        self._retries.back()
                        time_s = clock.time_s(stamp_s, time.monotonic())
                        if self._stopped.is_set() or self._span.is_over(time_s):
                            return
                        if self._span.holds(index, time_s):
                            self._put((index, time_s, picture))
                        index += 1
            except (BrokenOffError, InputError) as error:
                reason = str(error)
            clock.lost()
            self._retries.lost(reason)

    def _put(self, item: tuple[int, float, Any]) -> None:
        with self._changed:
            self._wanted += 1
            full = len(self._newest) == KEPT
            if full:
                self._newest.popleft()
                self._dropped += 1
            self._newest.append(item)
            self._changed.notify()
            first = full and self._dropped == 1
        if first:
            log.warning("%s: frames come faster than they are worked on; the oldest are dropped", self._feed.shown)
