"""What a keypoint's score is worth: from heatmap peaks to the probability that the keypoint is right.

Right means within the OKS 0.5 tolerance of the label: ``exp(-d^2 / (2 * area * (2 * sigma)^2)) >= 0.5``.

A heatmap's peak is not a probability, and 0.5 means something else for an ankle than for a nose. One logistic curve a
keypoint (Platt 1999) is fitted to (score, right) pairs, held to the curve of all keypoints together by as much as
``PRIOR_PAIRS`` pairs are worth, so a rare keypoint gets a sensible curve too. Slopes are never negative: a higher
score never means a lower probability.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.metrics.table import keypoint_similarity

Floats = NDArray[np.float64]

RIGHT_OKS = 0.5
"""A keypoint at least this similar to its label is right."""

PRIOR_PAIRS = 20.0
"""How many pairs the curve of all keypoints weighs against a keypoint's own."""

SCHEMA = "vitpose.calibration/1"

_BINS = 15
_STEPS = 100
_FLAT = 1e-6
_LOOSE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A logistic curve a keypoint: ``p = 1 / (1 + exp(-(slope * score + intercept)))``.

    Attributes:
        keypoints: names, in the order of the scores.
        slopes: not negative.
        intercepts: log odds at score 0.
        pairs: how many labelled keypoints each curve rests on.
    """

    keypoints: tuple[str, ...]
    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]
    pairs: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse curves that do not fit the keypoints.

        Raises:
            InputError: lengths differ, a number is not finite, or a slope is negative.
        """
        if not len(self.keypoints) == len(self.slopes) == len(self.intercepts) == len(self.pairs):
            raise InputError("calibration: keypoints, slopes, intercepts and pairs must be equally long")
        if not np.isfinite([*self.slopes, *self.intercepts]).all() or min(self.slopes, default=0.0) < 0:
            raise InputError("calibration: slopes must be finite and not negative, intercepts finite")

    def apply(self, scores: ArrayLike) -> Floats:
        """Return the probability that each keypoint is right.

        Args:
            scores: ``(..., keypoints)`` heatmap peaks.

        Raises:
            UsageError: another number of keypoints.
        """
        array = np.asarray(scores, dtype=np.float64)
        if array.shape[-1:] != (len(self.keypoints),):
            raise UsageError(f"scores {array.shape} do not fit a calibration of {len(self.keypoints)} keypoints")
        return _sigmoid(np.array(self.slopes) * array + np.array(self.intercepts))

    def thresholds(self, probability: float) -> NDArray[np.float32]:
        """Return the score at which each keypoint is right with ``probability``, for ``Poses.threshold``.

        A keypoint that never reaches it gets infinity, one that is always above it minus infinity.
        """
        if not 0 < probability < 1:
            raise UsageError(f"the probability must lie between 0 and 1, not {probability}")
        wanted = np.log(probability / (1 - probability)) - np.array(self.intercepts)
        slopes = np.array(self.slopes)
        sloped = slopes > _FLAT
        level = np.divide(wanted, slopes, out=np.where(wanted > 0, np.inf, -np.inf), where=sloped)
        return np.asarray(level, dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a checkpoint's metadata."""
        return {
            "schema": SCHEMA,
            "keypoints": list(self.keypoints),
            "slopes": list(self.slopes),
            "intercepts": list(self.intercepts),
            "pairs": list(self.pairs),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Calibration":
        """Read what ``to_dict`` wrote.

        Raises:
            InputError: another schema or wrong fields.
        """
        if plain.get("schema") != SCHEMA:
            raise InputError(f"calibration: schema is {plain.get('schema')!r}, this version reads {SCHEMA!r}")
        try:
            return cls(
                keypoints=tuple(map(str, plain["keypoints"])),
                slopes=tuple(map(float, plain["slopes"])),
                intercepts=tuple(map(float, plain["intercepts"])),
                pairs=tuple(map(int, plain["pairs"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"calibration: not valid: {error!r}") from error


@dataclass(frozen=True, eq=False, slots=True)
class Reliability:
    """Said against done: how often points with about the same probability are right.

    Attributes:
        said: ``(bins,)`` mean probability.
        done: ``(bins,)`` share that is right.
        counts: ``(bins,)`` points; empty bins are left out.
    """

    said: Floats
    done: Floats
    counts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean gap between said and done over all points; NaN without any."""
        total = self.counts.sum()
        return float((np.abs(self.said - self.done) * self.counts).sum() / total) if total else float("nan")


def right_keypoints(xy: ArrayLike, truth: ArrayLike, areas: ArrayLike, sigmas: ArrayLike) -> NDArray[np.bool_]:
    """Return ``(people, keypoints)``: the point is within the OKS 0.5 tolerance of the label.

    Args:
        xy: ``(people, keypoints, 2)`` pixels.
        truth: ``(people, keypoints, 2)`` pixels.
        areas: ``(people,)`` square pixels.
        sigmas: ``(keypoints,)`` OKS constants.
    """
    squared = ((np.asarray(xy, np.float64) - np.asarray(truth, np.float64)) ** 2).sum(axis=-1)
    return keypoint_similarity(squared, np.asarray(areas, np.float64), np.asarray(sigmas, np.float64)) >= RIGHT_OKS


def fit_calibration(
    scores: ArrayLike, right: ArrayLike, counted: ArrayLike, *, keypoints: Sequence[str]
) -> Calibration:
    """Fit one curve a keypoint.

    Args:
        scores: ``(people, keypoints)`` heatmap peaks.
        right: ``(people, keypoints)`` from ``right_keypoints``.
        counted: ``(people, keypoints)`` mask of labelled points.
        keypoints: names.

    Raises:
        InputError: no labelled point at all.
        UsageError: the shapes differ.
    """
    peaks, hits, mask = np.asarray(scores, np.float64), np.asarray(right, bool), np.asarray(counted, bool)
    if not peaks.shape == hits.shape == mask.shape or peaks.shape[1:] != (len(keypoints),):
        raise UsageError(f"scores {peaks.shape}, right {hits.shape}, mask {mask.shape} and names do not fit together")
    if not mask.any():
        raise InputError("a calibration needs labelled keypoints, and there are none")
    # All pairs together are held to "score = log odds" just enough to stay finite when everything is right or wrong.
    shared = _fit(peaks[mask], hits[mask], np.array([0.0, 1.0]), _LOOSE * np.eye(2))
    # A keypoint's curve is held to the shared one as firmly as PRIOR_PAIRS typical pairs would hold it.
    stiffness = _curvature(peaks[mask], shared) * PRIOR_PAIRS / mask.sum() + _LOOSE * np.eye(2)
    curves = [_fit(peaks[own, k], hits[own, k], shared, stiffness) for k, own in enumerate(mask.T)]
    return Calibration(
        keypoints=tuple(keypoints),
        slopes=tuple(float(curve[1]) for curve in curves),
        intercepts=tuple(float(curve[0]) for curve in curves),
        pairs=tuple(int(own.sum()) for own in mask.T),
    )


def reliability(said: ArrayLike, right: ArrayLike, *, bins: int = _BINS, equal_mass: bool = True) -> Reliability:
    """Return the reliability curve of probabilities.

    Args:
        said: ``(points,)`` probabilities.
        right: ``(points,)`` what was right.
        bins: how many.
        equal_mass: bins with equally many points (adaptive), or equally wide ones from 0 to 1.
    """
    claims, truth = np.asarray(said, np.float64).ravel(), np.asarray(right, np.float64).ravel()
    if equal_mass:
        order = np.argsort(claims, kind="stable")
        place = np.empty(len(claims), dtype=np.int64)
        place[order] = np.arange(len(claims)) * bins // max(len(claims), 1)
    else:
        place = np.clip((claims * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    there = counts > 0
    sums = np.bincount(place, claims, bins)[there], np.bincount(place, truth, bins)[there]
    return Reliability(sums[0] / counts[there], sums[1] / counts[there], counts[there].astype(np.int64))


def keypoint_error(said: ArrayLike, right: ArrayLike, counted: ArrayLike, *, bins: int = _BINS) -> float:
    """Return the expected calibration error of each keypoint (equal-mass bins), averaged over labelled points.

    The error over all keypoints together hides a model that is too sure of ankles and too modest about noses.

    Args:
        said: ``(people, keypoints)`` probabilities.
        right: ``(people, keypoints)``.
        counted: ``(people, keypoints)`` mask.
        bins: bins a keypoint.
    """
    claims, truth, mask = np.asarray(said, np.float64), np.asarray(right, bool), np.asarray(counted, bool)
    total = sum(
        reliability(claims[own, k], truth[own, k], bins=bins).error * own.sum()
        for k, own in enumerate(mask.T)
        if own.any()
    )
    return float(total / mask.sum()) if mask.any() else float("nan")


def _sigmoid(values: Floats) -> Floats:
    result: Floats = 0.5 * (1 + np.tanh(values / 2))
    return result


def _curvature(scores: Floats, curve: Floats) -> Floats:
    """Return the ``(2, 2)`` second derivatives of the misfit by intercept and slope."""
    spread = _sigmoid(curve[0] + curve[1] * scores)
    weight = spread * (1 - spread)
    mixed = (weight * scores).sum()
    return np.array([[weight.sum(), mixed], [mixed, (weight * scores**2).sum()]])


def _fit(scores: Floats, right: NDArray[np.bool_], prior: Floats, stiffness: Floats) -> Floats:
    """Return intercept and slope: penalised logistic regression by damped Newton steps, slope kept above zero."""
    curve = prior.copy()
    loss = _loss(scores, right, curve, prior, stiffness)
    for _ in range(_STEPS):
        probability = _sigmoid(curve[0] + curve[1] * scores)
        gap = probability - right
        gradient = np.array([gap.sum(), (gap * scores).sum()]) + stiffness @ (curve - prior)
        hessian = _curvature(scores, curve) + stiffness
        step: Floats = np.asarray(np.linalg.solve(hessian, gradient), dtype=np.float64)
        if curve[1] <= 0 and step[1] > 0:
            # At the bound and wanting to cross it: move along the bound.
            step = np.array([gradient[0] / hessian[0, 0], 0.0])
        curve, loss, moved = _line_search(scores, right, (curve, step, loss), (prior, stiffness))
        if moved < 1e-9:
            break
    return curve


def _line_search(
    scores: Floats, right: NDArray[np.bool_], state: tuple[Floats, Floats, float], prior: tuple[Floats, Floats]
) -> tuple[Floats, float, float]:
    """Halve the step until the loss falls; returns the new curve, its loss and how far it moved."""
    curve, step, loss = state
    length = 1.0
    while length > 1e-8:
        tried = curve - length * step
        tried[1] = max(tried[1], 0.0)
        new = _loss(scores, right, tried, *prior)
        if new <= loss:
            return tried, new, float(np.abs(tried - curve).max())
        length /= 2
    return curve, loss, 0.0


def _loss(scores: Floats, right: NDArray[np.bool_], curve: Floats, prior: Floats, stiffness: Floats) -> float:
    odds = curve[0] + curve[1] * scores
    misfit = np.logaddexp(0, np.where(right, -odds, odds)).sum()
    return float(misfit + 0.5 * (curve - prior) @ stiffness @ (curve - prior))
