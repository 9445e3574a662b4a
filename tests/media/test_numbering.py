"""Numbers come from time stamps where those can be trusted, and do not depend on where reading begins."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitpose.media.numbering import Keyframe, Numbering, find_keyframes

IDR, OTHER = b"\x00\x00\x00\x02\x65\x00", b"\x00\x00\x00\x02\x41\x00"


class Packet(SimpleNamespace):
    """What PyAV's packets have, as far as it is looked at."""

    def __bytes__(self):
        return self.data


def packet(pts, *, key=False, dts=None, size=6, discard=False, data=IDR):
    return Packet(pts=pts, dts=dts, size=size, is_keyframe=key, is_discard=discard, data=data)


def film(codec="vp9", form="matroska,webm", reorders=True, header=b"\x01\x00\x00\x00\xff"):
    codec_context = SimpleNamespace(
        codec=SimpleNamespace(canonical_name=codec), has_b_frames=reorders, extradata=header
    )
    return SimpleNamespace(format=SimpleNamespace(name=form)), SimpleNamespace(codec_context=codec_context)


def group(start, leading=0):
    """Twenty packets in decoding order from a keyframe, of which ``leading`` are shown before it."""
    first = start + leading
    pairs = [pts for low in range(first + 1, start + 20, 2) for pts in (low + 1, low) if pts < start + 20]
    return [packet(first, key=True), *(packet(pts) for pts in range(start, first)), *map(packet, pairs)]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.sets(st.integers(0, 119)))
def test_numbers_are_ranks_wherever_reading_begins(leads, lost):
    """Frames that are lost keep their number; a reading from a keyframe gives what a full reading gives."""
    packets = [one for i, leading in enumerate(leads) for one in group(20 * i, leading if i else 0)]
    shown = sorted({one.pts for one in packets} - lost)
    assert [number for number, _ in read(packets, shown)] == shown
    for key in find_keyframes(packets, *film()):
        place = next(i for i, one in enumerate(packets) if one.is_keyframe and one.pts == key.pts)
        assert key.index == key.pts
        rest = [pts for pts in shown if pts >= key.pts]
        assert read(packets[place:], rest, key) == [(pts, pts) for pts in rest]


def read(packets, shown, entry=None):
    """Number the frames that are shown, each when all packets up to the one after the next were demuxed."""
    numbering = Numbering(*film(), entry)
    found = []
    waiting = list(shown)
    for place, one in enumerate(packets):
        numbering.packet(one)
        demuxed = {before.pts for before in packets[: place + 1]}
        ahead = max(demuxed)
        while waiting and waiting[0] in demuxed and (waiting[0] < ahead - 8):
            found.append((numbering.frame(waiting[0]), waiting.pop(0)))
    return found + [(numbering.frame(pts), pts) for pts in waiting]


def test_keyframes_with_frames_before_them_count_those():
    packets = [*group(0), *group(20, leading=3), *group(40)]
    assert find_keyframes(packets, *film()) == [Keyframe(0, 0), Keyframe(23, 23), Keyframe(40, 40)]


@pytest.mark.parametrize(
    ("changes", "odd"),
    [
        ({}, packet(None)),
        ({}, packet(30, dts=31)),
        ({"reorders": False}, packet(19)),
        ({"reorders": False}, packet(5)),
        ({"codec": "vp8"}, packet(40)),
        ({"form": "mpegts"}, packet(40)),
    ],
)
def test_stamps_that_do_not_tell_the_order_leave_counting(changes, odd):
    steady = [packet(pts, key=pts % 20 == 0) for pts in range(20)]
    assert find_keyframes([*steady, odd], *film(**changes)) == []
    numbering = Numbering(*film(**changes))
    for one in [*steady, odd]:
        numbering.packet(one)
    assert [numbering.frame(pts) for pts in (0, 1, 1, None, 7)] == [0, 1, 2, 3, 4]


def test_of_h264_only_idr_frames_count():
    packets = [packet(pts, key=pts % 20 == 0, data=OTHER if pts == 20 else IDR) for pts in range(60)]
    assert [key.index for key in find_keyframes(packets, *film("h264"))] == [0, 40]
    assert [key.index for key in find_keyframes(packets, *film("vp9"))] == [0, 20, 40]
    assert find_keyframes(packets, *film("h264", header=b"")) == []  # units without lengths cannot be told apart


def test_a_keyframe_that_is_shown_before_earlier_packets_does_not_count():
    packets = [*group(0), packet(25), packet(24, key=True), *(packet(pts) for pts in range(26, 50))]
    assert find_keyframes(packets, *film()) == [Keyframe(0, 0)]


def test_keyframes_side_by_side_are_thinned_out():
    packets = [packet(pts, key=True) for pts in range(100)]
    assert [key.index for key in find_keyframes(packets, *film())] == [0, 16, 32, 48, 64, 80, 96]


def test_what_is_cut_off_by_an_edit_does_not_count():
    packets = [packet(pts, key=pts == 0, discard=pts < 5) for pts in range(10)]
    numbering = Numbering(*film())
    for one in packets:
        numbering.packet(one)
    assert [numbering.frame(pts) for pts in range(5, 10)] == [0, 1, 2, 3, 4]


def test_a_frame_that_comes_too_late_has_no_number():
    numbering = Numbering(*film())
    for pts in (0, 2, 1, 3):
        numbering.packet(packet(pts))
    assert [numbering.frame(pts) for pts in (0, 2, 1, 3)] == [0, 2, None, 3]
