"""Gaps: keypoints that were not seen and frames in which the whole person is missing, filled up to a limit."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vitpose.core.extras import require
from vitpose.motion.series import Floats, TrackSeries

Mask = NDArray[np.bool_]


def fill_gaps(
    series: TrackSeries, frame_times_s: Floats, *, max_gap_s: float = 0.5, threshold: float = 0.3
) -> TrackSeries:
    """Return ``series`` with gaps of at most ``max_gap_s`` seconds filled; longer ones stay.

    Positions come from a monotone cubic through the keypoint's good neighbours (PCHIP, Fritsch and Carlson 1980), which
    does not overshoot. Filled positions are marked in ``filled`` and have score 0; nothing is extrapolated.

    Args:
        series: one track.
        frame_times_s: ``(frames,)`` times of all frames of the video, so that missing frames can be put in.
        max_gap_s: longest time between the two good neighbours of a gap.
        threshold: scores below it count as not seen.
    """
    if not len(series):
        return series
    whole = _with_missing_rows(series, np.asarray(frame_times_s, dtype=np.float64), max_gap_s)
    xy, scores, filled = whole.xy.copy(), whole.scores.copy(), whole.filled.copy()
    good = (whole.scores >= threshold) & ~whole.filled & np.isfinite(whole.xy).all(axis=-1)
    for keypoint in range(xy.shape[1]):
        fillable = _fillable(good[:, keypoint], whole.times_s, max_gap_s)
        if fillable.any():
            xy[fillable, keypoint] = _interpolate(whole.times_s, xy[:, keypoint], good[:, keypoint], fillable)
            scores[fillable, keypoint] = 0.0
            filled[fillable, keypoint] = True
    return replace(whole, xy=xy, scores=scores, filled=filled)


def _with_missing_rows(series: TrackSeries, frame_times_s: Floats, max_gap_s: float) -> TrackSeries:
    """Put in a row for every frame inside a short pause; positions are interpolated linearly, to be refined."""
    missing = [
        np.arange(before + 1, after)
        for before, after, gap in zip(series.frames[:-1], series.frames[1:], np.diff(series.times_s), strict=True)
        if after - before > 1 and gap <= max_gap_s
    ]
    if not missing:
        return series
    added = np.concatenate(missing)
    frames = np.concatenate([series.frames, added])
    times = np.concatenate([series.times_s, frame_times_s[added]])
    order = np.argsort(frames, kind="stable")
    rows, keypoints = len(added), series.scores.shape[1]
    flat = series.xy.reshape(len(series), -1)
    linear = np.stack([np.interp(frame_times_s[added], series.times_s, column) for column in flat.T], axis=1)
    return replace(
        series,
        frames=frames[order],
        times_s=times[order],
        xy=np.concatenate([series.xy, linear.reshape(rows, keypoints, 2)])[order],
        raw_xy=np.concatenate([series.raw_xy, np.full((rows, keypoints, 2), np.nan)])[order],
        scores=np.concatenate([series.scores, np.zeros((rows, keypoints))])[order],
        sizes=np.concatenate([series.sizes, np.interp(frame_times_s[added], series.times_s, series.sizes)])[order],
        filled=np.concatenate([series.filled, np.ones((rows, keypoints), dtype=bool)])[order],
    )


def _fillable(good: Mask, times_s: Floats, max_gap_s: float) -> Mask:
    """Which bad samples lie between two good ones no more than ``max_gap_s`` apart."""
    places = np.flatnonzero(good)
    if len(places) < 2:
        return np.zeros(len(good), dtype=bool)
    following = np.searchsorted(places, np.arange(len(good)))
    inside = (following > 0) & (following < len(places)) & ~good
    before = places[np.clip(following - 1, 0, len(places) - 1)]
    after = places[np.clip(following, 0, len(places) - 1)]
    return np.asarray(inside & (times_s[after] - times_s[before] <= max_gap_s))


def _interpolate(times_s: Floats, xy: Floats, good: Mask, wanted: Mask) -> Floats:
    interpolate = require("scipy.interpolate", "video", "filling gaps")
    return np.asarray(interpolate.PchipInterpolator(times_s[good], xy[good])(times_s[wanted]))
