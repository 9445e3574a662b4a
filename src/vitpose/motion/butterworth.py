"""Zero-phase Butterworth smoothing for real timestamps and confidences.

A second-order Butterworth low-pass run forwards and backwards passes a frequency f with gain 1 / (1 + (f / cutoff)^4).
The curve z that minimises  sum w (x - z)^2 dt + lambda * integral z''^2 dt  passes it with gain
1 / (1 + lambda * (2 pi f)^4): the same filter, with lambda = (2 pi cutoff)^-4 (Whittaker 1923; Craven and Wahba 1979).
Written as a least-squares problem it takes any timestamps, a weight for every sample, and needs no padding at the ends.
"""

import numpy as np
from numpy.typing import NDArray

from vitpose.core.extras import require

Floats = NDArray[np.float64]


def smooth_butterworth(xy: Floats, weights: Floats, times_s: Floats, cutoff_hz: float) -> Floats:
    """Return ``(rows, keypoints, 2)`` smoothed positions.

    Args:
        xy: ``(rows, keypoints, 2)`` pixels.
        weights: ``(rows, keypoints)`` in 0..1; a sample of weight 1 is smoothed by exactly ``cutoff_hz``.
        times_s: ``(rows,)`` increasing.
        cutoff_hz: frequency passed with half the amplitude.
    """
    if len(xy) < 3:
        return np.array(xy, dtype=np.float64)
    linalg = require("scipy.linalg", "video", "smoothing")
    steps = np.diff(times_s)
    width = _sample_widths(steps)
    penalty = _bands(steps, _stiffness(float(np.median(steps)), cutoff_hz))
    result = np.empty(xy.shape, dtype=np.float64)
    for keypoint in range(xy.shape[1]):
        amount = width * weights[:, keypoint]
        bands = penalty.copy()
        bands[2] += amount
        result[:, keypoint] = linalg.solveh_banded(bands, amount[:, None] * xy[:, keypoint])
    return result


def _stiffness(step_s: float, cutoff_hz: float) -> float:
    """Lambda in s^4, with the half-amplitude frequency exact for samples every ``step_s``."""
    angle = min(np.pi * cutoff_hz * step_s, np.pi / 2)
    return float((step_s / (2 * np.sin(angle))) ** 4)


def _sample_widths(steps: Floats) -> Floats:
    """Seconds each sample stands for: half the way to its neighbours, whole at the ends."""
    inner = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([steps[:1], inner, steps[-1:]])


def _bands(steps: Floats, stiffness: float) -> Floats:
    """Upper bands, as ``solveh_banded`` takes them, of the integral of the squared second derivative."""
    before, after = steps[:-1], steps[1:]
    span = before + after
    # Second derivative from three samples at times that need not be even, times the root of the seconds it stands for.
    rows = np.stack([2 / (before * span), -2 / (before * after), 2 / (after * span)]) * np.sqrt(stiffness * span / 2)
    count = len(steps) + 1
    bands = np.zeros((3, count))
    for i in range(3):
        bands[2, i : count - 2 + i] += rows[i] ** 2
    for i in range(2):
        bands[1, 1 + i : count - 1 + i] += rows[i] * rows[i + 1]
    bands[0, 2:] += rows[0] * rows[2]
    return bands
