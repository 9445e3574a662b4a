import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.similarity import oks_matrix
from vitpose.core.skeleton import load_skeleton
from vitpose.metrics.nms import oks_nms, region_areas, suppress

SKELETON = load_skeleton("coco17")
SIGMAS = SKELETON.sigma_array


def crowd(seed: int, people: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    xy = rng.random((3, 17, 2))[rng.integers(0, 3, people)] * 200 + rng.normal(0, 4, (people, 17, 2))
    return xy, rng.random(people), rng.random(people) * 3e4 + 1e4


def test_region_area_by_hand() -> None:
    # 60 x 100 grows to 75 x 100 (3:4) and by 1.25.
    assert region_areas([[0, 0, 60, 100]], Size(256, 192))[0] == pytest.approx(75 * 100 * 1.25**2)
    assert region_areas([[0, 0, 60, 100]], Size(256, 192), square=True)[0] == pytest.approx(100 * 100 * 1.25**2)


@given(seed=st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_what_stays_is_apart_and_what_goes_has_a_better_twin(seed: int) -> None:
    xy, scores, areas = crowd(seed)
    kept = oks_nms(xy, scores, areas, sigmas=SIGMAS)
    alike = oks_matrix(xy, xy, sigmas=SIGMAS, areas=(areas[:, None] + areas) / 2)
    assert (np.diff(scores[kept]) <= 0).all()
    assert (alike[np.ix_(kept, kept)] - 2 * np.eye(len(kept)) <= 0.9).all()
    for gone in set(range(len(xy))) - set(kept.tolist()):
        better = [k for k in kept if scores[k] >= scores[gone]]
        assert max(alike[better, gone]) > 0.9


def test_duplicates_go_and_the_limits() -> None:
    xy, scores, areas = crowd(1)
    twice = np.concatenate([xy, xy]), np.concatenate([scores, scores / 2]), np.concatenate([areas, areas])
    once = oks_nms(xy, scores, areas, sigmas=SIGMAS)
    assert oks_nms(*twice, sigmas=SIGMAS).tolist() == once.tolist()
    assert 0 < len(once) < len(xy)
    assert len(oks_nms(xy, scores, areas, sigmas=SIGMAS, threshold=1.0)) == len(xy)
    assert oks_nms(np.zeros((0, 17, 2)), [], [], sigmas=SIGMAS).shape == (0,)


def test_poses_are_ranked_by_box_times_keypoint_score() -> None:
    xy = np.random.default_rng(0).random((2, 17, 2)) * 100
    xy[1] = xy[0]
    scores = np.full((2, 17), 0.9)
    scores[1, :] = 0.5
    poses = Poses(
        xy=xy, scores=scores, boxes=[[0, 0, 100, 100]] * 2, box_scores=[0.5, 0.8], skeleton=SKELETON,
        image_size=Size(100, 100),
    )  # fmt: skip
    kept = suppress(poses, Size(256, 192))
    assert len(kept) == 1
    assert kept.score[0] == pytest.approx(0.45)
    low = scores.copy()
    low[0, :16] = 0.1  # at or below 0.2 keypoints do not count in the mean
    assert Poses(
        xy=xy, scores=low, boxes=poses.boxes, box_scores=[0.5, 0.8], skeleton=SKELETON, image_size=Size(100, 100)
    ).score[0] == pytest.approx(0.45)
