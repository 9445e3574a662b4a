"""What a tracker believes about one person: where every keypoint is, how the body moves, how sure it is.

Every keypoint is a random walk carried along by one velocity for the whole body. A velocity for each keypoint would
follow a swinging arm, but with a detector's noise it mostly follows the noise.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vitpose.core.poses import Poses

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionModel:
    """How people are expected to move and how wrong one measurement is, in units of body size.

    Body size is the square root of the box's area; sigma is the keypoint's OKS constant.

    Attributes:
        keypoint_noise: standard deviation of a measured keypoint of score 1, in ``2 * sigma * size``.
        box_noise: standard deviation of a measured box side, in ``size``.
        keypoint_walk: how far a keypoint wanders from the moving body in one second, in ``size``.
        box_walk: how much a box side changes in one second beside moving, in ``size``.
        speed: usual size of velocities of people who come in, in ``size / s``.
        acceleration: standard deviation of the body's change of velocity in one second, in ``size / s``.
        doubt: how much a doubtful detection's box is trusted less: power of its quality.
        coast_s: seconds after which a person who is not seen is believed to have lost most of the velocity.
    """

    keypoint_noise: float = 0.6
    box_noise: float = 0.1
    keypoint_walk: float = 0.5
    box_walk: float = 0.25
    speed: float = 4.0
    acceleration: float = 0.5
    coast_s: float = 0.4
    doubt: float = 0.5


@dataclass(slots=True)
class TrackState:
    """One person. ``xy`` and ``box`` are in picture pixels, variances in square pixels.

    ``id`` is 0 until the person has been seen often and well enough; ``evidence`` counts towards that.
    """

    xy: Floats
    scores: Floats
    box: Floats
    label: str
    size: float
    seen_s: float
    evidence: float
    xy_variance: Floats
    box_variance: float
    id: int = 0
    velocity: Floats = field(default_factory=lambda: np.zeros(2))
    velocity_variance: float = 0.0
    missed: int = 0

    def predict(self, elapsed_s: float, model: MotionModel) -> None:
        """Carry the person ``elapsed_s`` seconds forward."""
        shift = self.velocity * elapsed_s
        self.xy = self.xy + shift
        self.box = self.box + np.tile(shift, 2)
        moved = self.velocity_variance * elapsed_s**2
        self.xy_variance = self.xy_variance + (model.keypoint_walk * self.size) ** 2 * elapsed_s + moved
        self.box_variance += (model.box_walk * self.size) ** 2 * elapsed_s + moved
        self.velocity_variance += (model.acceleration * self.size) ** 2 * elapsed_s
        if self.missed:
            self.velocity = self.velocity * np.exp(-elapsed_s / model.coast_s)

    def correct(self, measured: "Measured", elapsed_s: float, model: MotionModel) -> None:
        """Take in what was measured ``elapsed_s`` seconds after the last measurement of this person."""
        noise = measured.variance(model)
        residual = measured.xy - self.xy
        self._correct_velocity(residual, noise, elapsed_s)
        gain = self.xy_variance / (self.xy_variance + noise)
        self.xy = self.xy + gain[:, None] * residual
        self.xy_variance = (1 - gain) * self.xy_variance
        self.scores = self.scores + 0.5 * (measured.scores - self.scores)
        box_noise = (model.box_noise * measured.size / max(measured.quality, 0.1) ** model.doubt) ** 2
        box_gain = self.box_variance / (self.box_variance + box_noise)
        self.box = self.box + box_gain * (measured.box - self.box)
        self.box_variance *= 1 - box_gain
        self.size = float(np.sqrt(np.prod(np.maximum(self.box[2:] - self.box[:2], 1.0))))

    def _correct_velocity(self, residual: Floats, noise: Floats, elapsed_s: float) -> None:
        """Blame the part of the residual that all keypoints share on a wrong velocity."""
        if elapsed_s <= 0:
            return
        total = self.xy_variance + noise
        weights = 1 / total
        shared = (weights[:, None] * residual).sum(axis=0) / weights.sum()
        # A body's keypoints err together (a crop's offset, a bend), so their mean is no better than four of them.
        error = 1 / weights.sum() * max(1.0, len(weights) / 4)
        gain = self.velocity_variance * elapsed_s / (self.velocity_variance * elapsed_s**2 + error)
        self.velocity = self.velocity + gain * shared
        self.velocity_variance *= max(1 - gain * elapsed_s, 0.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """One person of one frame as the tracker reads it, float64."""

    xy: Floats
    scores: Floats
    box: Floats
    label: str
    size: float
    quality: float
    sigmas: Floats

    def variance(self, model: MotionModel) -> Floats:
        """``(keypoints,)`` variance of the measured positions in square pixels: low scores mean little."""
        spread = model.keypoint_noise * 2 * self.sigmas * self.size
        return np.asarray((spread / np.clip(self.scores, 0.05, 1.0)) ** 2)

    def begin(self, time_s: float, model: MotionModel) -> TrackState:
        """Return a new, unconfirmed track."""
        return TrackState(
            xy=self.xy.copy(),
            scores=self.scores.copy(),
            box=self.box.copy(),
            label=self.label,
            size=self.size,
            seen_s=time_s,
            evidence=0.0,
            xy_variance=self.variance(model),
            box_variance=(model.box_noise * self.size) ** 2,
            velocity_variance=(model.speed * self.size) ** 2,
        )


def measured_people(poses: Poses) -> list[Measured]:
    """Return the people of one frame in float64."""
    sides = np.maximum(poses.boxes[:, 2:].astype(np.float64) - poses.boxes[:, :2], 1.0)
    sizes = np.sqrt(sides.prod(axis=1))
    return [
        Measured(
            xy=poses.xy[i].astype(np.float64),
            scores=np.clip(poses.scores[i].astype(np.float64), 0.0, 1.0),
            box=poses.boxes[i].astype(np.float64),
            label=poses.labels[i],
            size=float(sizes[i]),
            quality=float(poses.score[i]),
            sigmas=poses.skeleton.sigma_array,
        )
        for i in range(len(poses))
    ]
