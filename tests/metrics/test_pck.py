import math
from pathlib import Path

import numpy as np
import pytest

from vitpose.core.errors import UsageError
from vitpose.metrics.pck import (
    auc,
    box_sides,
    distances,
    epe,
    grouped,
    head_sizes,
    nme,
    pair_distances,
    pck,
    pck_curve,
    pckh,
)

TRUTH = np.array([[[0.0, 0.0], [10.0, 0.0]], [[0.0, 0.0], [0.0, 10.0]]])
ALL = np.ones((2, 2), bool)


def test_distances_by_hand_and_masked() -> None:
    found = TRUTH + np.array([[[3, 4], [0, 0]], [[0, 0], [0, 1]]])
    counted = np.array([[True, True], [False, True]])
    np.testing.assert_array_equal(distances(found, TRUTH, counted), [[5, 0], [np.nan, 1]])


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="do not fit together"):
        distances(TRUTH, TRUTH[:1], ALL)


def test_epe_and_the_two_means() -> None:
    found = TRUTH + np.array([[[3, 4], [0, 1]], [[0, 3], [0, 0]]])
    counted = np.array([[True, True], [True, False]])
    numbers = epe(found, TRUTH, counted)
    np.testing.assert_allclose(numbers.values, [4, 1])
    assert numbers.counts.tolist() == [2, 1]
    assert numbers.mean == 2.5
    assert numbers.point_mean == 3.0


def test_pck_counts_the_limit_itself() -> None:
    found = TRUTH + np.array([[[2, 0], [2.01, 0]], [[0, 0], [0, 0]]])
    assert pck(found, TRUTH, ALL, scales=10.0, threshold=0.2).values.tolist() == [1.0, 0.5]


def test_people_without_a_scale_do_not_count() -> None:
    numbers = pck(TRUTH + 100, TRUTH, ALL, scales=[np.nan, 0.0], threshold=0.2)
    assert numbers.counts.tolist() == [0, 0]
    assert math.isnan(numbers.mean)
    assert math.isnan(numbers.point_mean)


def test_auc_by_hand() -> None:
    # A distance of half the scale is right at 10/20 ... 19/20: half of the twenty steps.
    found = TRUTH + np.array([[[15, 0], [0, 0]], [[15, 0], [40, 0]]])
    np.testing.assert_allclose(auc(found, TRUTH, ALL).values, [0.5, 0.5])


def test_auc_is_the_mean_of_pck() -> None:
    found = TRUTH + np.random.default_rng(0).normal(0, 10, TRUTH.shape)
    steps = [pck(found, TRUTH, ALL, scales=30.0, threshold=i / 20).values for i in range(20)]
    np.testing.assert_allclose(auc(found, TRUTH, ALL).values, np.mean(steps, axis=0))


def test_nme_is_epe_over_the_scale() -> None:
    found = TRUTH + 3
    scales = pair_distances(TRUTH, ALL, 0, 1)
    np.testing.assert_allclose(scales, [10, 10])
    np.testing.assert_allclose(nme(found, TRUTH, ALL, scales=scales).values, epe(found, TRUTH, ALL).values / 10)


def test_numbers_do_not_change_with_the_size_of_the_picture() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((20, 5, 2)) * 100
    found, counted = truth + rng.normal(0, 8, truth.shape), rng.random((20, 5)) < 0.8
    torso = pair_distances(truth, counted, 0, 1)
    once = pck(found, truth, counted, scales=torso, threshold=0.2)
    twice = pck(found * 3, truth * 3, counted, scales=pair_distances(truth * 3, counted, 0, 1), threshold=0.2)
    np.testing.assert_array_equal(once.values, twice.values)
    assert 0 < once.point_mean < 1


def test_curve_rises_and_agrees_with_pck() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random((30, 4, 2)) * 50
    found, counted = truth + rng.normal(0, 5, truth.shape), rng.random((30, 4)) < 0.7
    limits = np.linspace(0, 1, 11)
    curve = pck_curve(found, truth, counted, scales=20.0, thresholds=limits)
    assert (np.diff(curve) >= 0).all()
    expected = [pck(found, truth, counted, scales=20.0, threshold=t).point_mean for t in limits]
    np.testing.assert_allclose(curve, expected)


def test_nobody() -> None:
    nothing = np.zeros((0, 3, 2))
    numbers = epe(nothing, nothing, np.zeros((0, 3)))
    assert np.isnan(numbers.values).all()
    assert np.isnan(pck_curve(nothing, nothing, np.zeros((0, 3)), scales=1.0, thresholds=[0.1])).all()


def test_scales() -> None:
    assert box_sides([[0, 0, 30, 40]]).tolist() == [40]
    np.testing.assert_allclose(head_sizes([[0, 0, 30, 40]]), [30])


def test_mpii_reference_predictions_give_the_published_pckh(shared: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    data = scipy_io.loadmat(shared / "data/annotations/mpii_valid_gt_and_reference_pred.mat")
    names = [str(name[0]) for name in data["dataset_joints"].ravel()]
    truth, found = data["pos_gt_src"].transpose(2, 0, 1), data["pos_pred_src"].transpose(2, 0, 1)
    counted = data["jnt_missing"].T == 0
    heads = data["headboxes_src"].transpose(2, 0, 1).reshape(-1, 4)
    numbers = pckh(found, truth, counted, head_boxes=heads)
    published = {
        "rank": 65.2, "rkne": 73.4, "rhip": 82.0, "lhip": 81.9, "lkne": 73.3, "lank": 65.7, "neck": 97.7,
        "head": 95.6, "rwri": 76.4, "relb": 83.4, "rsho": 92.2, "lsho": 93.3, "lelb": 83.4, "lwri": 77.1,
    }  # fmt: skip
    for name, percent in published.items():
        assert 100 * numbers.values[names.index(name)] == pytest.approx(percent, abs=0.051), name
    assert numbers.counts[[6, 7]].tolist() == [0, 0]
    labelled = numbers.counts > 0
    weighted = (numbers.values * numbers.counts)[labelled].sum() / numbers.counts.sum()
    assert numbers.point_mean == pytest.approx(weighted)
    groups = {"ankle": [names.index("rank"), names.index("lank")], "head": [names.index("head")]}
    assert 100 * grouped(numbers, groups)["ankle"] == pytest.approx((65.2 + 65.7) / 2, abs=0.06)
    strict = pckh(found, truth, counted, head_boxes=heads, threshold=0.1)
    assert strict.point_mean < numbers.point_mean / 2
