"""The constant-velocity Kalman filter for many keypoints at once, forwards (online) and both ways (RTS smoother).

State of each keypoint: position and velocity, x and y with one covariance since their noise is the same. Driven by
white noise acceleration (Bar-Shalom, Li, Kirubarajan 2001, section 6.2.2). Time steps may vary.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Belief:
    """``position`` and ``velocity`` (keypoints, 2) in px and px/s; ``covariance`` (keypoints, 2, 2) of the two."""

    position: Floats
    velocity: Floats
    covariance: Floats


def first_belief(measured: Floats, variance: Floats, speed: float) -> Belief:
    """Start at the first measurement, with no idea of the velocity beyond its usual size.

    Args:
        measured: ``(keypoints, 2)`` pixels.
        variance: ``(keypoints,)`` of the measurement in square pixels.
        speed: standard deviation of velocities in px/s.
    """
    covariance = np.zeros((len(measured), 2, 2))
    covariance[:, 0, 0] = variance
    covariance[:, 1, 1] = speed**2
    return Belief(measured.astype(np.float64), np.zeros_like(measured, dtype=np.float64), covariance)


def predict(belief: Belief, elapsed_s: float, acceleration: float) -> Belief:
    """Carry the belief forward; ``acceleration`` is the noise's root spectral density in px/s^1.5."""
    moved = belief.position + belief.velocity * elapsed_s
    step = np.array([[1.0, elapsed_s], [0.0, 1.0]])
    density = acceleration**2 * np.array([[elapsed_s**3 / 3, elapsed_s**2 / 2], [elapsed_s**2 / 2, elapsed_s]])
    return Belief(moved, belief.velocity, step @ belief.covariance @ step.T + density)


def correct(belief: Belief, measured: Floats, variance: Floats) -> Belief:
    """Take in ``(keypoints, 2)`` measurements with ``(keypoints,)`` variances in square pixels."""
    total = belief.covariance[:, 0, 0] + variance
    gain = belief.covariance[:, :, 0] / total[:, None]
    residual = measured - belief.position
    return Belief(
        belief.position + gain[:, :1] * residual,
        belief.velocity + gain[:, 1:] * residual,
        belief.covariance - gain[:, :, None] * belief.covariance[:, 0][:, None, :],
    )


def smooth_rts(xy: Floats, variance: Floats, times_s: Floats, *, acceleration: float, speed: float) -> Floats:
    """Return ``(rows, keypoints, 2)`` positions that use the measurements before and after: no lag.

    Rauch, Tung and Striebel (1965).

    Args:
        xy: ``(rows, keypoints, 2)`` measured pixels.
        variance: ``(rows, keypoints)`` of each measurement in square pixels.
        times_s: ``(rows,)`` increasing.
        acceleration: see ``predict``.
        speed: see ``first_belief``.
    """
    if not len(xy):
        return np.array(xy, dtype=np.float64)
    filtered = [first_belief(xy[0], variance[0], speed)]
    predicted = [filtered[0]]
    for row in range(1, len(xy)):
        predicted.append(predict(filtered[-1], float(times_s[row] - times_s[row - 1]), acceleration))
        filtered.append(correct(predicted[-1], xy[row], variance[row]))
    result = np.empty(xy.shape, dtype=np.float64)
    state = np.stack([filtered[-1].position, filtered[-1].velocity], axis=1)
    result[-1] = state[:, 0]
    for row in range(len(xy) - 2, -1, -1):
        step = np.array([[1.0, float(times_s[row + 1] - times_s[row])], [0.0, 1.0]])
        now, ahead = filtered[row], predicted[row + 1]
        gain = now.covariance @ step.T @ np.linalg.inv(ahead.covariance)
        before = np.stack([now.position, now.velocity], axis=1)
        state = before + gain @ (state - np.stack([ahead.position, ahead.velocity], axis=1))
        result[row] = state[:, 0]
    return result
