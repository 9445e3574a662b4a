"""Stages overlap, keep order, end together, and raise once."""

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from moving_blocks import still_running

from vitpose.pipeline.stages import overlapped


def twice(number: int) -> int:
    return 2 * number


def plus_one(number: int) -> int:
    return number + 1


@pytest.mark.parametrize("count", [0, 1, 50])
def test_results_are_those_of_one_call_after_the_other(count: int) -> None:
    assert list(overlapped(range(count), twice, plus_one, twice)) == [2 * (2 * i + 1) for i in range(count)]
    assert not still_running()


def test_stages_run_at_the_same_time() -> None:
    """Two stages wait for each other in each call, which only works when both are inside one."""
    meeting = threading.Barrier(2, timeout=10)

    def meet(number: int) -> int:
        if 1 <= number <= 4:
            meeting.wait()
        return number

    def meet_the_one_before(number: int) -> int:
        if number <= 3:
            meeting.wait()
        return number

    assert list(overlapped(range(6), meet, meet_the_one_before)) == list(range(6))


def test_nothing_runs_far_ahead() -> None:
    read = []

    def items() -> Iterator[int]:
        for number in itertools.count():
            read.append(number)
            yield number

    results = overlapped(items(), twice, plus_one)
    assert next(results) == 1
    time.sleep(0.05)
    # One item a stage, one being read, one in our hands.
    assert len(read) <= 5
    results.close()
    assert not still_running()


class FailedError(Exception):
    pass


@pytest.mark.parametrize("where", [0, 1, 2])
def test_what_came_before_an_error_is_finished_and_the_error_raised_once(where: int) -> None:
    error = FailedError()

    def failing(stage: int, number: int) -> int:
        if stage == where and number == 7:
            raise error
        return number

    def items() -> Iterator[int]:
        for number in range(20):
            yield failing(0, number)

    found = []
    with pytest.raises(FailedError) as raised:
        found.extend(overlapped(items(), lambda n: failing(1, n), lambda n: failing(2, n)))
    assert raised.value is error
    assert not still_running()
    collected: list[int] = []
    with pytest.raises(FailedError):
        for one in overlapped(items(), lambda n: failing(1, n), lambda n: failing(2, n)):
            collected.append(one)  # noqa: PERF402 - `extend` would lose them
    assert collected == list(range(7))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, FailedError, GeneratorExit])
def test_who_stops_listening_stops_everything(stop: type[BaseException]) -> None:
    closed = threading.Event()

    def forever() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    results = overlapped(forever(), twice, plus_one)
    assert next(results) == 1
    if stop is GeneratorExit:
        results.close()
    else:
        with pytest.raises(stop):
            results.throw(stop())
    assert closed.is_set()
    assert not still_running()


def test_the_last_stage_finishes_its_call() -> None:
    begun, ended = threading.Event(), threading.Event()

    def write(number: int) -> int:
        if number == 1:
            begun.set()
            time.sleep(0.05)
            ended.set()
        return number

    results = overlapped(itertools.count(), write)
    assert next(results) == 0
    begun.wait(10)
    results.close()
    assert ended.is_set()


PRESSED_TWICE = """
import contextlib, itertools, os, signal, threading, time
from vitpose.pipeline.stages import overlapped

begun, ended = threading.Event(), threading.Event()

def write(number):
    if number == 1:
        begun.set()
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)  # while the main thread waits for this one
        time.sleep(0.1)
        ended.set()
    return number

results = overlapped(itertools.count(), write)
assert next(results) == 0
assert begun.wait(10)
# Under load the signal may come before the wait, which is as good.
with contextlib.suppress(KeyboardInterrupt):
    results.close()
assert ended.is_set()
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of POSIX")
def test_the_keyboard_pressed_again_does_not_cut_the_last_stage_off() -> None:
    # In a process of its own: a real signal is nothing for one that runs other tests.
    done = subprocess.run(
        [sys.executable, "-c", PRESSED_TWICE], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_a_stage_that_does_not_stop_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitpose.pipeline.stages.PATIENCE_S", 0.05)
    inside, go_on = threading.Event(), threading.Event()

    def stuck(number: int) -> int:
        if number == 1:
            inside.set()
            go_on.wait(10)
        return number

    results = overlapped(itertools.count(), stuck, plus_one)
    assert next(results) == 1
    inside.wait(10)
    results.close()
    go_on.set()
    while still_running():
        time.sleep(0.01)
