"""Work that overlaps: each stage in a thread of its own, each handing what it finished to the next.

A stage hands over when the next one is ready to take, so at any time there is one item a stage, whatever the length of
the whole. Order is kept.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S = 10.0
"""How long a stage that is to stop may take for the call it is in, before it is left behind."""

_GLANCE_S = 0.5
"""Waiting is cut into pieces, because on some systems a wait without end cannot be interrupted from the keyboard."""

_BLINK_S = 0.005


class _Stopped(Exception):  # noqa: N818 - not an error: nobody wants the result any more
    """Whoever takes from here, or gives, has gone."""


class _End(Exception):  # noqa: N818 - not an error either
    """There is nothing more to take."""


class _Handover(Generic[T]):
    """The place between two stages: one item lies in it at most."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: list[T] = []
        self._end: BaseException | None = None
        self._stopped = False

    def put(self, item: T) -> None:
        """Lay ``item`` down and wait until it is taken, so that the giver does not run ahead."""
        with self._changed:
            self._item.append(item)
            self._changed.notify_all()
            self._wait(lambda: not self._item)

    def get(self) -> T:
        """Take the next item; an error of whoever gives is raised after what came before it."""
        with self._changed:
            self._wait(lambda: bool(self._item) or self._end is not None)
            if not self._item and self._end is not None:
                raise self._end
            item = self._item.pop()
            self._changed.notify_all()
            return item

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more follows, and why if there is an error."""
        with self._changed:
            self._end = error or _End()
            self._changed.notify_all()

    def stop(self) -> None:
        """Send away whoever waits here, now and later."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool]) -> None:
        while not self._stopped and not ready():
            self._changed.wait(_GLANCE_S)
        if self._stopped:
            raise _Stopped


def overlapped(items: Iterable[Any], *stages: Callable[[Any], Any]) -> Generator[Any, None, None]:
    """Yield ``last(... second(first(item)))`` for each item, in order, with all calls overlapping.

    An error anywhere, in ``items`` too, stops what comes before it at once, lets what comes after it finish, and is
    raised here, once. Closing the generator, or an exception where it is used (also ``KeyboardInterrupt``), stops
    everything: the last stage finishes the call it is in, however long that takes, because it may be writing; the
    others are waited for ``PATIENCE_S``.

    Args:
        items: read in a thread; its ``close``, if it has one, is called there at the end.
        stages: at least one; each is called in one thread only.
    """
    places: list[_Handover[Any]] = [_Handover() for _ in range(len(stages) + 1)]
    threads = [_start("read", _give, items, places[0])]
    for number, stage in enumerate(stages):
        name = getattr(stage, "__name__", "stage").strip("_")
        threads.append(_start(name, _work, stage, places[: number + 1], places[number + 1]))
    try:
        while True:
            try:
                item = places[-1].get()
            except _End:
                return
            yield item
            del item  # a chunk of large pictures should not wait here for the next one
    finally:
        for place in places:
            place.stop()
        _leave(threads)


def _start(name: str, work: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, name=f"film-{name}", daemon=True)
    thread.start()
    return thread


def _give(items: Iterable[Any], outlet: _Handover[Any]) -> None:
    """Read ``items`` and hand them over."""
    try:
        for item in items:
            outlet.put(item)
            del item
        outlet.end()
    except _Stopped:
        return
    except BaseException as error:  # it is raised again where the results are taken
        outlet.end(error)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def _work(stage: Callable[[Any], Any], inlets: Sequence[_Handover[Any]], outlet: _Handover[Any]) -> None:
    """Take from the last of ``inlets``, call, hand over; when it fails nobody before it has to go on."""
    try:
        while True:
            outlet.put(stage(inlets[-1].get()))
    except _Stopped:
        pass
    except BaseException as error:  # the end, or an error of this stage or of one before it, which goes on its way
        outlet.end(error)
    for inlet in inlets:
        inlet.stop()


def _leave(threads: Sequence[threading.Thread]) -> None:
    while threads[-1].is_alive():
        # Who presses Ctrl-C twice must not have files closed under the thread that writes them. Not `join`: before
        # Python 3.13 a thread whose `join` is interrupted counts as ended.
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(_BLINK_S)
    latest = time.monotonic() + PATIENCE_S
    for thread in threads[:-1]:
        thread.join(max(latest - time.monotonic(), 0.0))
        if thread.is_alive():
            log.warning("%s takes longer than %g s to stop and is left behind", thread.name, PATIENCE_S)
