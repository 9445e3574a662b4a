import numpy as np
import pytest

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import load_skeleton
from vitpose.motion.online import OnlineSmoother
from vitpose.motion.series import poses_from_series, series_from_poses
from vitpose.motion.settings import SmoothingSettings
from vitpose.motion.smooth import smooth

COCO17 = load_skeleton("coco17")


def frame(xy: np.ndarray, ids: list[int] | None) -> Poses:
    people = len(xy)
    return Poses(
        xy=xy,
        scores=np.full((people, 17), 0.9),
        boxes=np.tile([0.0, 0.0, 100.0, 100.0], (people, 1)),
        box_scores=np.ones(people),
        track_ids=None if ids is None else np.array(ids),
        skeleton=COCO17,
        image_size=Size(480, 640),
    )


def video(rng: np.random.Generator, ids: list[list[int]]) -> list[Poses]:
    places = {1: 100.0, 2: 300.0, -1: 500.0}
    return [frame(np.array([rng.normal(places[i], 3, (17, 2)) for i in row]).reshape(-1, 17, 2), row) for row in ids]


def test_frame_by_frame_equals_whole_tracks(rng: np.random.Generator) -> None:
    frames = video(rng, [[1, 2]] * 20 + [[2]] * 5 + [[2, 1]] * 20)
    times = [i / 30 for i in range(len(frames))]
    settings = SmoothingSettings(method="kalman", max_gap_s=0.5)
    smoother = OnlineSmoother(settings)
    live = [smoother.update(poses, t) for poses, t in zip(frames, times, strict=True)]
    series = [smooth(one, settings) for one in series_from_poses(frames, times)]
    later = poses_from_series(frames, series)
    for a, b in zip(live, later, strict=True):
        np.testing.assert_allclose(a.xy, b.xy, atol=1e-4)
        np.testing.assert_array_equal(a.track_ids, b.track_ids)


@pytest.mark.parametrize("method", ["one_euro", "kalman"])
def test_an_id_change_is_a_new_beginning(method: str, rng: np.random.Generator) -> None:
    frames = video(rng, [[1]] * 10)
    other = frame(frames[-1].xy + 200, [2])
    smoother = OnlineSmoother(SmoothingSettings(method=method))
    for i, poses in enumerate(frames):
        smoother.update(poses, i / 30)
    np.testing.assert_array_equal(smoother.update(other, 10 / 30).xy, other.xy)


@pytest.mark.parametrize("time_s", [5.0, -1.0])
def test_a_gap_or_a_jump_back_is_a_new_beginning(time_s: float, rng: np.random.Generator) -> None:
    smoother = OnlineSmoother()
    first, second = video(rng, [[1]] * 2)
    smoother.update(first, 0.0)
    np.testing.assert_array_equal(smoother.update(second, time_s).xy, second.xy)


def test_people_without_an_id_pass_through(rng: np.random.Generator) -> None:
    frames = video(rng, [[-1, 1]] * 8)
    smoother = OnlineSmoother()
    for i, poses in enumerate(frames):
        out = smoother.update(poses, i / 30)
        np.testing.assert_array_equal(out.xy[0], poses.xy[0])
    assert np.abs(out.xy[1] - poses.xy[1]).max() > 0.1
    untracked = frame(frames[0].xy, None)
    assert smoother.update(untracked, 1.0) is untracked


def test_nobody_is_no_problem() -> None:
    smoother = OnlineSmoother()
    empty = Poses.empty(COCO17, Size(10, 10), track_ids=np.zeros(0, dtype=np.int64))
    assert len(smoother.update(empty, 0.0)) == 0


def test_memory_does_not_grow(rng: np.random.Generator) -> None:
    smoother = OnlineSmoother(SmoothingSettings(max_gap_s=0.2))
    for i in range(300):
        smoother.update(frame(rng.random((1, 17, 2)), [i + 1]), i / 30)
    assert len(smoother._tracks) <= 7


def test_the_input_is_not_changed(rng: np.random.Generator) -> None:
    frames = video(rng, [[1]] * 3)
    kept = [poses.xy.copy() for poses in frames]
    smoother = OnlineSmoother()
    for i, poses in enumerate(frames):
        smoother.update(poses, i / 30)
    for poses, xy in zip(frames, kept, strict=True):
        np.testing.assert_array_equal(poses.xy, xy)


def test_methods_that_need_the_future_are_refused() -> None:
    with pytest.raises(UsageError, match="'rts' does not work while a video runs; known: kalman, none, one_euro"):
        OnlineSmoother(SmoothingSettings(method="rts"))
