"""Repair before smoothing: single wild positions (Hampel) and left and right exchanged for a few frames."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vitpose.core.skeleton import Skeleton
from vitpose.motion.series import Floats, TrackSeries, segments

Mask = NDArray[np.bool_]

_MAD = 1.4826
"""Median absolute deviation to standard deviation for normal noise."""


def find_outliers(
    series: TrackSeries, *, window_s: float = 0.4, deviations: float = 5.0, least: float = 0.03, max_gap_s: float = 0.5
) -> Mask:
    """Return ``(rows, keypoints)``: positions far from where their neighbours say they should be.

    Hampel's rule (1974) on the distance to the median of the points halfway between one neighbour before and one after;
    the halfway point instead of the neighbours themselves keeps a fast limb from looking like an outlier. The first and
    the last row of a run have no such point and are never outliers.

    Args:
        series: one track.
        window_s: length of the window in seconds, centred.
        deviations: how many standard deviations, estimated by the median, are too far.
        least: nearer than this many body sizes is never an outlier; a person at rest has almost no deviation.
        max_gap_s: windows do not reach across longer pauses.
    """
    found = np.zeros(series.scores.shape, dtype=bool)
    for rows in segments(series.times_s, max_gap_s):
        times, xy = series.times_s[rows], series.xy[rows]
        reach = 1 if len(times) < 2 else max(1, round(window_s / 2 / float(np.median(np.diff(times)))))
        distance = _distance_to_neighbours(xy, times, reach)
        for row in range(1, len(times) - 1):
            window = distance[max(1, row - reach) : min(row + reach, len(times) - 2) + 1]
            limit = np.maximum(deviations * _MAD * np.median(window, axis=0), least * series.size)
            found[rows.start + row] = distance[row] > limit
    return found


def _distance_to_neighbours(xy: Floats, times_s: Floats, reach: int) -> Floats:
    """Return ``(rows, keypoints)`` distance to the median of the points halfway in time between pairs of neighbours."""
    distance = np.zeros(xy.shape[:2])
    for row in range(1, len(xy) - 1):
        steps = np.arange(1, min(reach, row, len(xy) - 1 - row) + 1)
        before, after = row - steps, row + steps
        share = ((times_s[row] - times_s[before]) / (times_s[after] - times_s[before]))[:, None, None]
        expected = np.median(xy[before] + share * (xy[after] - xy[before]), axis=0)
        distance[row] = np.linalg.norm(xy[row] - expected, axis=-1)
    return distance


def repair_outliers(
    series: TrackSeries, *, window_s: float = 0.4, deviations: float = 5.0, least: float = 0.03, max_gap_s: float = 0.5
) -> TrackSeries:
    """Return ``series`` with outliers replaced by interpolation between their good neighbours, marked and with score 0.

    Arguments as in ``find_outliers``; an outlier without good neighbours on both sides keeps its place.
    """
    wrong = find_outliers(series, window_s=window_s, deviations=deviations, least=least, max_gap_s=max_gap_s)
    xy, scores, filled = series.xy.copy(), series.scores.copy(), series.filled.copy()
    for rows in segments(series.times_s, max_gap_s):
        for keypoint in np.flatnonzero(wrong[rows].any(axis=0)).tolist():
            good = np.flatnonzero(~wrong[rows, keypoint]) + rows.start
            bad = np.flatnonzero(wrong[rows, keypoint]) + rows.start
            bad = bad[(bad > good.min()) & (bad < good.max())] if len(good) else bad[:0]
            for axis in range(2):
                xy[bad, keypoint, axis] = np.interp(
                    series.times_s[bad], series.times_s[good], series.xy[good, keypoint, axis]
                )
            scores[bad, keypoint], filled[bad, keypoint] = 0.0, True
    return replace(series, xy=xy, scores=scores, filled=filled)


def mirror_groups(skeleton: Skeleton) -> list[NDArray[np.int64]]:
    """Return the keypoint pairs that change sides together, each ``(pairs, 2)``: the upper body's and the lower's."""
    upper = [pair for pair in skeleton.flip_pairs if pair[0] in skeleton.upper_body]
    lower = [pair for pair in skeleton.flip_pairs if pair[0] not in skeleton.upper_body]
    return [
        np.array([(skeleton.index(a), skeleton.index(b)) for a, b in pairs], dtype=np.int64)
        for pairs in (upper, lower)
        if pairs
    ]


def find_swaps(
    series: TrackSeries, pairs: NDArray[np.int64], *, noise: float = 0.03, rarity: float = 8.0, max_gap_s: float = 0.5
) -> Mask:
    """Return ``(rows,)``: rows in which the ``pairs`` are exchanged.

    Of all ways to exchange or keep each row, the one with the smoothest motion is taken (Viterbi over pairs of rows;
    the cost is the change of velocity, so limbs may cross). Exchanges are rare: each costs ``rarity``, each exchanged
    row a little, so when a whole track is on the wrong side nothing is changed.

    Args:
        series: one track.
        pairs: ``(pairs, 2)`` positions of left and right keypoints that change together.
        noise: usual deviation from even motion in body sizes; larger ones count like three times this.
        rarity: cost of a change from kept to exchanged or back, in squared deviations a pair.
        max_gap_s: runs are separate beyond longer pauses.
    """
    swapped = np.zeros(len(series), dtype=bool)
    for rows in segments(series.times_s, max_gap_s):
        if rows.stop - rows.start >= 3:
            part = series[rows]
            costs = _bend_costs(part, pairs, noise * series.size)
            swapped[rows] = _cheapest(costs, rarity * len(pairs))
    return swapped


def repair_swaps(
    series: TrackSeries, *, noise: float = 0.03, rarity: float = 8.0, max_gap_s: float = 0.5
) -> TrackSeries:
    """Return ``series`` with exchanged rows put back, by group of ``mirror_groups``; see ``find_swaps``."""
    xy, scores = series.xy.copy(), series.scores.copy()
    for pairs in mirror_groups(series.skeleton):
        rows = np.flatnonzero(find_swaps(series, pairs, noise=noise, rarity=rarity, max_gap_s=max_gap_s))
        for left, right in pairs.tolist():
            both = np.ix_(rows, [left, right])
            xy[both], scores[both] = xy[both][:, ::-1].copy(), scores[both][:, ::-1].copy()
    return replace(series, xy=xy, scores=scores)


def _bend_costs(series: TrackSeries, pairs: NDArray[np.int64], noise: float) -> Floats:
    """Cost of each triple of neighbouring rows, ``(rows - 2, 2, 2, 2)``: which of the three are exchanged."""
    kept = series.xy[:, pairs]
    sides = np.stack([kept, kept[:, :, ::-1]])
    sure = np.minimum(series.scores[:, pairs[:, 0]], series.scores[:, pairs[:, 1]])
    steps = np.diff(series.times_s)
    ratio = (steps[1:] / steps[:-1])[:, None, None, None]
    costs = np.zeros((len(series) - 2, 2, 2, 2))
    for a, b, c in np.ndindex(2, 2, 2):
        ahead = sides[b, 1:-1] + ratio * (sides[b, 1:-1] - sides[a, :-2])
        squared = ((sides[c, 2:] - ahead) ** 2).sum(axis=(-1, -2)) / noise**2
        costs[:, a, b, c] = (np.minimum(squared, 9.0) * sure[2:]).sum(axis=-1)
    return costs


def _cheapest(costs: Floats, rarity: float) -> Mask:
    """Viterbi over (state of one row, state of the next); ties and whole-track exchanges go to *kept*."""
    changes: Sequence[Sequence[float]] = [[0.0, rarity], [rarity, 0.0]]
    change = np.array(changes)
    stay = np.array([0.0, 0.05 * rarity])
    total = change + stay[:, None] + stay[None, :]
    back = np.zeros((len(costs), 2, 2), dtype=np.int64)
    for step, cost in enumerate(costs):
        options = total[:, :, None] + cost + change[None] + stay[None, None, :]
        back[step] = options.argmin(axis=0)
        total = options.min(axis=0)
    second, last = np.unravel_index(int(total.argmin()), (2, 2))
    states = [int(last), int(second)]
    for step in range(len(costs) - 1, -1, -1):
        states.append(int(back[step, states[-1], states[-2]]))
    return np.array(states[::-1], dtype=bool)
