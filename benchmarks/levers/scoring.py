"""How a trained model is judged: PCK by the torso, kept person by person so that arms can be compared in pairs.

PCK at 0.2 of the torso (right hip to left shoulder) is the measure of Leeds Sports Pose. People whose torso is not
labelled do not count. Right keypoints are counted person by person and written as one digit each.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vitpose.data.records import LabelledSet
from vitpose.evaluation.run import evaluate
from vitpose.evaluation.scores import TORSO
from vitpose.metrics.pck import box_sides, distances, pair_distances
from vitpose.models.pose import VitPose
from vitpose.training.validate import ValidationSet, estimator_for

LIMIT = 0.2
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What was right.

    Attributes:
        right: ``(people,)`` keypoints within the limit.
        counted: ``(people,)`` keypoints that count.
        error: mean distance over the longer side of the person's box.
    """

    right: NDArray[np.int64]
    counted: NDArray[np.int64]
    error: float

    @property
    def pck(self) -> float:
        """Share of right keypoints."""
        return float(self.right.sum() / self.counted.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; ``counted`` is the same for all arms and kept once."""
        return {"pck": self.pck, "error": self.error, "right": digits(self.right)}


def digits(counts: NDArray[np.int64]) -> str:
    """Write numbers below 36 as one character each."""
    return "".join(DIGITS[count] for count in counts)


def numbers(written: str) -> NDArray[np.int64]:
    """Read what ``digits`` wrote."""
    return np.array([DIGITS.index(digit) for digit in written], dtype=np.int64)


def judge(xy: ArrayLike, labelled: LabelledSet) -> Judged:
    """Compare ``(people, keypoints, 2)`` points in picture pixels with the labels of a set."""
    records = labelled.records
    truth = np.stack([record.keypoints for record in records]).astype(np.float64)
    seen = np.stack([record.visibility for record in records]) > 0
    ends = [labelled.skeleton.keypoints.index(name) for name in TORSO]
    apart = distances(xy, truth, seen)
    relative = apart / pair_distances(truth, seen, *ends)[:, None]
    error = np.nanmean(apart / box_sides(np.stack([record.box for record in records]))[:, None])
    return Judged((relative <= LIMIT).sum(axis=1), (~np.isnan(relative)).sum(axis=1), float(error))


def score(
    model: VitPose, labelled: LabelledSet, device: torch.device, *, flip_test: bool, dataset: str | None = None
) -> Judged:
    """Estimate every person of a set from the labelled boxes, with the head of ``dataset`` or the first."""
    one = ValidationSet(model.spec.head(dataset).dataset, labelled)
    found = evaluate(estimator_for(model.eval(), one, device), labelled, flip_test=flip_test, metrics=["pck"])
    xy = np.zeros((len(labelled), *found.people.xy.shape[1:]))
    xy[found.people.record] = found.people.xy
    return judge(xy, labelled)


def mean_pose(training: LabelledSet, labelled: LabelledSet) -> Judged:
    """Judge the guess that knows nothing but the box."""
    return judge(median_pose(training, labelled), labelled)


def median_pose(training: LabelledSet, labelled: LabelledSet) -> NDArray[np.float64]:
    """Return ``(people, keypoints, 2)``: every keypoint at its median place in the box.

    Keypoints that nobody of ``training`` has labelled go to the box's middle.
    """
    boxes = np.stack([record.box for record in training.records])
    points = np.stack([record.keypoints for record in training.records]).astype(np.float64)
    seen = np.stack([record.visibility for record in training.records]) > 0
    places = (points - boxes[:, None, :2]) / (boxes[:, None, 2:] - boxes[:, None, :2])
    middle = np.full(places.shape[1:], 0.5)
    known = seen.any(axis=0)
    middle[known] = np.nanmedian(np.where(seen[..., None], places, np.nan)[:, known], axis=0)
    others = np.stack([record.box for record in labelled.records])[:, None]
    found: NDArray[np.float64] = others[..., :2] + middle * (others[..., 2:] - others[..., :2])
    return found
