"""Savitzky-Golay smoothing and derivatives: a polynomial fitted to the samples round each moment.

With even timestamps and equal weights this is Savitzky and Golay (1964); with others it is the same fit by weighted
least squares, so variable frame rates and confidences need no resampling.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RIDGE = 1e-10
"""Keeps a fit solvable where a window has fewer samples than coefficients; far below what a pixel can show."""


def fit_derivatives(values: Floats, weights: Floats, times_s: Floats, *, window_s: float, order: int = 3) -> Floats:
    """Return value, first and second derivative of every channel at every time: ``(3, rows, channels)``.

    Args:
        values: ``(rows, channels)`` anything.
        weights: ``(rows, channels)`` positive.
        times_s: ``(rows,)`` increasing.
        window_s: length of the window in seconds, centred; cut off at the ends.
        order: degree of the polynomial, lowered where a window has too few samples.
    """
    rows, channels = values.shape
    result = np.zeros((3, rows, channels))
    half = window_s / 2 * (1 + 1e-9)
    first = np.searchsorted(times_s, times_s - half, side="left")
    last = np.searchsorted(times_s, times_s + half, side="right")
    for count in np.unique(last - first).tolist():
        chosen = np.flatnonzero(last - first == count)
        window = first[chosen, None] + np.arange(count)
        offsets = (times_s[window] - times_s[chosen, None]) / half
        degree = min(order, count - 1)
        fitted = _fit(offsets, values[window], weights[window], degree)
        for derivative in range(min(degree, 2) + 1):
            result[derivative, chosen] = fitted[:, :, derivative] * math.factorial(derivative) / half**derivative
    return result


def _fit(offsets: Floats, values: Floats, weights: Floats, degree: int) -> Floats:
    """Fit every window: offsets ``(windows, samples)``, values ``(windows, samples, channels)`` → coefficients."""
    powers = offsets[..., None] ** np.arange(2 * degree + 1)
    moments = np.einsum("wsc,wsp->wcp", weights, powers)
    mixed = np.einsum("wsc,wsp->wcp", weights * values, powers[..., : degree + 1])
    position = np.arange(degree + 1)
    matrix = moments[..., position[:, None] + position]
    matrix = matrix + _RIDGE * moments[..., :1, None] * np.eye(degree + 1)
    return np.asarray(np.linalg.solve(matrix, mixed[..., None])[..., 0])


def smooth_savitzky_golay(xy: Floats, weights: Floats, times_s: Floats, *, window_s: float, order: int = 3) -> Floats:
    """Return ``(rows, keypoints, 2)`` smoothed positions; ``weights`` is ``(rows, keypoints)``."""
    flat = xy.reshape(len(xy), -1)
    both = np.repeat(weights, 2, axis=1)
    fitted = fit_derivatives(flat, both, times_s, window_s=window_s, order=order)[0]
    return np.asarray(fitted.reshape(xy.shape))
