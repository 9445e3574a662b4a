"""The laws of augmentation: distributions, limits, and who sees what."""

from dataclasses import replace

import numpy as np
import pytest

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.data.augment import MMPOSE, NONE, ORIGINAL, Augmentation, People, uniform_table, vary

SIZE = Size(256, 192)
COUNT = 4000
COCO = load_skeleton("coco17")
UPPER = np.array([name in COCO.upper_body for name in COCO.keypoints])


def people(count=COUNT, labelled=17):
    keypoints = np.random.default_rng(5).uniform([100, 200], [160, 400], (17, 2))
    visible = np.arange(17) < labelled
    return People(
        np.tile([130.0, 300.0], (count, 1)),
        np.tile([187.5, 250.0], (count, 1)),
        np.tile([60.0, 200.0], (count, 1)),
        np.tile(keypoints, (count, 1, 1)),
        np.tile(visible, (count, 1)),
    )


def seeds(count=COUNT):
    return np.random.default_rng(1).integers(0, 2**62, count)


def test_nothing_is_varied_without_laws():
    given = people(50)
    variation = vary(given, NONE, seeds(50), SIZE, UPPER)
    np.testing.assert_array_equal(variation.centers, given.centers)
    np.testing.assert_array_equal(variation.extents, given.extents)
    assert not variation.mirror.any()
    assert not variation.rotations_deg.any()
    assert variation.colors is None
    assert variation.erased is None


@pytest.mark.parametrize("spec", [ORIGINAL, MMPOSE])
def test_distributions_keep_their_limits(spec):
    spec = replace(spec, half_body=0)
    variation = vary(people(), spec, seeds(), SIZE, UPPER)
    factors = variation.extents[:, 0] / 187.5
    np.testing.assert_allclose(variation.extents[:, 1] / 250, factors)
    assert factors.min() >= 0.5
    assert factors.max() <= 1.5
    assert factors.mean() == pytest.approx(1, abs=0.02)
    assert variation.mirror.mean() == pytest.approx(0.5, abs=0.03)
    turned = variation.rotations_deg != 0
    assert turned.mean() == pytest.approx(0.6, abs=0.03)
    assert np.abs(variation.rotations_deg).max() <= 80
    assert np.abs(variation.rotations_deg[turned]).max() > 75
    moved = (variation.centers != [130, 300]).any(axis=1)
    assert moved.mean() == pytest.approx(0.3, abs=0.03)
    reach = np.abs(variation.centers - [130, 300]).max(axis=0)
    limit = np.array([60, 200]) * 0.2 if spec.law == "original" else np.array([187.5, 250]) * 0.16
    assert (reach <= limit).all()
    assert (reach > limit * 0.9).all()


def test_the_two_laws_differ_at_the_limits():
    """Clipping a normal distribution piles 32 of 100 numbers up at one deviation; cutting it off does not."""
    spread = {
        spec.law: vary(people(), replace(spec, half_body=0), seeds(), SIZE, UPPER).extents[:, 0] / 187.5
        for spec in (ORIGINAL, MMPOSE)
    }
    at_limit = {law: np.mean((values == 0.5) | (values == 1.5)) for law, values in spread.items()}
    assert at_limit["original"] == pytest.approx(0.317, abs=0.03)
    assert at_limit["mmpose"] == 0
    assert spread["mmpose"].std() == pytest.approx(0.5 * 0.5396, abs=0.01)


def test_half_bodies():
    spec = replace(NONE, half_body=1.0)
    given = people()
    variation = vary(given, spec, seeds(), SIZE, UPPER)
    centers = [given.keypoints[0, half].mean(axis=0) for half in (UPPER, ~UPPER)]
    is_upper = np.isclose(variation.centers, centers[0]).all(axis=1)
    is_lower = np.isclose(variation.centers, centers[1]).all(axis=1)
    assert (is_upper ^ is_lower).all()
    assert is_upper.mean() == pytest.approx(0.691, abs=0.03)
    low, high = given.keypoints[0, UPPER].min(axis=0), given.keypoints[0, UPPER].max(axis=0)
    extent = variation.extents[is_upper][0]
    assert extent[0] / extent[1] == pytest.approx(0.75)
    assert (extent >= (high - low) * 1.5 - 1e-9).all()
    assert (extent == pytest.approx((high - low)[0] * 1.5)) or (extent[1] == pytest.approx((high - low)[1] * 1.5))


@pytest.mark.parametrize(("labelled", "happens"), [(8, False), (9, True), (17, True), (0, False)])
def test_half_bodies_need_enough_keypoints(labelled, happens):
    given = people(200, labelled)
    variation = vary(given, replace(NONE, half_body=1.0), seeds(200), SIZE, UPPER)
    assert (variation.centers != given.centers).any() == happens
    assert np.isfinite(variation.extents).all()
    if labelled == 9:  # no keypoint of the lower body is labelled
        np.testing.assert_allclose(variation.centers, given.keypoints[:, :9].mean(axis=1))


def test_skeletons_without_an_upper_body_have_no_halves():
    given = people(50)
    variation = vary(given, replace(NONE, half_body=1.0), seeds(50), SIZE, np.zeros(17, dtype=bool))
    np.testing.assert_array_equal(variation.centers, given.centers)


def test_a_sample_depends_on_its_seed_alone():
    spec = replace(MMPOSE, color=0.3, erase=0.5)
    given, numbers = people(64), seeds(64)
    whole = vary(given, spec, numbers, SIZE, UPPER)
    order = np.random.default_rng(2).permutation(64)[:10]
    part = vary(given.select(order), spec, numbers[order], SIZE, UPPER)
    for name in ("centers", "extents", "rotations_deg", "mirror", "curves", "colors", "erased", "covers"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[order])
    np.testing.assert_array_equal(uniform_table(numbers[order]), uniform_table(numbers)[order])
    assert len(np.unique(whole.centers[:, 0])) > 10


def test_colours_keep_black_and_hardly_change_on_average():
    variation = vary(people(), replace(NONE, color=0.4), seeds(), SIZE, UPPER)
    assert variation.curves is not None
    assert variation.colors is not None
    assert (variation.curves[:, 0] == 0).all()
    assert (variation.curves[:, 255] == 255).all()
    assert (np.diff(variation.curves.astype(int), axis=1) >= 0).all()
    greys = variation.colors.sum(axis=2)
    np.testing.assert_allclose(greys, greys[:, :1].repeat(3, 1))
    assert greys.min() >= 0.6
    assert greys.max() <= 1.4
    assert greys.mean() == pytest.approx(1, abs=0.02)


def test_covers_lie_in_the_crop_and_have_the_size_asked_for():
    variation = vary(people(), replace(NONE, erase=0.5, erase_area=(0.05, 0.1)), seeds(), SIZE, UPPER)
    assert variation.erased is not None
    drawn = variation.erased[(variation.erased[:, 2] > variation.erased[:, 0])]
    assert len(drawn) / COUNT == pytest.approx(0.5, abs=0.03)
    assert (drawn[:, :2] >= 0).all()
    assert (drawn[:, 2:] <= [192, 256]).all()
    area = np.prod(drawn[:, 2:] - drawn[:, :2], axis=1) / (256 * 192)
    assert area.min() > 0.045
    assert area.max() < 0.105
    assert drawn[:, 0].min() == 0
    assert drawn[:, 2].max() == 192


def test_nobody():
    empty = People(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 17, 2)), np.zeros((0, 17), bool))
    variation = vary(empty, replace(MMPOSE, color=0.2, erase=0.2), np.zeros(0, dtype=np.int64), SIZE, UPPER)
    assert len(variation.centers) == 0


@pytest.mark.parametrize("wrong", [{"flip": 1.5}, {"scale": 1.0}, {"color": -0.1}, {"erase_area": (0.5, 0.1)}])
def test_impossible_laws_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Augmentation(**wrong)
