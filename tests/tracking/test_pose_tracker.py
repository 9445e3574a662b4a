import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people_in_motion import COCO17, people

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton
from vitpose.tracking.association import best_pairs
from vitpose.tracking.base import UNTRACKED, Tracker, track
from vitpose.tracking.pose_tracker import PoseTracker
from vitpose.tracking.settings import PoseTrackerSettings

RATE = 25.0


def run(frames: list[Poses], tracker: Tracker | None = None) -> list[list[int]]:
    tracked = track(((i / RATE, poses) for i, poses in enumerate(frames)), tracker or PoseTracker())
    return [poses.track_ids.tolist() for poses in tracked]


def test_it_is_a_tracker() -> None:
    tracker: Tracker = PoseTracker()
    assert tracker.name == "pose"


def test_two_who_stay_keep_their_ids_in_any_order(rng: np.random.Generator) -> None:
    frames = []
    for i in range(30):
        order = [0, 1] if i % 2 else [1, 0]
        frames.append(people(order, [(100.0 + 200 * who, 100.0) for who in order], rng=rng, noise=2))
    ids = run(frames)
    names = [dict(zip([0, 1] if i % 2 else [1, 0], row, strict=True)) for i, row in enumerate(ids)]
    assert set(names[0].values()) == {1, 2}
    assert all(row == names[0] for row in names)


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_two_who_cross_keep_their_ids(noise: float, rng: np.random.Generator) -> None:
    frames = [
        people([0, 1], [(50 + 6.0 * i, 100), (350 - 6.0 * i, 110)], rng=rng if noise else None, noise=noise)
        for i in range(50)
    ]
    assert run(frames) == [[1, 2]] * 50


def test_who_was_away_is_recognised(rng: np.random.Generator) -> None:
    frames = [people([0, 1], [(100, 100), (300, 100)], rng=rng, noise=2) for _ in range(20)]
    frames += [people([1], [(300, 100)], rng=rng, noise=2) for _ in range(15)]
    frames += [people([1, 0], [(300, 100), (115, 100)], rng=rng, noise=2) for _ in range(10)]
    ids = run(frames)
    assert ids[20:35] == [[2]] * 15
    assert ids[35:] == [[2, 1]] * 10


def test_who_was_away_too_long_is_somebody_new() -> None:
    there = people([0], [(100, 100)])
    tracker = PoseTracker(PoseTrackerSettings(lost_s=1.0))
    assert tracker.update(there, 0.0).track_ids.tolist() == [1]
    assert tracker.update(people([], []), 0.5).track_ids.tolist() == []
    assert tracker.update(there, 0.9).track_ids.tolist() == [1]
    assert tracker.update(there, 5.0).track_ids.tolist() == [2]


def test_with_one_person_at_most_everybody_is_the_same(rng: np.random.Generator) -> None:
    frames = [people([0], [(100, 100)], rng=rng, noise=2) for _ in range(10)]
    frames += [people([], [])] * 100
    frames += [people([1], [(500, 250)], rng=rng, noise=2) for _ in range(10)]
    ids = [one for row in run(frames, PoseTracker(PoseTrackerSettings(max_people=1))) for one in row]
    assert set(ids) == {1}


@given(seed=st.integers(0, 60), most=st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_never_more_ids_than_people_and_never_one_twice(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(25):
        who = np.flatnonzero(rng.random(6) < 0.7).tolist()
        frames.append(people(who, [(float(rng.normal(80 * w, 25)), 100.0) for w in who], rng=rng, noise=6))
    limited = run(frames, PoseTracker(PoseTrackerSettings(max_people=most)))
    free = run(frames)
    for row in limited + free:
        named = [one for one in row if one != UNTRACKED]
        assert len(named) == len(set(named))
        assert all(one >= 1 for one in named)
    assert {one for row in limited for one in row} <= {UNTRACKED, *range(1, most + 1)}


def test_a_doubtful_detection_gets_no_id() -> None:
    one = people([0, 1], [(100, 100), (300, 100)])
    doubtful = Poses(
        xy=one.xy,
        scores=one.scores * np.array([[1.0], [0.2]]),
        boxes=one.boxes,
        box_scores=np.array([0.9, 0.3]),
        skeleton=one.skeleton,
        image_size=one.image_size,
    )
    assert run([doubtful] * 10) == [[1, UNTRACKED]] * 10


def test_a_double_gets_no_id() -> None:
    frames = []
    for i in range(20):
        both = people([0, 0], [(100, 100), (104, 97)])
        frames.append(
            Poses(
                xy=np.stack([both.xy[0], both.xy[0]]),
                scores=both.scores * np.array([[1.0], [0.9]]),
                boxes=both.boxes,
                box_scores=both.box_scores,
                skeleton=COCO17,
                image_size=both.image_size,
            )[[0] if i < 5 else [0, 1]]
        )
    assert run(frames)[5:] == [[1, UNTRACKED]] * 15


def test_a_dog_is_never_a_man() -> None:
    man = people([0], [(100, 100)])
    dog = Poses(
        xy=man.xy,
        scores=man.scores,
        boxes=man.boxes,
        box_scores=man.box_scores,
        labels=("dog",),
        skeleton=COCO17,
        image_size=man.image_size,
    )
    ids = run([man] * 5 + [dog] * 5)
    assert ids[:5] == [[1]] * 5
    assert ids[-1] == [2]


def test_everything_but_the_ids_stays(rng: np.random.Generator) -> None:
    poses = people([2, 0, 1], [(400, 100), (100, 100), (250, 90)], rng=rng, noise=2)
    before = poses.xy.copy()
    out = PoseTracker().update(poses, 0.0)
    for name in ("xy", "scores", "boxes", "box_scores"):
        np.testing.assert_array_equal(getattr(out, name), getattr(poses, name))
    np.testing.assert_array_equal(poses.xy, before)
    assert poses.track_ids is None
    assert out.track_ids.tolist() == [1, 2, 3]


def test_the_same_frames_give_the_same_ids_again(rng: np.random.Generator) -> None:
    frames = [people([0, 1, 2], [(80.0 * w, 100.0) for w in range(3)], rng=rng, noise=8) for _ in range(20)]
    tracker = PoseTracker()
    assert run(frames, tracker) == run(frames, tracker)


def test_empty_videos_and_frames() -> None:
    assert run([]) == []
    assert run([people([], [])] * 3) == [[], [], []]


def test_times_that_stand_still_or_go_back_do_no_harm() -> None:
    tracker = PoseTracker()
    there = people([0], [(100, 100)])
    assert [tracker.update(there, t).track_ids.tolist() for t in (1.0, 1.0, 0.2, 1.1)] == [[1]] * 4


def test_uneven_times_are_real_seconds() -> None:
    """A runner at 500 px/s, sampled unevenly: the prediction must use the true time between frames."""
    times = np.cumsum([0.0, *([0.02] * 12), 0.2, 0.02, 0.2, 0.02])
    tracker = PoseTracker()
    ids = [tracker.update(people([0], [(500 * t, 100)]), t).track_ids.tolist() for t in times]
    assert ids == [[1]] * len(times)


def test_one_keypoint_is_enough() -> None:
    dot = Skeleton(name="dot", keypoints=("dot",))
    frames = [
        Poses(
            xy=np.array([[[10.0 + i, 10]], [[100.0 - i, 50]]]),
            scores=np.full((2, 1), 0.9),
            boxes=np.array([[i, 0, 20.0 + i, 20], [90.0 - i, 40, 110.0 - i, 60]]),
            box_scores=np.ones(2),
            skeleton=dot,
            image_size=Size(100, 200),
        )
        for i in range(20)
    ]
    assert run(frames) == [[1, 2]] * 20


def test_pairs_below_the_limit_are_not_made() -> None:
    assert best_pairs(np.array([[0.9, 0.8], [0.8, 0.1]]), 0.2) == [(0, 1), (1, 0)]
    assert best_pairs(np.array([[0.9, 0.8], [0.1, 0.1]]), 0.2) == [(0, 0)]
    assert best_pairs(np.zeros((0, 3)), 0.2) == []


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        PoseTrackerSettings(max_people=0)
    with pytest.raises(UsageError, match="lost_s is -1"):
        PoseTrackerSettings(lost_s=-1)
    with pytest.raises(UsageError, match="more than 1"):
        PoseTrackerSettings(pose_weight=0.8, box_weight=0.3)
