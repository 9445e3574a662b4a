"""Spans say what they hold, and times never go back."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitpose.core.errors import UsageError
from vitpose.media.frames import Clock, Span


@pytest.mark.parametrize(
    ("span", "words"),
    [
        ((5.0, 5.0), "from 5 s to 5 s is empty"),
        ((0.0, -1.0), "empty"),
        ((float("nan"), None), "finite"),
        ((0.0, float("inf")), "finite"),
        ((0.0, None, 0), "stride"),
    ],
)
def test_spans_that_hold_nothing_are_refused(span, words):
    with pytest.raises(UsageError, match=words):
        Span(*span)


def test_the_end_is_not_in_the_span_and_the_beginning_has_no_limit():
    span = Span(1.0, 2.0, 2)
    assert [span.holds(4, time_s) for time_s in (0.99, 1.0, 1.5)] == [False, True, True]
    assert not span.holds(5, 1.5)
    assert [span.is_over(time_s) for time_s in (1.99, 2.0)] == [False, True]
    assert Span().holds(0, -0.08)  # some films begin before 0
    assert not Span().is_over(1e9)


@given(st.lists(st.none() | st.floats(-10, 100), max_size=30), st.sampled_from([None, 25.0]))
def test_times_never_go_back_and_good_ones_stay(stamps, rate):
    clock = Clock("film", rate)
    times = [clock.time_s(index, stamp) for index, stamp in enumerate(stamps)]
    assert times == sorted(times)
    for index, stamp in enumerate(stamps):
        if stamp is not None and stamp >= max(times[:index], default=stamp):
            assert times[index] == stamp


def test_going_back_is_said_once_and_repeating_is_not(caplog):
    clock = Clock("film", 25.0)
    with caplog.at_level(logging.WARNING):
        assert [clock.time_s(i, stamp) for i, stamp in enumerate([0.0, 0.0, 0.5])] == [0.0, 0.0, 0.5]
        assert not caplog.records
        assert [clock.time_s(i, stamp) for i, stamp in enumerate([0.3, 0.4, 0.6], 3)] == [0.5, 0.5, 0.6]
    assert len(caplog.records) == 1
    assert "film: time stamps go back from 0.500 s to 0.300 s at frame 3" in caplog.text


def test_missing_stamps_are_counted_from_the_last():
    clock = Clock("film", 10.0)
    stamps = [None, None, 5.0, None, None, 7.0]
    assert [clock.time_s(i, stamp) for i, stamp in enumerate(stamps)] == pytest.approx([0, 0.1, 5.0, 5.1, 5.2, 7.0])
