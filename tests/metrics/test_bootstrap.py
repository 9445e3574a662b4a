import numpy as np
import pytest
from made_up_people import people, perturbed

from vitpose.core.errors import UsageError
from vitpose.core.skeleton import load_skeleton
from vitpose.metrics.bootstrap import Interval, ap_score, mean_score, paired_bootstrap
from vitpose.metrics.matching import match
from vitpose.metrics.table import build_table

SIGMAS = load_skeleton("coco17").sigma_array


def scores(seed: int, gain: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two models on 200 people of 80 pictures, the second better by ``gain`` on average."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 80, 200)
    hard = rng.normal(0, 0.2, 80)[image]
    first = 0.5 + hard + rng.normal(0, 0.05, 200)
    return first, 0.5 + hard + gain + rng.normal(0, 0.05, 200), image


def interval(data: int, gain: float, **options: int) -> Interval:
    first, second, image = scores(data, gain)
    return paired_bootstrap(
        mean_score(first, image, images=80), mean_score(second, image, images=80), images=80, **options
    )


def test_covers_the_true_difference_about_as_often_as_it_says() -> None:
    hits = sum(i.low <= 0.01 <= i.high for i in (interval(seed, 0.01, resamples=300) for seed in range(100)))
    assert 88 <= hits <= 99


def test_the_pairing_makes_small_differences_certain() -> None:
    found = interval(0, 0.03)
    assert found.certain
    assert found.low > 0
    first, second, _ = scores(0, 0.03)
    rng = np.random.default_rng(0)
    spread = np.std([rng.choice(second, 200).mean() - rng.choice(first, 200).mean() for _ in range(300)])
    assert found.high - found.low < 2 * spread  # unpaired: about four times the spread


def test_a_model_against_itself_is_exactly_zero() -> None:
    first, _, image = scores(1, 0.0)
    own = mean_score(first, image, images=80)
    found = paired_bootstrap(own, own, images=80, resamples=50)
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert not found.certain


def test_seed_decides_and_order_of_models_mirrors() -> None:
    assert interval(2, 0.01, seed=5) == interval(2, 0.01, seed=5)
    assert interval(2, 0.01, seed=5) != interval(2, 0.01, seed=6)
    first, second, image = scores(2, 0.01)
    a, b = mean_score(first, image, images=80), mean_score(second, image, images=80)
    forward, back = paired_bootstrap(a, b, images=80), paired_bootstrap(b, a, images=80)
    assert forward.low == pytest.approx(-back.high)
    assert forward.to_dict()["difference"] == -back.to_dict()["difference"]


def test_average_precision_of_two_models() -> None:
    truth = people(80, images=20)
    good, bad = perturbed(truth, seed=1), perturbed(truth, seed=1)
    for entry in bad[: len(bad) // 2]:
        entry["keypoints"] = (np.array(entry["keypoints"]) + 200).tolist()
    first, second = (match(build_table(truth, found, sigmas=SIGMAS)) for found in (bad, good))
    found = paired_bootstrap(ap_score(first), ap_score(second), images=20, resamples=200)
    assert found.first == first.average_precision()
    assert found.difference == pytest.approx(second.average_precision() - first.average_precision())
    assert found.low <= found.difference <= found.high
    assert found.low > 0


def test_mean_score_leaves_out_what_is_not_a_number() -> None:
    own = mean_score([1.0, np.nan, 3.0], [0, 0, 1], images=3)
    assert own(np.array([1, 1, 1])) == 2.0
    assert own(np.array([3, 0, 0])) == 1.0
    assert np.isnan(own(np.array([0, 0, 3])))


@pytest.mark.parametrize("options", [{"images": 0}, {"resamples": 0}, {"level": 1.0}])
def test_impossible_requests(options: dict[str, float]) -> None:
    own = mean_score([1.0], [0], images=1)
    with pytest.raises(UsageError, match="a bootstrap needs"):
        paired_bootstrap(own, own, **{"images": 1, **options})
