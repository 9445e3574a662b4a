"""Smoothing of whole tracks: any method over each run of rows without a gap, raw values kept beside."""

from dataclasses import replace

import numpy as np

from vitpose.motion.butterworth import smooth_butterworth
from vitpose.motion.kalman import smooth_rts
from vitpose.motion.local_fit import smooth_savitzky_golay
from vitpose.motion.online import make_filter
from vitpose.motion.series import Floats, TrackSeries, confidence_weights, segments
from vitpose.motion.settings import SmoothingSettings


def smooth(series: TrackSeries, settings: SmoothingSettings | None = None) -> TrackSeries:
    """Return ``series`` with smoothed ``xy``; ``raw_xy`` stays.

    Never across a pause longer than ``max_gap_s``, and never across an id change, since a series has one id. Online
    methods run forwards as they would in a live video; the default method here is the zero-phase Butterworth.
    """
    chosen = settings or SmoothingSettings(method="butterworth")
    result = series.xy.copy()
    weights = confidence_weights(series.scores)
    for rows in segments(series.times_s, chosen.max_gap_s):
        result[rows] = smooth_arrays(
            series.xy[rows], weights[rows], series.times_s[rows], settings=chosen, size=series.size
        )
    return replace(series, xy=result)


def smooth_arrays(xy: Floats, weights: Floats, times_s: Floats, *, settings: SmoothingSettings, size: float) -> Floats:
    """Smooth one run of rows.

    Args:
        xy: ``(rows, keypoints, 2)`` pixels.
        weights: ``(rows, keypoints)`` in 0..1, see ``confidence_weights``.
        times_s: ``(rows,)`` increasing.
        settings: method and numbers.
        size: the person's size in pixels.
    """
    method = settings.method
    if method == "none":
        return xy.copy()
    if method == "butterworth":
        return smooth_butterworth(xy, weights, times_s, settings.cutoff_hz)
    if method == "savitzky_golay":
        return smooth_savitzky_golay(xy, weights, times_s, window_s=settings.window_s, order=settings.order)
    if method == "rts":
        variance = (settings.noise * size) ** 2 / weights
        return smooth_rts(xy, variance, times_s, acceleration=settings.acceleration * size, speed=settings.speed * size)
    running = make_filter(settings, size)
    steps = np.diff(times_s, prepend=times_s[:1])
    return np.array([running.step(xy[row], weights[row], float(steps[row])) for row in range(len(xy))]).reshape(
        xy.shape
    )
