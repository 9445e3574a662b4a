"""What an evaluation found: numbers, tables and curves, with the protocol they were measured by."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.poses import Poses
from vitpose.core.provenance import Provenance
from vitpose.evaluation.people import People, Picture
from vitpose.metrics.breakdown import Slice
from vitpose.metrics.calibration import Calibration, Reliability
from vitpose.metrics.matching import Matches

SCHEMA = "vitpose.evaluation/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """How the numbers came about: enough to measure them again.

    Attributes:
        dataset: name of the labelled set.
        source: file of the labels.
        pictures: how many.
        people: labelled people that were looked for.
        boxes: where the boxes came from, in words.
        keypoints: how many keypoints were compared, in words.
        suppression: largest OKS two poses of a picture may have.
        model: what estimated: weights, head, engine, detector, settings.
    """

    dataset: str
    source: str
    pictures: int
    people: int
    boxes: str
    keypoints: str
    suppression: float
    model: Provenance

    @property
    def text(self) -> str:
        """One line for people."""
        settings = dict(self.model.settings)
        how = f"{'with' if settings.get('flip_test') else 'without'} flip test"
        how += ", second pass" if settings.get("refine") else ""
        scales = settings.get("scales")  # recorded where there are several
        how += f", {len(scales)} scales" if isinstance(scales, tuple) else ""
        return (
            f"{self.dataset}: {self.people} people in {self.pictures} pictures, {self.boxes}, {how},"
            f" OKS suppression at {self.suppression:g}, {self.keypoints}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        names = ("dataset", "source", "pictures", "people", "boxes", "keypoints", "suppression", "text")
        return {name: getattr(self, name) for name in names} | {"model": self.model.to_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeypointRow:
    """One keypoint's line in the table.

    Attributes:
        name: of the keypoint.
        points: labelled points.
        similarity: mean OKS of the keypoint alone; points of people nobody found are 0.
        right: share within the OKS 0.5 tolerance, people nobody found included.
        pck: share within 0.2 of the longer box side, of people that were found.
        distance: mean distance in pixels, of people that were found.
        score: mean score, of people that were found.
    """

    name: str
    points: int
    similarity: float
    right: float
    pck: float
    distance: float
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """What scores are worth, before and after calibration; ``after`` is measured on pictures the fit has not seen.

    Attributes:
        calibration: fitted on everything, to be kept with the weights.
        before: reliability of the raw scores taken for probabilities.
        after: reliability of calibrated scores.
        errors: expected calibration errors by name: equal-mass and equal-width bins over all keypoints, and the mean
            of the keypoints' own, each before and after.
    """

    calibration: Calibration
    before: Reliability
    after: Reliability
    errors: dict[str, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """Shares of points or people at limits, for plots.

    Attributes:
        name: what is shared.
        limits: ``(n,)``.
        shares: ``(n,)`` 0..1.
    """

    name: str
    limits: NDArray[np.float64]
    shares: NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluationResult:
    """Everything one run over a labelled set found.

    Attributes:
        protocol: how it was measured.
        numbers: metrics by name; shares are 0..1, distances pixels.
        keypoints: one row a keypoint.
        breakdowns: mean OKS by ``size``, ``occlusion`` and ``crowding``.
        curves: PCK over box side, and people over OKS.
        confidence: calibration; None when nobody was found.
        people: labels beside estimates.
        pictures: the pictures, in the order of ``poses``.
        poses: the estimates of each picture, duplicates taken out.
        matches: for intervals by resampling.
        predictions: the estimates as COCO results, with the picture ids of the labels.
    """

    protocol: Procedure
    numbers: dict[str, float]
    keypoints: tuple[KeypointRow, ...]
    breakdowns: dict[str, tuple[Slice, ...]]
    curves: tuple[Curve, ...]
    confidence: Confidence | None
    people: People
    pictures: tuple[Picture, ...]
    poses: tuple[Poses, ...]
    matches: Matches
    predictions: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain data (JSON types; undefined numbers are null), without the predictions."""
        confidence = None
        if self.confidence is not None:
            confidence = {
                "errors": self.confidence.errors,
                "calibration": self.confidence.calibration.to_dict(),
                "before": _reliability(self.confidence.before),
                "after": _reliability(self.confidence.after),
            }
        plain = {
            "schema": SCHEMA,
            "protocol": self.protocol.to_dict(),
            "numbers": self.numbers,
            "keypoints": [row.to_dict() for row in self.keypoints],
            "breakdowns": {
                name: [{"label": part.label, "people": part.people, "oks": part.mean} for part in parts]
                for name, parts in self.breakdowns.items()
            },
            "curves": [
                {"name": curve.name, "limits": curve.limits.tolist(), "shares": curve.shares.tolist()}
                for curve in self.curves
            ],
            "confidence": confidence,
        }
        cleaned: dict[str, Any] = without_nan(plain)
        return cleaned


def _reliability(curve: Reliability) -> dict[str, list[float]]:
    return {"said": curve.said.tolist(), "done": curve.done.tolist(), "counts": curve.counts.tolist()}


def without_nan(value: Any) -> Any:
    """Return nested plain data with None in place of numbers that are not finite, which JSON does not know."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
