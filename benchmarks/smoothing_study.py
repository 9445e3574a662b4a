"""How much jitter does each smoother take away, how near does it stay to the truth, and how late is it?

Real motion (hand-labelled Penn Action clips, a model's poses of a dancer) gets known noise: white and slowly wandering,
stronger where the score is low, and now and then a keypoint far off. Every method sees the same frames, some of which
are dropped, so that time steps vary. Settings are chosen on one half of the clips, numbers come from the other.

    OMP_NUM_THREADS=1 python benchmarks/smoothing_study.py FOLDER_WITH_annotations_AND_dance
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import write_result
from numpy.typing import NDArray

from vitpose.motion.series import confidence_weights
from vitpose.motion.settings import SmoothingSettings
from vitpose.motion.smooth import smooth_arrays

Floats = NDArray[np.float64]
RATE = 30.0
SHIFTS = np.arange(-3, 7)

CANDIDATES: dict[str, list[SmoothingSettings]] = {
    "none": [SmoothingSettings(method="none")],
    "one_euro": [
        SmoothingSettings(method="one_euro", rest_cutoff_hz=rest, beta=beta, speed_cutoff_hz=speed)
        for rest in (1.0, 1.5, 2.5, 4.0)
        for beta in (2.0, 4.0, 8.0, 16.0)
        for speed in (1.0, 2.0)
    ],
    "kalman": [
        SmoothingSettings(method="kalman", noise=noise, acceleration=acceleration)
        for noise in (0.02,)
        for acceleration in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
    ],
    "butterworth": [
        SmoothingSettings(method="butterworth", cutoff_hz=cutoff) for cutoff in (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    ],
    "savitzky_golay": [
        SmoothingSettings(method="savitzky_golay", window_s=window, order=order)
        for window in (0.25, 0.35, 0.45, 0.6)
        for order in (2, 3)
    ],
    "rts": [
        SmoothingSettings(method="rts", noise=noise, acceleration=acceleration)
        for noise in (0.02,)
        for acceleration in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0)
    ],
}


@dataclass(frozen=True)
class Clip:
    """``whole`` truth of every frame; the rest of the kept frames: positions in body sizes, scores, times."""

    whole: Floats
    frames: NDArray[np.int64]
    truth: Floats
    noisy: Floats
    scores: Floats
    visible: NDArray[np.bool_]
    times_s: Floats


def penn_clips(folder: Path, every: int) -> list[Clip]:
    """Every ``every``-th clip of at least 40 frames."""
    data = np.load(folder / "annotations" / "penn_action_2d.npz")
    ends = np.cumsum(data["lengths"])
    clips = []
    for clip in range(0, len(ends), every):
        rows = slice(int(ends[clip] - data["lengths"][clip]), int(ends[clip]))
        if rows.stop - rows.start >= 40:
            clips.append(noisy_clip(data["xy_x10"][rows] / 10.0, data["visible"][rows] > 0, seed=clip))
    return clips


def dance_clips(folder: Path) -> list[Clip]:
    """Three parts of the dance."""
    data = np.load(folder / "dance" / "labels.npz")
    kept = ~data["is_user"]
    xy = data["kpts"][kept][np.argsort(data["frame"][kept], kind="stable"), :, :2].astype(float)
    good = data["kpts"][kept][np.argsort(data["frame"][kept], kind="stable"), :, 2] > 0
    for keypoint in range(xy.shape[1]):
        for axis in range(2):
            where = good[:, keypoint]
            xy[:, keypoint, axis] = np.interp(np.arange(len(xy)), np.flatnonzero(where), xy[where, keypoint, axis])
    return [noisy_clip(xy[start : start + 150], good[start : start + 150], seed=start) for start in (0, 150, 300)]


def noisy_clip(xy: Floats, visible: NDArray[np.bool_], seed: int) -> Clip:
    """Add the noise, drop one frame in twenty."""
    rng = np.random.default_rng([11, seed])
    extent = np.ptp(np.where(visible[..., None], xy, np.nan)[visible.any(axis=1)], axis=1) if visible.all() else None
    if extent is None:
        masked = np.where(visible[..., None], xy, np.nan)[visible.any(axis=1)]
        extent = np.nanmax(masked, axis=1) - np.nanmin(masked, axis=1)
    truth = xy / max(float(np.median(np.sqrt(np.prod(np.maximum(extent, 1) * 1.15, axis=1)))), 1.0)
    rows, keypoints = truth.shape[:2]
    scores = np.clip(np.where(visible, rng.beta(8, 2, (rows, keypoints)), rng.beta(3, 4, (rows, keypoints))), 0.05, 1)
    white = rng.normal(size=truth.shape) * 0.012
    wander = rng.normal(size=truth.shape) * 0.012
    for row in range(1, rows):
        wander[row] = 0.8 * wander[row - 1] + 0.6 * wander[row]
    error = (white + wander) / scores[..., None]
    far = rng.random((rows, keypoints)) < 0.01
    error[far] += rng.normal(size=(int(far.sum()), 2)) * 0.15
    scores[far] *= 0.5
    kept = rng.random(rows) >= 0.05
    return Clip(
        truth,
        np.flatnonzero(kept),
        truth[kept],
        (truth + error)[kept],
        scores[kept],
        visible[kept],
        (np.arange(rows) / RATE)[kept],
    )


def acceleration(xy: Floats, times_s: Floats) -> Floats:
    """Second derivative from three samples at any times."""
    steps = np.diff(times_s)[:, None, None]
    velocity = np.diff(xy, axis=0) / steps
    return np.asarray(np.diff(velocity, axis=0) / ((steps[1:] + steps[:-1]) / 2))


def measure(clips: Iterable[Clip], settings: SmoothingSettings) -> dict[str, float]:
    """Jitter (RMS acceleration, body sizes / s^2), RMSE (percent of body size) and lag (frames) over all clips."""
    totals = dict.fromkeys(("jitter", "true", "error", "samples", "rows"), 0.0)
    late = np.zeros(len(SHIFTS))
    for clip in clips:
        weights = confidence_weights(clip.scores)
        out = smooth_arrays(clip.noisy, weights, clip.times_s, settings=settings, size=1.0)
        seen = clip.visible
        inner = seen[1:-1]
        totals["jitter"] += float((acceleration(out, clip.times_s) ** 2).sum(axis=-1)[inner].sum())
        totals["true"] += float((acceleration(clip.truth, clip.times_s) ** 2).sum(axis=-1)[inner].sum())
        totals["rows"] += float(inner.sum())
        totals["error"] += float(((out - clip.truth) ** 2).sum(axis=-1)[seen].sum())
        totals["samples"] += float(seen.sum())
        late += _late_errors(clip, out)
    return {
        "jitter": (totals["jitter"] / totals["rows"]) ** 0.5,
        "true_acceleration": (totals["true"] / totals["rows"]) ** 0.5,
        "rmse_percent": 100 * (totals["error"] / totals["samples"]) ** 0.5,
        "lag_frames": _lowest(late),
    }


def _late_errors(clip: Clip, out: Floats) -> Floats:
    """Squared error against the truth of whole frames earlier; interpolating would smooth the truth."""
    inner = (clip.frames >= SHIFTS.max()) & (clip.frames < len(clip.whole) + SHIFTS.min())
    seen = clip.visible[inner]
    errors = [((clip.whole[clip.frames[inner] - shift] - out[inner]) ** 2).sum(axis=-1)[seen].sum() for shift in SHIFTS]
    return np.array(errors)


def _lowest(errors: Floats) -> float:
    """The shift of the smallest error, between whole frames by a parabola."""
    i = int(np.clip(np.argmin(errors), 1, len(errors) - 2))
    before, here, after = errors[i - 1 : i + 2]
    bend = before - 2 * here + after
    return float(SHIFTS[i] + (0.5 * (before - after) / bend if bend > 0 else 0.0))


def choose(
    clips: Sequence[Clip], candidates: Sequence[SmoothingSettings], limit: float
) -> tuple[SmoothingSettings, list[Any]]:
    """The smallest RMSE among those that halve the jitter and are late by no more than ``limit`` frames."""
    raw = measure(clips, SmoothingSettings(method="none"))["jitter"]
    rows = [(settings, measure(clips, settings)) for settings in candidates]
    fit = [row for row in rows if row[1]["jitter"] <= raw / 2 and abs(row[1]["lag_frames"]) <= limit]
    return min(fit or rows, key=lambda row: row[1]["rmse_percent"])[0], rows


def main() -> None:
    """Choose, measure and write ``benchmarks/results/smoothing_study.json``."""
    folder = Path(sys.argv[1])
    sys.argv[1] = folder.name
    clips = penn_clips(folder, every=12)
    train, test = clips[::2], clips[1::2]
    dance = dance_clips(folder)
    result: dict[str, Any] = {"clips": {"train": len(train), "test": len(test), "dance": len(dance)}, "methods": {}}
    for name, candidates in CANDIDATES.items():
        chosen, rows = choose(train, candidates, limit=1.0 if name in {"one_euro", "kalman"} else 0.05)
        default = replace(SmoothingSettings(), method=name)
        result["methods"][name] = {
            "best_on_train": str(chosen),
            "default": {"penn_test": measure(test, default), "dance": measure(dance, default)},
            "best": {"penn_test": measure(test, chosen), "dance": measure(dance, chosen)},
            "train": [{"settings": str(settings), **numbers} for settings, numbers in rows],
        }
    write_result("smoothing_study", "jitter, error and lag of every smoother on real motion with known noise", result)


if __name__ == "__main__":
    main()
