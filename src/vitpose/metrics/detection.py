"""How well boxes find people: recall at an allowed number of false boxes, and average precision at IoU 0.5."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from vitpose.core.poses import Boxes
from vitpose.core.similarity import box_areas, iou_matrix

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

IOU = 0.5
"""Overlap from which a box counts as found."""

TALL = 0.2
"""Part of the picture's height from which a person counts as one the picture is about."""

_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The people of one picture.

    Attributes:
        boxes: ``(people, 4)`` xyxy in picture pixels.
        crowd: ``(people,)`` the box covers a group; boxes inside count neither way.
        height: of the picture in pixels.
    """

    boxes: Floats
    crowd: Flags
    height: int

    @property
    def tall(self) -> Flags:
        """``(people,)`` taller than a fifth of the picture, crowds left out."""
        tall: Flags = ~self.crowd & (self.boxes[:, 3] - self.boxes[:, 1] > TALL * self.height)
        return tall


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionScores:
    """What a detector reaches.

    Attributes:
        recall_tall: share of people taller than a fifth of the picture that are found at ``threshold``; NaN without
            such people.
        threshold: smallest score at which there are no more false boxes a picture than allowed.
        false_boxes: a picture, at that threshold.
        ap50: average precision at IoU 0.5 over all people, 101 recall points; NaN without people.
        ap50_tall: the same where smaller people count neither way.
        pictures: how many were looked at.
        people: in them, crowds left out.
        people_tall: those taller than a fifth of the picture.
    """

    recall_tall: float
    threshold: float
    false_boxes: float
    ap50: float
    ap50_tall: float
    pictures: int
    people: int
    people_tall: int

    def to_dict(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


def score_boxes(found: Sequence[Boxes], truth: Sequence[Truth], *, allowed: float = 0.3) -> DetectionScores:
    """Score boxes against labelled people.

    Args:
        found: the boxes of each picture, with scores.
        truth: the people of each picture, same order.
        allowed: false boxes a picture that are put up with.
    """
    outcome = [_match(boxes, people) for boxes, people in zip(found, truth, strict=True)]
    scores = np.concatenate([one[0] for one in outcome]) if outcome else np.zeros(0)
    hit = np.concatenate([one[1] for one in outcome]) if outcome else np.zeros(0, np.intp)
    person_tall = np.concatenate([one[2] for one in outcome]) if outcome else np.zeros(0, bool)
    people = sum(int((~one.crowd).sum()) for one in truth)
    tall = sum(int(one.tall.sum()) for one in truth)
    threshold, false = _operating_point(scores, hit == _FALSE, allowed * len(truth))
    chosen = (hit == _TRUE) & person_tall & (scores >= threshold)
    small = (hit == _TRUE) & ~person_tall
    return DetectionScores(
        recall_tall=float(chosen.sum() / tall) if tall else float("nan"),
        threshold=threshold,
        false_boxes=false / max(len(truth), 1),
        ap50=_average_precision(scores, hit == _TRUE, hit == _FALSE, people),
        ap50_tall=_average_precision(scores, (hit == _TRUE) & ~small, hit == _FALSE, tall),
        pictures=len(truth),
        people=people,
        people_tall=tall,
    )


_FALSE, _TRUE, _NEITHER = 0, 1, 2


def _match(found: Boxes, truth: Truth) -> tuple[Floats, NDArray[np.intp], Flags]:
    """Return score, outcome and whether a tall person was found of each box, best first; each person once."""
    order = np.argsort(-found.scores, kind="stable")
    boxes, scores = found.xyxy[order].astype(np.float64), found.scores[order].astype(np.float64)
    people, crowds = truth.boxes[~truth.crowd], truth.boxes[truth.crowd]
    tall = truth.tall[~truth.crowd]
    overlap = iou_matrix(boxes, people)
    covered = np.any(_covered(boxes, crowds) > IOU, axis=1).reshape(-1)
    taken = np.zeros(len(people), bool)
    outcome = np.full(len(boxes), _FALSE, np.intp)
    found_tall = np.zeros(len(boxes), bool)
    for row in range(len(boxes)):
        free = np.where(taken, -1.0, overlap[row])
        best = int(free.argmax()) if len(people) else -1
        if best >= 0 and free[best] >= IOU:
            taken[best] = True
            outcome[row], found_tall[row] = _TRUE, tall[best]
        elif covered[row]:
            outcome[row] = _NEITHER
    return scores, outcome, found_tall


def _covered(boxes: Floats, crowds: Floats) -> Floats:
    """Return ``(boxes, crowds)``: what part of each box lies in each crowd (COCO's overlap with crowds)."""
    low = np.maximum(boxes[:, None, :2], crowds[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], crowds[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    part: Floats = shared / np.maximum(box_areas(boxes)[:, None], np.finfo(np.float64).tiny)
    return part


def _operating_point(scores: Floats, false: Flags, allowed: float) -> tuple[float, int]:
    """Return the smallest threshold with at most ``allowed`` false boxes, and how many there are at it."""
    wrong = np.sort(scores[false])[::-1]
    budget = int(np.floor(allowed + 1e-9))
    if len(wrong) <= budget:
        return 0.0, len(wrong)
    # Just above the first false box that is one too many; equal scores fall together.
    threshold = float(np.nextafter(wrong[budget], np.inf))
    return threshold, int((wrong >= threshold).sum())


def _average_precision(scores: Floats, hit: Flags, false: Flags, people: int) -> float:
    if not people:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    order = order[(hit | false)[order]]
    right, wrong = np.cumsum(hit[order]), np.cumsum(false[order])
    precision = np.maximum.accumulate((right / np.maximum(right + wrong, 1))[::-1])[::-1]
    if not len(precision):
        return 0.0
    places = np.searchsorted(right / people, _RECALLS, side="left")
    last = len(precision) - 1
    return float(np.where(places <= last, precision[np.minimum(places, last)], 0.0).mean())
