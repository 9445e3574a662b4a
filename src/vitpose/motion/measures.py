"""What is read off curves: ranges of motion, symmetry, speeds, time in a posture, metres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.motion.angles import SURE_DEG, AngleCurve
from vitpose.motion.local_fit import fit_derivatives
from vitpose.motion.series import LEAST_SCORE, TrackSeries, confidence_weights, segments

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Range:
    """Smallest and largest value of an angle, in degrees, with the standard deviation of their difference."""

    low_deg: float
    high_deg: float
    sd_deg: float

    @property
    def extent_deg(self) -> float:
        """The range of motion."""
        return self.high_deg - self.low_deg


def range_of_motion(curve: AngleCurve, *, trim: float = 0.02, max_sd_deg: float = SURE_DEG) -> Range | None:
    """Return the range an angle moves in, or None when it was never known well enough.

    Args:
        curve: the angle.
        trim: share of the values left out at each end, so that one wild frame does not make the range.
        max_sd_deg: values less sure than this are left out.
    """
    sure = curve.sd_deg <= max_sd_deg
    if not sure.any():
        return None
    values, sds = curve.deg[sure], curve.sd_deg[sure]
    low, high = np.quantile(values, [trim, 1 - trim])
    ends = [sds[np.argmin(np.abs(values - end))] for end in (low, high)]
    return Range(float(low), float(high), float(np.hypot(*ends)))


def symmetry_percent(left: float, right: float) -> float:
    """Return the symmetry index of Robinson, Herzog and Nigg (1987) in percent: 0 is equal, positive is more left."""
    total = left + right
    return 0.0 if total == 0 else 200 * (left - right) / total


def side_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names that differ in ``left`` and ``right`` only, left first."""
    known = set(names)
    return [(name, other) for name in names if "left" in name and (other := name.replace("left", "right")) in known]


@dataclass(frozen=True, eq=False, slots=True)
class Speeds:
    """``velocity`` (rows, keypoints, 2), ``speed`` and ``acceleration`` (rows, keypoints), per second, in ``unit``."""

    velocity: Floats
    speed: Floats
    acceleration: Floats
    unit: str


def speeds(
    series: TrackSeries, *, window_s: float = 0.2, max_gap_s: float = 0.5, metres_per_px: float | None = None
) -> Speeds:
    """Return how fast every keypoint moves, in px/s or, with a scale, in m/s; see ``fit_derivatives``."""
    rows, keypoints = series.scores.shape
    velocity, acceleration = np.zeros((rows, keypoints, 2)), np.zeros((rows, keypoints, 2))
    weights = np.repeat(confidence_weights(series.scores), 2, axis=1)
    for part in segments(series.times_s, max_gap_s):
        flat = series.xy[part].reshape(part.stop - part.start, -1)
        fitted = fit_derivatives(flat, weights[part], series.times_s[part], window_s=window_s, order=2)
        velocity[part], acceleration[part] = fitted[1].reshape(-1, keypoints, 2), fitted[2].reshape(-1, keypoints, 2)
    scale = metres_per_px or 1.0
    return Speeds(
        velocity * scale,
        np.linalg.norm(velocity, axis=-1) * scale,
        np.linalg.norm(acceleration, axis=-1) * scale,
        "px" if metres_per_px is None else "m",
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """Metres a pixel, with its standard deviation. Holds in the plane the known length lies in and no other."""

    metres_per_px: float
    sd: float


def scale_from_length(
    series: TrackSeries, first: str, second: str, length_m: float, *, threshold: float = 0.3
) -> Scale:
    """Return the scale at which two keypoints are ``length_m`` metres apart.

    The largest distances are used (their 95th percentile): a limb turned away from the picture plane looks shorter,
    never longer.

    Raises:
        InputError: the length is not positive, or the two keypoints are never seen together.
        UsageError: the skeleton has no such keypoint.
    """
    if not length_m > 0:
        raise InputError(f"the known length is {length_m} m: give a length above 0")
    places = [series.skeleton.index(first), series.skeleton.index(second)]
    seen = (series.scores[:, places] >= threshold).all(axis=1)
    distance = np.linalg.norm(series.xy[seen, places[0]] - series.xy[seen, places[1]], axis=-1)
    if not len(distance) or not np.quantile(distance, 0.95) > 0:
        raise InputError(
            f"track {series.track_id}: {first} and {second} are never seen together, so nothing gives the scale"
        )
    longest = float(np.quantile(distance, 0.95))
    sigma = series.skeleton.sigma_array[places]
    error = (
        float(np.hypot(*sigma))
        / np.sqrt(2)
        * series.size
        / max(float(series.scores[seen][:, places].mean()), LEAST_SCORE)
    )
    return Scale(length_m / longest, length_m / longest * error / longest)


def seconds_by_row(times_s: Floats, *, max_gap_s: float = 0.5) -> Floats:
    """Return the time each row stands for, halfway to its neighbours; pauses longer than ``max_gap_s`` are nobody's."""
    steps = np.diff(times_s)
    steps = np.where(steps <= max_gap_s, steps, 0.0)
    found: Floats = np.concatenate([[0.0], steps]) / 2 + np.concatenate([steps, [0.0]]) / 2
    return found


def time_in_posture(
    curves: Sequence[AngleCurve], limits: Mapping[str, tuple[float, float]], *, max_gap_s: float = 0.5
) -> tuple[float, float]:
    """Return the seconds in which all named angles are surely within their limits, and the seconds seen at all.

    Each row stands for the time halfway to its neighbours; pauses longer than ``max_gap_s`` count as not seen.

    Args:
        curves: the angles of one person.
        limits: lowest and highest degrees by the angle's name.
        max_gap_s: longest time a row may stand for.

    Raises:
        InputError: a limit names an angle that is not among the curves.
    """
    by_name = {curve.spec.name: curve for curve in curves}
    for name in limits:
        if name not in by_name:
            raise InputError(f"the posture names the angle {name!r}, which is not among {', '.join(sorted(by_name))}")
    if not curves:
        return 0.0, 0.0
    share = seconds_by_row(curves[0].times_s, max_gap_s=max_gap_s)
    inside = np.ones(len(share), dtype=bool)
    for name, (low, high) in limits.items():
        curve = by_name[name]
        inside &= (curve.deg >= low) & (curve.deg <= high) & (curve.sd_deg <= SURE_DEG)
    return float(share[inside].sum()), float(share.sum())
