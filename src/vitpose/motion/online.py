"""Smoothing while the video runs: only the past is used, one state a track, dropped after a gap."""

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError, nearest
from vitpose.core.poses import Poses
from vitpose.motion.kalman import Belief, correct, first_belief, predict
from vitpose.motion.series import confidence_weights
from vitpose.motion.settings import ONLINE, SmoothingSettings

Floats = NDArray[np.float64]


class OnlineFilter(Protocol):
    """One person's keypoints, one frame after the other."""

    def step(self, xy: Floats, weights: Floats, elapsed_s: float) -> Floats:
        """Return smoothed ``(keypoints, 2)`` for measured ``xy`` with ``(keypoints,)`` weights in 0..1."""


class OneEuroFilter:
    """The 1 Euro filter (Casiez, Roussel and Vogel 2012): a low-pass whose cutoff rises with the speed.

    Weights make the step shorter: weight 0 keeps the old position, weight 1 is the paper's filter.
    """

    def __init__(self, *, cutoff_hz: float, beta: float, speed_cutoff_hz: float) -> None:
        """Set up the filter.

        Args:
            cutoff_hz: cutoff at rest.
            beta: how much the cutoff rises in Hz for each px/s.
            speed_cutoff_hz: cutoff of the low-pass the speed goes through.
        """
        self._cutoff, self._beta, self._speed_cutoff = cutoff_hz, beta, speed_cutoff_hz
        self._position: Floats | None = None
        self._velocity: Floats | None = None

    def step(self, xy: Floats, weights: Floats, elapsed_s: float) -> Floats:
        """See ``OnlineFilter.step``."""
        if self._position is None or self._velocity is None:
            self._position, self._velocity = xy.copy(), np.zeros_like(xy)
            return self._position.copy()
        if elapsed_s > 0:
            raw = (xy - self._position) / elapsed_s
            share = _weighted(_alpha(self._speed_cutoff, elapsed_s), weights)
            self._velocity = self._velocity + share[:, None] * (raw - self._velocity)
            cutoff = self._cutoff + self._beta * np.linalg.norm(self._velocity, axis=-1)
            share = _weighted(_alpha(cutoff, elapsed_s), weights)
            self._position = self._position + share[:, None] * (xy - self._position)
        return self._position.copy()


class KalmanFilter:
    """Constant velocity, white noise acceleration; see ``vitpose.motion.kalman``."""

    def __init__(self, *, noise: float, acceleration: float, speed: float) -> None:
        """Set up the filter.

        Args:
            noise: standard deviation of a measurement of weight 1, in pixels.
            acceleration: root spectral density of the acceleration in px/s^1.5.
            speed: usual size of velocities in px/s, for the first step.
        """
        self._noise, self._acceleration, self._speed = noise, acceleration, speed
        self._belief: Belief | None = None

    def step(self, xy: Floats, weights: Floats, elapsed_s: float) -> Floats:
        """See ``OnlineFilter.step``."""
        variance = self._noise**2 / np.maximum(weights, 1e-6)
        if self._belief is None:
            self._belief = first_belief(xy, variance, self._speed)
        elif elapsed_s > 0:
            self._belief = correct(predict(self._belief, elapsed_s, self._acceleration), xy, variance)
        return self._belief.position.copy()


@dataclass(slots=True)
class _Running:
    filter: OnlineFilter
    seen_s: float


class OnlineSmoother:
    """Smooths every track of a video frame by frame; keep the poses that went in for the raw values.

    A person without an id passes through untouched. A track not seen for ``max_gap_s`` starts anew. Memory holds the
    tracks of the last ``max_gap_s`` seconds only.
    """

    def __init__(self, settings: SmoothingSettings | None = None) -> None:
        """Set up the smoother.

        Raises:
            UsageError: the method looks into the future; the online ones are named.
        """
        self._settings = settings or SmoothingSettings()
        if self._settings.method not in ONLINE:
            raise UsageError(
                f"smoothing {self._settings.method!r} does not work while a video runs{nearest('', ONLINE)}"
            )
        self._tracks: dict[int, _Running] = {}

    def reset(self) -> None:
        """Forget every track."""
        self._tracks = {}

    def update(self, poses: Poses, time_s: float) -> Poses:
        """Return ``poses`` with smoothed positions; everything else stays."""
        gap = self._settings.max_gap_s
        # A step backwards is a new beginning: nothing before it says anything about what comes.
        self._tracks = {key: one for key, one in self._tracks.items() if 0 <= time_s - one.seen_s <= gap}
        if poses.track_ids is None or self._settings.method == "none":
            return poses
        xy = poses.xy.copy()
        weights = confidence_weights(poses.scores.astype(np.float64))
        for person, track_id in enumerate(poses.track_ids.tolist()):
            if track_id < 0:
                continue
            one = self._tracks.get(track_id)
            if one is None:
                size = math.sqrt(max(float(np.prod(poses.boxes[person, 2:] - poses.boxes[person, :2])), 1.0))
                one = self._tracks[track_id] = _Running(make_filter(self._settings, size), time_s)
            xy[person] = one.filter.step(xy[person].astype(np.float64), weights[person], time_s - one.seen_s)
            one.seen_s = time_s
        return replace(poses, xy=xy)


def make_filter(settings: SmoothingSettings, size: float) -> OnlineFilter:
    """Return the filter for a person of ``size`` pixels (square root of the box's area)."""
    if settings.method == "kalman":
        return KalmanFilter(
            noise=settings.noise * size, acceleration=settings.acceleration * size, speed=settings.speed * size
        )
    return OneEuroFilter(
        cutoff_hz=settings.rest_cutoff_hz, beta=settings.beta / size, speed_cutoff_hz=settings.speed_cutoff_hz
    )


def _alpha(cutoff_hz: Floats | float, elapsed_s: float) -> Floats:
    """Share of the new value in a first-order low-pass."""
    return np.asarray(1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff_hz) * elapsed_s)))


def _weighted(share: Floats, weights: Floats) -> Floats:
    return np.asarray(1 - (1 - share) ** weights)
