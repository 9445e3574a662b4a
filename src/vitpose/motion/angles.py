"""Angles over time, how sure they are, and how fast they change."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitpose.motion.angle_list import AngleSpec
from vitpose.motion.local_fit import fit_derivatives
from vitpose.motion.series import LEAST_SCORE, TrackSeries, segments

Floats = NDArray[np.float64]

SURE_DEG = 45.0
"""Standard deviation above which an angle says nothing: a direction at random has 104."""

PERSON_SHARE = 0.53
"""Mean share of the box's area that a person fills, in COCO's training labels."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AngleCurve:
    """One angle of one person over time.

    Attributes:
        spec: which angle.
        times_s: ``(rows,)``.
        deg: ``(rows,)``; a signed angle runs on past 180 instead of jumping.
        sd_deg: ``(rows,)`` standard deviation from the keypoints' uncertainty.
        velocity_deg_s: ``(rows,)`` degrees a second.
        acceleration_deg_s2: ``(rows,)`` degrees a second squared.
    """

    spec: AngleSpec
    times_s: Floats
    deg: Floats
    sd_deg: Floats
    velocity_deg_s: Floats
    acceleration_deg_s2: Floats


def position_sd(series: TrackSeries) -> Floats:
    """Return ``(rows, keypoints)`` standard deviation of each coordinate in pixels.

    COCO's sigma times the root of the person's area is how far annotators are apart, both coordinates together (COCO
    keypoint evaluation); a person fills about half of the box. That is what a keypoint of score 1 is taken to be worth,
    and score s is 1 / s times as much error. It is a model, not a calibration: scores are peaks of heatmaps. Smoothing
    makes the curve better than this says.
    """
    scale = series.skeleton.sigma_array * series.sizes[:, None] * np.sqrt(PERSON_SHARE / 2)
    return np.asarray(scale / np.clip(series.scores, LEAST_SCORE, 1.0))


def angle_curves(
    series: TrackSeries, specs: Sequence[AngleSpec], *, window_s: float = 0.2, max_gap_s: float = 0.5
) -> list[AngleCurve]:
    """Return the curve of every angle.

    Args:
        series: one track, smoothed or not.
        specs: which angles, see ``load_angles``.
        window_s: length of the window in which velocity and acceleration are fitted, see ``fit_derivatives``.
        max_gap_s: nothing is fitted across longer pauses.
    """
    deviation = position_sd(series)
    curves = []
    for spec in specs:
        places = [series.skeleton.index(name) for name in spec.keypoints]
        points, sds = series.xy[:, places], deviation[:, places]
        deg, sd = angle_deg(points, signed=spec.signed), angle_sd_deg(points, sds)
        velocity, acceleration = np.zeros_like(deg), np.zeros_like(deg)
        for rows in segments(series.times_s, max_gap_s):
            if spec.signed:
                deg[rows] = _unwrapped(deg[rows], sd[rows] <= SURE_DEG)
            weights = 1 / np.maximum(sd[rows], 1e-3) ** 2
            fitted = fit_derivatives(
                deg[rows, None], weights[:, None], series.times_s[rows], window_s=window_s, order=2
            )
            velocity[rows], acceleration[rows] = fitted[1, :, 0], fitted[2, :, 0]
        curves.append(
            AngleCurve(
                spec=spec,
                times_s=series.times_s,
                deg=spec.sign * (deg - spec.zero_deg),
                sd_deg=sd,
                velocity_deg_s=spec.sign * velocity,
                acceleration_deg_s2=spec.sign * acceleration,
            )
        )
    return curves


def _unwrapped(deg: Floats, sure: NDArray[np.bool_]) -> Floats:
    """Take whole turns out of steps between neighbouring rows; through rows without a direction nothing is carried on.

    Somebody who turns round passes through such rows, and stands no whole turn away afterwards.
    """
    found = deg.copy()
    starts = np.flatnonzero(np.diff(sure.astype(np.int8), prepend=0) == 1)
    stops = np.flatnonzero(np.diff(sure.astype(np.int8), append=0) == -1) + 1
    for start, stop in zip(starts, stops, strict=True):
        found[start:stop] = np.rad2deg(np.unwrap(np.deg2rad(deg[start:stop])))
    return found


def angle_deg(points: Floats, *, signed: bool = False) -> Floats:
    """Return the angle of ``(..., 3 or 4, 2)`` points in degrees.

    Three points: at the middle one, from the first to the third. Four: from the direction first → second to the
    direction third → fourth. Unsigned 0..180; signed -180..180, positive clockwise as seen in the picture, whose
    y points down. Points that coincide have no direction: 0.
    """
    first, second = _directions(points)
    cross = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    dot = (first * second).sum(axis=-1)
    angle = np.rad2deg(np.arctan2(cross, dot))
    return np.asarray(angle if signed else np.abs(angle))


def angle_sd_deg(points: Floats, sds: Floats) -> Floats:
    """Return the standard deviation in degrees of ``angle_deg``, to first order, at most 104 (a direction at random).

    Args:
        points: ``(..., 3 or 4, 2)`` pixels.
        sds: ``(..., 3 or 4)`` standard deviation of each coordinate in pixels.
    """
    first, second = _directions(points)
    squared = [np.maximum((side**2).sum(axis=-1), 1e-12) for side in (first, second)]
    turns = [
        np.stack([-side[..., 1], side[..., 0]], axis=-1) / length[..., None]
        for side, length in zip((first, second), squared, strict=True)
    ]
    if points.shape[-2] == 3:
        gradients = [-turns[0], turns[0] - turns[1], turns[1]]
    else:
        gradients = [turns[0], -turns[0], -turns[1], turns[1]]
    variance = sum((gradient**2).sum(axis=-1) * sds[..., i] ** 2 for i, gradient in enumerate(gradients))
    return np.asarray(np.minimum(np.rad2deg(np.sqrt(variance)), 180 / np.sqrt(3)))


def _directions(points: Floats) -> tuple[Floats, Floats]:
    if points.shape[-2] == 3:
        return points[..., 0, :] - points[..., 1, :], points[..., 2, :] - points[..., 1, :]
    return points[..., 1, :] - points[..., 0, :], points[..., 3, :] - points[..., 2, :]
