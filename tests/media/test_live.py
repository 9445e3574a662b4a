"""A slow reader gets the newest frames in flat memory, and time goes on across connections."""

import itertools
import logging
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitpose.core.errors import InputError
from vitpose.media.container import BrokenOffError
from vitpose.media.frames import Span
from vitpose.media.live import KEPT, LiveClock, Pump, Reconnect, Retries

IMPATIENT = Reconnect(tries=2, first_wait_s=0.0)


class Feed:
    """Connections that give what they are told and then break off."""

    shown, rate, audio = "feed", None, False

    def __init__(self, *connections):
        self.connections = list(connections)
        self.given = threading.Event()

    def pictures(self):
        if not self.connections:
            self.given.set()
            raise InputError("nobody answers")
        yield from self.connections.pop(0)
        if not self.connections:
            self.given.set()
        raise BrokenOffError("cable out")

    def image(self, picture):
        return np.full((2, 2, 3), picture, np.uint8)


def read(feed, span, policy=IMPATIENT):
    found = []
    with pytest.raises(InputError) as caught, Pump(feed, span, policy).running() as items:
        found.extend(items)
    return found, str(caught.value)


def test_a_slow_reader_gets_the_newest_and_the_rest_is_counted(caplog):
    feed = Feed([(i / 100, i) for i in range(1000)])
    with caplog.at_level(logging.WARNING), Pump(feed, Span(), IMPATIENT).running() as items:
        assert feed.given.wait(60)
        found = [next(items) for _ in range(KEPT)]
    assert [index for index, _, _ in found] == list(range(1000 - KEPT, 1000))
    assert [time_s for _, time_s, _ in found] == pytest.approx([index / 100 for index, _, _ in found])
    assert len([record for record in caplog.records if "come faster" in record.message]) == 1
    assert f"feed: {1000 - KEPT} of 1000 frames were dropped" in caplog.text


def test_the_first_frame_that_is_dropped_is_said_at_once_however_late(caplog):
    read_so_far, rest = threading.Event(), threading.Event()

    def pictures():
        yield from ((i / 100, i) for i in range(3))
        assert read_so_far.wait(10)
        yield from ((i / 100, i) for i in range(3, 3 + KEPT + 5))
        rest.set()
        assert done.wait(10)

    done = threading.Event()
    with caplog.at_level(logging.WARNING), Pump(Feed(pictures()), Span(), IMPATIENT).running() as items:
        assert [next(items)[0] for _ in range(3)] == [0, 1, 2]
        read_so_far.set()
        assert rest.wait(10)
        assert [record.message for record in caplog.records] == [
            "feed: frames come faster than they are worked on; the oldest are dropped"
        ]
        done.set()
        assert next(items)[0] == 3 + 5


def test_a_lost_connection_is_taken_up_again_and_given_up_in_the_end(caplog):
    feed = Feed([(50.0, 0), (50.1, 1)], [(3.0, 2)], [])
    with caplog.at_level(logging.WARNING):
        found, message = read(feed, Span())
    assert [(index, picture) for index, _, picture in found] == [(0, 0), (1, 1), (2, 2)]
    times = [time_s for _, time_s, _ in found]
    assert times[:2] == pytest.approx([0, 0.1])
    assert times == sorted(times)
    assert message == "feed: the connection was lost and 2 tries were in vain: nobody answers"
    lost = [record.message for record in caplog.records if "connection lost" in record.message]
    assert lost == [
        "feed: connection lost (cable out); trying again in 0 s (1 of 2)",
        "feed: connection lost (cable out); trying again in 0 s (1 of 2)",
        "feed: connection lost (cable out); trying again in 0 s (2 of 2)",
    ]
    assert len([record for record in caplog.records if "connected again" in record.message]) == 1


def test_the_end_of_the_span_ends_reading_and_frames_outside_are_not_kept(caplog):
    feed = Feed([(i / 10, i) for i in range(100)])
    with caplog.at_level(logging.WARNING), Pump(feed, Span(1.0, 2.0, 2), IMPATIENT).running() as items:
        assert [index for index, _, _ in items] == [10, 12, 14, 16, 18]
    assert not caplog.records


def test_the_thread_ends_with_the_reader():
    def endless():
        while True:
            yield None, 0

    before = threading.active_count()
    with Pump(Feed(endless()), Span(), IMPATIENT).running() as items:
        assert next(items)[0] >= 0
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_an_error_of_the_feed_reaches_the_reader():
    class Faulty(Feed):
        def pictures(self):
            yield 0.0, 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Pump(Faulty(), Span(), IMPATIENT).running() as items:
        assert next(items) == (0, 0.0, 1)
        next(items)


def test_waits_grow_to_their_limit_and_start_again_when_frames_come():
    waits = []
    retries = Retries("feed", Reconnect(tries=4, first_wait_s=1.0, longest_wait_s=3.0), waits.append)
    for _ in range(4):
        retries.lost("why")
    with pytest.raises(InputError, match="4 tries were in vain: why"):
        retries.lost("why")
    retries.back()
    retries.lost("why")
    assert waits == [1.0, 2.0, 3.0, 3.0, 1.0]


@given(st.lists(st.tuples(st.none() | st.floats(-1e4, 1e4), st.floats(0, 60), st.booleans()), max_size=30))
def test_live_times_begin_at_0_never_go_back_and_stay_near_the_clock(steps):
    clock, now_s, times = LiveClock(), 1000.0, []
    for stamp_s, passed_s, is_lost in steps:
        now_s += passed_s
        if is_lost:
            clock.lost()
        times.append(clock.time_s(stamp_s, now_s))
    assert times[:1] in ([], [0.0])
    assert all(late >= early for early, late in itertools.pairwise(times))


def test_within_a_connection_stamps_tell_the_time_and_between_them_the_clock():
    clock = LiveClock()
    assert clock.time_s(100.0, 5.0) == 0.0
    assert clock.time_s(100.5, 5.7) == pytest.approx(0.5)
    clock.lost()
    assert clock.time_s(2.0, 9.7) == pytest.approx(4.5)  # 4 s went by
    assert clock.time_s(2.1, 9.7) == pytest.approx(4.6)
    assert clock.time_s(0.0, 9.9) == pytest.approx(4.8)  # stamps that begin anew without a word
    assert clock.time_s(None, 10.9) == pytest.approx(5.8)


def test_who_waits_for_a_picture_can_be_sent_away():
    """A camera that gives nothing, and a connection that is not taken up again for an hour."""
    stalled = threading.Event()

    class Stalled(Feed):
        def pictures(self):
            yield 0.0, 1
            stalled.wait(60)

    for feed, patience in ((Stalled(), IMPATIENT), (Feed([(0.0, 1)]), Reconnect(tries=2, first_wait_s=3600.0))):
        pump, found = Pump(feed, Span(), patience), []
        with pump.running() as items:
            reader = threading.Thread(target=found.extend, args=(items,))
            reader.start()
            pump.stop()
            reader.join(30)
            assert not reader.is_alive()
            stalled.set()
        assert len(found) <= 1
