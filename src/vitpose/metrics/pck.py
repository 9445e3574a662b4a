"""Distances and what is counted from them: PCK, PCKh, AUC, EPE, NME, all a keypoint and with masks.

A point is right when its distance over the person's scale is at most the threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitpose.core.errors import UsageError

Floats = NDArray[np.float64]

HEAD_SHARE = 0.6
"""MPII: the head size is this share of the head box's diagonal."""

MPII_LEFT_OUT = (6, 7)
"""MPII: pelvis and thorax, which the PCKh mean leaves out."""

_AUC_STEPS = 20


@dataclass(frozen=True, eq=False, slots=True)
class PerKeypoint:
    """One number a keypoint and how many labelled points it rests on.

    Attributes:
        values: ``(keypoints,)`` NaN where no point is labelled.
        counts: ``(keypoints,)`` labelled points.
    """

    values: Floats
    counts: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean over keypoints that have labelled points; NaN without any."""
        there = self.values[self.counts > 0]
        return float(there.mean()) if there.size else float("nan")

    @property
    def point_mean(self) -> float:
        """Mean over all labelled points: keypoints that are labelled more often weigh more."""
        total = self.counts.sum()
        return float(np.nansum(self.values * self.counts) / total) if total else float("nan")

    def only(self, keypoints: Sequence[int] | NDArray[np.integer]) -> "PerKeypoint":
        """Return the numbers of some keypoints, in that order."""
        chosen = np.asarray(keypoints, dtype=np.int64)
        return PerKeypoint(self.values[chosen], self.counts[chosen])


def distances(xy: ArrayLike, truth: ArrayLike, counted: ArrayLike) -> Floats:
    """Return ``(people, keypoints)`` distances in pixels, NaN where a point does not count.

    Args:
        xy: ``(people, keypoints, 2)`` estimated points.
        truth: ``(people, keypoints, 2)`` labelled points, same frame.
        counted: ``(people, keypoints)`` which labels count.

    Raises:
        UsageError: the shapes differ.
    """
    found, labels, mask = np.asarray(xy, np.float64), np.asarray(truth, np.float64), np.asarray(counted, bool)
    if found.shape != labels.shape or found.shape[:-1] != mask.shape:
        raise UsageError(f"points {found.shape}, labels {labels.shape} and mask {mask.shape} do not fit together")
    return np.where(mask, np.linalg.norm(found - labels, axis=-1), np.nan)


def pck(xy: ArrayLike, truth: ArrayLike, counted: ArrayLike, *, scales: ArrayLike, threshold: float) -> PerKeypoint:
    """Return the share of right keypoints (PCK).

    Args:
        xy: ``(people, keypoints, 2)`` pixels.
        truth: ``(people, keypoints, 2)`` pixels.
        counted: ``(people, keypoints)`` mask.
        scales: ``(people,)`` or one number, pixels: ``box_sides`` (threshold 0.2), ``pair_distances`` of the torso
            (0.2), ``head_sizes`` (0.5). A person whose scale is NaN or 0 does not count.
        threshold: largest distance over scale that is right.
    """
    relative = _relative(xy, truth, counted, scales)
    return _mean((relative <= threshold).astype(np.float64), ~np.isnan(relative))


def pckh(
    xy: ArrayLike,
    truth: ArrayLike,
    counted: ArrayLike,
    *,
    head_boxes: ArrayLike,
    threshold: float = 0.5,
    left_out: Sequence[int] = MPII_LEFT_OUT,
) -> PerKeypoint:
    """Return PCKh of MPII; its headline number is ``point_mean``.

    Both sides must be in one frame: MPII labels are 1-based, so predictions in this package's pixels get +1, or the
    labels -1.

    Args:
        xy: ``(people, 16, 2)`` pixels.
        truth: ``(people, 16, 2)`` pixels.
        counted: ``(people, 16)`` mask of labelled points.
        head_boxes: ``(people, 4)`` xyxy.
        threshold: 0.5, or 0.1 for the strict variant.
        left_out: keypoints that never count.
    """
    mask = np.array(counted, dtype=bool)
    mask[:, list(left_out)] = False
    return pck(xy, truth, mask, scales=head_sizes(head_boxes), threshold=threshold)


def auc(xy: ArrayLike, truth: ArrayLike, counted: ArrayLike, *, scales: ArrayLike = 30.0) -> PerKeypoint:
    """Return the area under the PCK curve: the mean of PCK at 0, 1/20 ... 19/20 of ``scales`` (30 px for hands)."""
    relative = _relative(xy, truth, counted, scales)
    steps = np.arange(_AUC_STEPS) / _AUC_STEPS
    right = np.zeros(relative.shape)
    for step in steps:
        right += relative <= step
    return _mean(right / _AUC_STEPS, ~np.isnan(relative))


def epe(xy: ArrayLike, truth: ArrayLike, counted: ArrayLike) -> PerKeypoint:
    """Return the mean distance in pixels (end-point error)."""
    apart = distances(xy, truth, counted)
    return _mean(np.nan_to_num(apart), ~np.isnan(apart))


def nme(xy: ArrayLike, truth: ArrayLike, counted: ArrayLike, *, scales: ArrayLike) -> PerKeypoint:
    """Return the mean distance over a scale (normalised mean error), for faces usually between the outer eye corners.

    Args:
        xy: ``(people, keypoints, 2)`` pixels.
        truth: ``(people, keypoints, 2)`` pixels.
        counted: ``(people, keypoints)`` mask.
        scales: ``(people,)`` pixels: ``pair_distances`` of 36 and 45 (300W), 60 and 72 (WFLW), 8 and 9 (COFW),
            0 and 1 (Horse-10), or ``box_diagonals`` (AFLW).
    """
    relative = _relative(xy, truth, counted, scales)
    return _mean(np.nan_to_num(relative), ~np.isnan(relative))


def pck_curve(
    xy: ArrayLike, truth: ArrayLike, counted: ArrayLike, *, scales: ArrayLike, thresholds: ArrayLike
) -> Floats:
    """Return PCK over all labelled points at each threshold, ``(thresholds,)``."""
    relative = _relative(xy, truth, counted, scales)
    there = np.sort(relative[~np.isnan(relative)])
    limits = np.asarray(thresholds, dtype=np.float64)
    if not there.size:
        return np.full(limits.shape, np.nan)
    return np.searchsorted(there, limits, side="right") / there.size


def head_sizes(head_boxes: ArrayLike) -> Floats:
    """Return the MPII head sizes of ``(people, 4)`` xyxy head boxes: 0.6 of the diagonal."""
    return HEAD_SHARE * box_diagonals(head_boxes)


def box_diagonals(boxes: ArrayLike) -> Floats:
    """Return the diagonals of ``(people, 4)`` xyxy boxes in pixels."""
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    diagonals: Floats = np.linalg.norm(array[:, 2:] - array[:, :2], axis=1)
    return diagonals


def box_sides(boxes: ArrayLike) -> Floats:
    """Return the longer sides of ``(people, 4)`` xyxy boxes in pixels."""
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sides: Floats = (array[:, 2:] - array[:, :2]).max(axis=1)
    return sides


def pair_distances(truth: ArrayLike, counted: ArrayLike, first: int, second: int) -> Floats:
    """Return the distance between two labelled keypoints of each person, NaN where either is not labelled.

    The torso of Leeds Sports Pose is right hip to left shoulder (PCK at 0.2 of it); JHMDB's torso is the pair 4, 5.
    """
    points, mask = np.asarray(truth, dtype=np.float64), np.asarray(counted, dtype=bool)
    apart = np.linalg.norm(points[:, first] - points[:, second], axis=-1)
    return np.where(mask[:, first] & mask[:, second], apart, np.nan)


def grouped(values: PerKeypoint, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return the plain mean over the keypoints of each group, as MPII tables do for left and right."""
    return {name: values.only(members).mean for name, members in groups.items()}


def _relative(xy: ArrayLike, truth: ArrayLike, counted: ArrayLike, scales: ArrayLike) -> Floats:
    apart = distances(xy, truth, counted)
    size = np.broadcast_to(np.asarray(scales, dtype=np.float64), len(apart))
    usable = np.where(size > 0, size, np.nan)
    relative: Floats = apart / usable[:, None]
    return relative


def _mean(values: Floats, mask: NDArray[np.bool_]) -> PerKeypoint:
    counts = mask.sum(axis=0)
    sums = np.where(mask, values, 0.0).sum(axis=0)
    means = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return PerKeypoint(means, counts.astype(np.int64))
