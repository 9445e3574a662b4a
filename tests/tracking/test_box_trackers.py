import numpy as np
import pytest
from people_in_motion import people

from vitpose.core.errors import UsageError
from vitpose.tracking.base import UNTRACKED, track
from vitpose.tracking.box_trackers import BOX_TRACKERS, BoxTracker

pytest.importorskip("trackers", reason="the extra `trackers` is not installed")


@pytest.mark.parametrize("name", BOX_TRACKERS)
def test_people_keep_their_ids_and_their_places(name: str, rng: np.random.Generator) -> None:
    frames = []
    for i in range(30):
        order = [0, 1] if i % 2 else [1, 0]
        frames.append(people(order, [(60.0 + 200 * who + i, 100.0) for who in order], rng=rng, noise=1))
    tracked = list(track(((i / 25, poses) for i, poses in enumerate(frames)), BoxTracker(name)))
    names = set()
    for i, (before, after) in enumerate(zip(frames, tracked, strict=True)):
        np.testing.assert_array_equal(before.xy, after.xy)
        if i >= 10:
            names.add(tuple(after.track_ids.tolist() if i % 2 else after.track_ids.tolist()[::-1]))
    assert len(names) == 1
    assert len(set(names.pop()) - {UNTRACKED}) == 2


@pytest.mark.parametrize("name", BOX_TRACKERS)
def test_nobody_is_no_problem(name: str) -> None:
    tracker = BoxTracker(name)
    assert tracker.update(people([], []), 0.0).track_ids.tolist() == []
    tracker.update(people([0], [(10, 10)]), 0.1)
    assert tracker.update(people([], []), 0.2).track_ids.tolist() == []
    tracker.reset()
    assert len(tracker.update(people([0], [(10, 10)]), 0.0).track_ids) == 1


def test_times_that_go_back_do_no_harm() -> None:
    tracker = BoxTracker("bytetrack", {"minimum_consecutive_frames": 1})
    there = people([0], [(100, 100)])
    ids = [tracker.update(there, t).track_ids.tolist() for t in (-1.0, 0.0, 0.04, 0.08, 0.02, 0.12)]
    assert ids[-1] == ids[2] != [UNTRACKED]


def test_unknown_names_and_options_say_what_is_near() -> None:
    with pytest.raises(UsageError, match="did you mean 'bytetrack'"):
        BoxTracker("byte_track")
    with pytest.raises(UsageError, match=r"no option 'lost_buffer'.*'lost_track_buffer'"):
        BoxTracker("sort", {"lost_buffer": 3})
