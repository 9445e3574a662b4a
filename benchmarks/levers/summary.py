"""What the differences between arms are worth: means over seeds, and two intervals that must agree.

Luck comes in twice: which people are held out, and which random numbers a run drew. A paired bootstrap over people (on
right keypoints added up over the seeds) answers for the first, a paired t interval over seeds for the second. An arm is
said to help or to hurt only where both intervals leave zero out on the same side; all else is "no difference seen".
Many comparisons make one false find likely: beside each stands what is left of it after Holm's correction (1979) of the
t tests over seeds for all comparisons of the study.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from levers.arms import Lever
from levers.scoring import numbers

LEVEL = 0.95
RESAMPLES = 2000

Runs = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Arm, seed, numbers of the run."""


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard deviation and number of seeds."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "seeds": len(values)}


def by_people(first: NDArray[np.int64], second: NDArray[np.int64], counted: NDArray[np.int64]) -> list[float]:
    """Return the interval of ``second - first`` in PCK when people are drawn again with replacement.

    Args:
        first: ``(seeds, people)`` right keypoints without the lever.
        second: the same with it.
        counted: ``(people,)`` keypoints that count.
    """
    more = (second.sum(axis=0) - first.sum(axis=0)) / len(first)
    random = np.random.default_rng(0)
    weights = random.multinomial(len(counted), np.full(len(counted), 1 / len(counted)), size=RESAMPLES)
    total = weights @ counted
    drawn = (weights @ more)[total > 0] / total[total > 0]
    return [float(end) for end in np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]


def by_seeds(differences: Sequence[float]) -> list[float] | None:
    """Return the t interval of the mean of paired differences; None for one seed, which says nothing about luck."""
    if len(differences) < 2:
        return None
    middle = statistics.fmean(differences)
    half = stats.t.ppf((1 + LEVEL) / 2, len(differences) - 1) * statistics.stdev(differences) / len(differences) ** 0.5
    return [middle - float(half), middle + float(half)]


def p_by_seeds(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of the paired t test over seeds; None for one seed."""
    if len(differences) < 2:
        return None
    spread_of_mean = statistics.stdev(differences) / len(differences) ** 0.5
    if not spread_of_mean:
        return 1.0 if not any(differences) else 0.0
    return 2 * float(stats.t.sf(abs(statistics.fmean(differences)) / spread_of_mean, len(differences) - 1))


def holm(found: Sequence[float]) -> list[float]:
    """Return p values corrected for how many there are, in the order given."""
    corrected = [0.0] * len(found)
    worst = 0.0
    for rank, place in enumerate(sorted(range(len(found)), key=lambda place: found[place])):
        worst = max(worst, min((len(found) - rank) * found[place], 1.0))
        corrected[place] = worst
    return corrected


def verdict(intervals: Sequence[list[float] | None]) -> str:
    """Say what all intervals agree on."""
    if any(one is None for one in intervals):
        return "one seed: no verdict"
    known = [one for one in intervals if one is not None]
    if all(low > 0 for low, _ in known):
        return "helps"
    return "hurts" if all(high < 0 for _, high in known) else "no difference seen"


def compare(lever: Lever, arm: str, runs: Runs, counted: str) -> dict[str, Any] | None:
    """Return what ``arm`` brings over the lever's baseline, from the seeds both have; None without any."""
    seeds = sorted(set(runs.get(lever.baseline, {})) & set(runs.get(arm, {})))
    if not seeds:
        return None
    sides = [[runs[name][seed] for seed in seeds] for name in (lever.baseline, arm)]
    right = [np.stack([numbers(run["right"]) for run in side]) for side in sides]
    differences = [with_it["pck"] - without["pck"] for without, with_it in zip(*sides, strict=True)]
    intervals = [by_people(right[0], right[1], numbers(counted)), by_seeds(differences)]
    errors = [with_it["error"] - without["error"] for without, with_it in zip(*sides, strict=True)]
    return {
        "lever": lever.part,
        "question": lever.question,
        "baseline": lever.baseline,
        "arm": arm,
        "seeds": len(seeds),
        "pck_difference": statistics.fmean(differences),
        "interval_over_people": intervals[0],
        "interval_over_seeds": intervals[1],
        "p_over_seeds": p_by_seeds(differences),
        "error_difference": statistics.fmean(errors),
        "verdict": verdict(intervals),
    }


def summarize(levers: Sequence[Lever], runs: Runs, counted: str) -> dict[str, Any]:
    """Return mean and spread of every arm, and every comparison that can be made so far."""
    arms = {
        name: {measure: spread([run[measure] for run in seeds.values()]) for measure in ("pck", "error")}
        for name, seeds in runs.items()
    }
    pairs = [compare(lever, arm, runs, counted) for lever in levers for arm in lever.arms]
    found = [pair for pair in pairs if pair is not None]
    tested = [pair for pair in found if pair["p_over_seeds"] is not None]
    for pair, corrected in zip(tested, holm([pair["p_over_seeds"] for pair in tested]), strict=True):
        pair["p_after_holm"] = corrected
    return {"arms": arms, "comparisons": found}
