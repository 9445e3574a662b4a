import numpy as np
import pytest
from synthetic import COCO17, series_of, standing, walker

from vitpose.core.errors import InputError
from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.motion.gaps import fill_gaps
from vitpose.motion.repair import find_outliers, find_swaps, mirror_groups, repair_outliers, repair_swaps
from vitpose.motion.series import segments, series_from_poses

TIMES = np.arange(90) / 30.0


@pytest.fixture
def walking() -> np.ndarray:
    return walker(TIMES, stride_s=1.0, speed=60, skeleton=COCO17)


def swapped(xy: np.ndarray, rows: np.ndarray, group: int) -> np.ndarray:
    xy = xy.copy()
    for left, right in mirror_groups(COCO17)[group].tolist():
        xy[np.ix_(rows, [left, right])] = xy[np.ix_(rows, [right, left])]
    return xy


def test_outliers_are_found_and_mended(walking: np.ndarray, rng: np.random.Generator) -> None:
    xy = walking + rng.normal(0, 0.5, walking.shape)
    wild = [(20, 9), (50, 15), (51, 3)]
    for row, keypoint in wild:
        xy[row, keypoint] += (60, -40)
    found = find_outliers(series_of(xy, TIMES))
    assert all(found[place] for place in wild)
    assert found.sum() <= len(wild) + 0.01 * found.size
    mended = repair_outliers(series_of(xy, TIMES))
    for place in wild:
        assert np.linalg.norm(mended.xy[place] - walking[place]) < 8
        assert mended.filled[place]
        assert mended.scores[place] == 0
    np.testing.assert_array_equal(mended.raw_xy, xy)


def test_a_clean_walk_has_no_outliers(walking: np.ndarray) -> None:
    assert find_outliers(series_of(walking, TIMES)).mean() < 0.01


@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("run", [(10, 11), (30, 38), (60, 75)])
def test_exchanged_sides_are_put_back(
    walking: np.ndarray, rng: np.random.Generator, group: int, run: tuple[int, int]
) -> None:
    noisy = walking + rng.normal(0, 1.0, walking.shape)
    rows = np.arange(*run)
    series = series_of(swapped(noisy, rows, group), TIMES)
    found = find_swaps(series, mirror_groups(COCO17)[group])
    np.testing.assert_array_equal(np.flatnonzero(found), rows)
    np.testing.assert_array_equal(repair_swaps(series).xy, noisy)


def test_legs_that_cross_are_left_alone(walking: np.ndarray, rng: np.random.Generator) -> None:
    noisy = walking + rng.normal(0, 1.0, walking.shape)
    ankles = noisy[:, COCO17.index("left_ankle"), 0] - noisy[:, COCO17.index("right_ankle"), 0]
    assert (np.diff(np.sign(ankles)) != 0).sum() >= 4
    np.testing.assert_array_equal(repair_swaps(series_of(noisy, TIMES)).xy, noisy)


def test_scores_change_sides_too(walking: np.ndarray) -> None:
    scores = np.full((90, 17), 0.8)
    left, right = COCO17.index("left_ankle"), COCO17.index("right_ankle")
    rows = np.arange(40, 45)
    scores[40:45, left] = 0.4
    series = series_of(swapped(walking, rows, 1), TIMES, scores=scores)
    mended = repair_swaps(series)
    assert (mended.scores[40:45, right] == 0.4).all()
    assert (mended.scores[40:45, left] == 0.8).all()


def test_short_gaps_are_filled_and_long_ones_are_not(walking: np.ndarray) -> None:
    scores = np.full((90, 17), 0.9)
    xy = walking.copy()
    scores[10:15, 9], xy[10:15, 9] = 0.1, 0.0
    scores[40:70, 9], xy[40:70, 9] = 0.1, 0.0
    filled = fill_gaps(series_of(xy, TIMES, scores=scores), TIMES, max_gap_s=0.5)
    np.testing.assert_allclose(filled.xy[10:15, 9], walking[10:15, 9], atol=3)
    np.testing.assert_array_equal(filled.xy[40:70, 9], 0.0)
    assert filled.filled.sum() == 5
    assert (filled.scores[10:15, 9] == 0).all()


def test_missing_frames_come_back(walking: np.ndarray) -> None:
    kept = np.r_[0:20, 26:90]
    whole = series_of(walking, TIMES)
    filled = fill_gaps(whole[kept], TIMES, max_gap_s=0.5)
    np.testing.assert_array_equal(filled.frames, np.arange(90))
    np.testing.assert_allclose(filled.times_s, TIMES)
    assert np.linalg.norm(filled.xy[20:26] - walking[20:26], axis=-1).max() < 6
    assert filled.filled[20:26].all()
    assert np.isnan(filled.raw_xy[20:26]).all()
    np.testing.assert_array_equal(filled.xy[kept], walking[kept])
    assert len(fill_gaps(whole[np.r_[0:20, 60:90]], TIMES, max_gap_s=0.5)) == 50


def test_nothing_is_invented_before_the_first_or_after_the_last(walking: np.ndarray) -> None:
    scores = np.full((90, 17), 0.9)
    scores[:3] = scores[-3:] = 0.0
    filled = fill_gaps(series_of(walking, TIMES, scores=scores), TIMES)
    assert not filled.filled.any()


def test_segments_by_hand() -> None:
    assert segments(np.array([0.0, 0.1, 0.2, 1.0, 1.1]), 0.5) == [slice(0, 3), slice(3, 5)]
    assert segments(np.zeros(0), 0.5) == []


def test_series_keep_ids_apart() -> None:
    def poses(ids: list[int]) -> Poses:
        n = len(ids)
        return Poses(
            xy=np.repeat(np.array(ids, dtype=float), 34).reshape(n, 17, 2),
            scores=np.ones((n, 17)),
            boxes=np.tile([0.0, 0, 50, 200], (n, 1)),
            box_scores=np.ones(n),
            track_ids=np.array(ids),
            skeleton=COCO17,
            image_size=Size(100, 100),
        )

    frames = [poses([1, 2]), poses([2, -1]), poses([3, 1])]
    series = series_from_poses(frames, [0.0, 0.1, 0.25])
    assert [(one.track_id, one.frames.tolist()) for one in series] == [(1, [0, 2]), (2, [0, 1]), (3, [2])]
    assert all((one.xy == one.track_id).all() for one in series)
    assert series[0].size == pytest.approx(100.0)
    with pytest.raises(InputError, match="time goes from"):
        series_from_poses(frames, [0.0, 0.1, 0.0])
    with pytest.raises(InputError, match="track 1 stands twice in frame 0"):
        series_from_poses([poses([1, 1])], [0.0])
    assert series_from_poses([], []) == []


def test_an_empty_track_passes() -> None:
    empty = series_of(standing(0), np.zeros(0))
    assert len(fill_gaps(empty, TIMES)) == len(repair_outliers(empty)) == len(repair_swaps(empty)) == 0
