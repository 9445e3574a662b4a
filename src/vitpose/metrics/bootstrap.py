"""Is one model better than another, or was it luck? Paired bootstrap over pictures."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitpose.core.errors import UsageError
from vitpose.metrics.matching import Matches

Statistic = Callable[[NDArray[np.int64]], float]
"""A score of one model from how often each picture counts, ``(images,)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A difference between two models, second minus first, and how sure it is.

    Attributes:
        first: score of the first model on all pictures.
        second: score of the second.
        difference: second minus first.
        low: lower end of the percentile interval of the difference.
        high: upper end.
        level: share of resamples inside the interval.
        resamples: how many.
        images: pictures that were resampled.
        seed: of the resampling.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    level: float
    resamples: int
    images: int
    seed: int

    @property
    def certain(self) -> bool:
        """The interval does not hold zero."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, float | bool]:
        """Return plain data."""
        return asdict(self) | {"certain": self.certain}


def paired_bootstrap(
    first: Statistic, second: Statistic, *, images: int, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the interval of ``second - first`` when pictures are drawn again with replacement.

    Both models see the same pictures in every draw, so what makes a picture hard for both cancels out
    (Efron & Tibshirani 1993, percentile interval).

    Args:
        first: score of one model, see ``mean_score`` and ``Matches.average_precision``.
        second: score of the other.
        images: number of pictures.
        resamples: number of draws.
        level: share of the draws inside the interval.
        seed: same seed, same interval.

    Raises:
        UsageError: no picture, no draw, or a level that is no share.
    """
    if images < 1 or resamples < 1 or not 0 < level < 1:
        raise UsageError(f"a bootstrap needs pictures ({images}), draws ({resamples}) and a level in 0..1 ({level})")
    random = np.random.default_rng(seed)
    once = np.ones(images, dtype=np.int64)
    whole = first(once), second(once)
    differences = np.empty(resamples)
    for draw in range(resamples):
        weights = np.bincount(random.integers(0, images, images), minlength=images)
        differences[draw] = second(weights) - first(weights)
    # A draw in which nobody is to be found says nothing.
    differences = differences[np.isfinite(differences)]
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2]) if len(differences) else (np.nan, np.nan)
    return Interval(
        first=whole[0],
        second=whole[1],
        difference=whole[1] - whole[0],
        low=float(low),
        high=float(high),
        level=level,
        resamples=resamples,
        images=images,
        seed=seed,
    )


def mean_score(values: ArrayLike, image: ArrayLike, *, images: int) -> Statistic:
    """Return the statistic "mean over people", for OKS or any number a person.

    Args:
        values: ``(people,)``; NaN does not count.
        image: ``(people,)`` position of each person's picture.
        images: number of pictures.
    """
    numbers, place = np.asarray(values, dtype=np.float64), np.asarray(image, dtype=np.int64)
    there = np.isfinite(numbers)
    sums = np.bincount(place[there], numbers[there], images)
    counts = np.bincount(place[there], minlength=images)

    def statistic(weights: NDArray[np.int64]) -> float:
        total = weights @ counts
        return float(weights @ sums / total) if total else float("nan")

    return statistic


def ap_score(matches: Matches) -> Statistic:
    """Return the statistic "average precision": recomputed from the matches of the pictures in each draw."""
    return matches.average_precision
