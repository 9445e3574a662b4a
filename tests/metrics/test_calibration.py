import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitpose.core.errors import InputError, UsageError
from vitpose.metrics.calibration import Calibration, fit_calibration, keypoint_error, reliability, right_keypoints

NAMES = ("nose", "ankle", "wrist")


def made_up(people: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that are over-confident for ankles and too modest for noses."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(4, 2, (people, 3))
    odds = np.array([9.0, 5.0, 6.0]) * scores - np.array([2.0, 4.0, 3.0])
    right = rng.random((people, 3)) < 1 / (1 + np.exp(-odds))
    return scores, right, rng.random((people, 3)) < 0.8


def errors(people: int) -> tuple[float, float]:
    """Calibration error before and after, both on people the fit has not seen."""
    scores, right, counted = made_up(people)
    fitted = fit_calibration(scores, right, counted, keypoints=NAMES)
    fresh, truth, mask = made_up(20_000, seed=1)
    return keypoint_error(fresh, truth, mask), keypoint_error(fitted.apply(fresh), truth, mask)


@pytest.mark.parametrize(("people", "limit"), [(30, 0.13), (300, 0.05), (5000, 0.015)])
def test_error_falls_on_unseen_people(people: int, limit: float) -> None:
    before, after = errors(people)
    assert after < before
    assert after < limit


def test_fit_finds_the_curves_it_was_drawn_from() -> None:
    scores, right, counted = made_up(50_000)
    fitted = fit_calibration(scores, right, counted, keypoints=NAMES)
    np.testing.assert_allclose(fitted.slopes, [9, 5, 6], rtol=0.06)
    np.testing.assert_allclose(fitted.intercepts, [-2, -4, -3], atol=0.25)


def test_a_probability_means_the_same_for_every_keypoint() -> None:
    scores, right, counted = made_up(50_000)
    fitted = fit_calibration(scores, right, counted, keypoints=NAMES)
    levels = fitted.thresholds(0.6)
    np.testing.assert_allclose(fitted.apply(levels), 0.6, atol=1e-6)
    for k in range(3):
        near = counted[:, k] & (np.abs(scores[:, k] - levels[k]) < 0.03)
        assert right[near, k].mean() == pytest.approx(0.6, abs=0.05)


@given(seed=st.integers(0, 1000), people=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_never_falls_with_the_score_and_never_leaves_zero_to_one(seed: int, people: int) -> None:
    rng = np.random.default_rng(seed)
    scores, right = rng.random((people, 3)) * 1.3 - 0.1, rng.random((people, 3)) < rng.random(3)
    counted = rng.random((people, 3)) < 0.7
    counted[0, 0] = True
    fitted = fit_calibration(scores, right, counted, keypoints=NAMES)
    said = fitted.apply(np.linspace(-0.2, 1.5, 50)[:, None].repeat(3, axis=1))
    assert (np.diff(said, axis=0) >= 0).all()
    assert ((said > 0) & (said < 1)).all()


def test_a_keypoint_without_labels_gets_the_shared_curve() -> None:
    scores, right, counted = made_up(500)
    counted[:, 2] = False
    fitted = fit_calibration(scores, right, counted, keypoints=NAMES)
    assert fitted.pairs[2] == 0
    pooled = fit_calibration(
        scores[counted][:, None], right[counted][:, None], np.ones((counted.sum(), 1)), keypoints=["all"]
    )
    assert fitted.slopes[2] == pytest.approx(pooled.slopes[0], rel=0.01)


def test_all_right_stays_finite() -> None:
    scores = np.linspace(0.3, 1, 10)[:, None]
    fitted = fit_calibration(scores, np.ones((10, 1)), np.ones((10, 1)), keypoints=["nose"])
    assert fitted.apply(scores).min() > 0.8
    assert np.isfinite(fitted.slopes).all()


def test_no_labels_and_wrong_shapes() -> None:
    scores, right, _ = made_up(5)
    with pytest.raises(InputError, match="there are none"):
        fit_calibration(scores, right, np.zeros((5, 3)), keypoints=NAMES)
    with pytest.raises(UsageError, match="do not fit together"):
        fit_calibration(scores, right, np.ones((5, 2)), keypoints=NAMES)


def test_round_trip_through_json() -> None:
    fitted = fit_calibration(*made_up(100), keypoints=NAMES)
    again = Calibration.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted
    with pytest.raises(InputError, match="schema"):
        Calibration.from_dict({**fitted.to_dict(), "schema": "other/1"})
    with pytest.raises(InputError, match="equally long"):
        Calibration.from_dict({**fitted.to_dict(), "slopes": [1.0]})
    with pytest.raises(InputError, match="not valid"):
        Calibration.from_dict({"schema": fitted.to_dict()["schema"]})


def test_scores_of_another_skeleton() -> None:
    fitted = fit_calibration(*made_up(20), keypoints=NAMES)
    with pytest.raises(UsageError, match="do not fit a calibration of 3"):
        fitted.apply(np.zeros((4, 17)))


@pytest.mark.parametrize("equal_mass", [True, False])
def test_reliability_by_hand(equal_mass: bool) -> None:
    said, right = [0.1, 0.1, 0.9, 0.9], [0, 1, 1, 1]
    curve = reliability(said, right, bins=2, equal_mass=equal_mass)
    np.testing.assert_allclose(curve.said, [0.1, 0.9])
    np.testing.assert_allclose(curve.done, [0.5, 1.0])
    assert curve.counts.tolist() == [2, 2]
    assert curve.error == pytest.approx(0.25)


def test_equal_mass_bins_hold_equally_many() -> None:
    said = np.random.default_rng(0).random(1000) ** 4
    curve = reliability(said, said > 0.5, bins=10)
    assert set(curve.counts.tolist()) == {100}
    assert np.isnan(reliability([], []).error)


def test_right_is_half_the_similarity() -> None:
    # exp(-d^2 / (2 * area * (2 * sigma)^2)) = 0.5  <=>  d = 2 * sigma * sqrt(2 * ln 2 * area)
    area, sigma = 1e4, 0.05
    limit = 2 * sigma * np.sqrt(2 * np.log(2) * area)
    truth = np.zeros((1, 2, 2))
    found = np.array([[[limit - 1e-6, 0], [0, limit + 1e-6]]])
    assert right_keypoints(found, truth, [area], [sigma, sigma]).tolist() == [[True, False]]
