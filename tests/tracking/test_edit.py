from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from people_in_motion import people

from vitpose.core.errors import UsageError
from vitpose.core.poses import Poses
from vitpose.tracking.edit import known_ids, merge_ids, split_id, swap_ids


def video(rows: list[list[int]]) -> list[Poses]:
    return [
        replace(people(list(range(len(row))), [(70.0 * i, 0) for i in range(len(row))]), track_ids=np.array(row, int))
        for row in rows
    ]


def ids(frames: list[Poses]) -> list[list[int]]:
    return [poses.track_ids.tolist() for poses in frames]


ROWS = [[1, 2], [1, 2], [2, -1], [2, 3], [3, 2]]


def test_merge_split_and_swap_by_hand() -> None:
    frames = video(ROWS)
    assert ids(merge_ids(frames, 1, [3])) == [[1, 2], [1, 2], [2, -1], [2, 1], [1, 2]]
    parts, new = split_id(frames, 2, 3)
    assert (ids(parts), new) == ([[1, 2], [1, 2], [2, -1], [4, 3], [3, 4]], 4)
    assert ids(swap_ids(frames, 2, 3, start=4)) == [[1, 2], [1, 2], [2, -1], [2, 3], [2, 3]]
    assert ids(frames) == ROWS


@given(at=st.integers(1, 4))
def test_split_is_undone_by_merge(at: int) -> None:
    parts, new = split_id(video(ROWS), 2, at)
    assert ids(merge_ids(parts, 2, [new])) == ROWS


@given(start=st.integers(0, 4), length=st.integers(1, 5))
def test_swap_twice_is_nothing(start: int, length: int) -> None:
    stop = min(start + length, 5)
    once = swap_ids(video(ROWS), 1, 2, start, stop)
    assert ids(swap_ids(once, 1, 2, start, stop)) == ROWS


def test_frames_that_were_not_tracked_pass() -> None:
    frames = [people([0], [(0, 0)]), *video([[1], [2]])]
    merged = merge_ids(frames, 1, [2])
    assert merged[0].track_ids is None
    assert known_ids(merged) == [1]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: merge_ids(f, 1, [9]), "no person has id 9; the ids in this video: 1, 2, 3"),
        (lambda f: merge_ids(f, 1, [2]), "both in frame 0"),
        (lambda f: split_id(f, 2, 0), "does not appear before frame 0"),
        (lambda f: split_id(f, 1, 3), "does not appear from frame 3"),
        (lambda f: split_id(f, 1, 7), "no frame 7"),
        (lambda f: split_id(f, 2, 2, new_id=3), "id 3 cannot be given"),
        (lambda f: swap_ids(f, 1, 2, 3, 3), "no range"),
        (lambda f: merge_ids(f, 1, [1]), "only id 1 was named"),
        (lambda f: swap_ids(f, 1, 1), "cannot change places with itself"),
        (lambda f: swap_ids(f, 1, 3, 2, 3), "neither id 1 nor 3 appears from frame 2 to frame 3"),
    ],
)
def test_what_cannot_be_done_says_why(edit, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        edit(video(ROWS))
