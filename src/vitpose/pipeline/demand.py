"""Detection on demand: between two looks of the detector people are where their poses say.

What is decided depends on the frames' results alone (poses, boxes and who found these), so a run that is continued from
its journal decides the same.
"""

import numpy as np
from numpy.typing import NDArray

from vitpose.core.poses import Boxes, Poses
from vitpose.core.similarity import box_areas, iou_matrix
from vitpose.pipeline.refine import pose_boxes

FALLEN = 0.75
"""A pose whose mean score falls below this share of what it was when the detector last looked is not believed."""

MET = 0.6
"""Boxes that overlap this much may have come to show one person: two people close together, or one and a loss."""

PLAIN = 0.5
"""A pose with a mean score from here on is somebody, whatever the detector says; about others nobody is asked again."""

INSIDE = 0.7
"""Somebody of whose box less than this is in the picture is leaving."""

STAYED = 0.3
"""A pose whose box overlaps the box it was looked for in less than this has jumped to something else."""

SHRINK = 0.9
"""How much smaller a box may get from frame to frame: keypoints that are hidden for a moment would pull it together."""

AHEAD = 0.5
"""Share of the last step a box is moved on by; the other half it grows, for who moves on and for who stops."""

FADES = 0.7
"""What is left of the box score of somebody the detector overlooks: after a few looks he is no longer carried on."""

_FAINT = 0.3

_SAME = 0.3
"""Overlap of the boxes of one person in two frames."""


class Demand:
    """Decides in which frames the detector has to look, and where people are expected in the others.

    The detector looks at every ``every``-th frame, and at once when a pose that was carried on is not believed: its
    score fell, its box jumped, two boxes met, or somebody is leaving the picture. Who comes in between is seen at the
    next look. Whom the detector overlooks is carried on for a few looks, as long as the pose is as good as it was.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._last: Poses | None = None
        self._step = np.zeros((0, 2))
        self._sure = _Sureness.of(None)

    def is_due(self, ordinal: int) -> bool:
        """Whether the detector looks at the processed frame number ``ordinal`` whatever the poses say."""
        return ordinal % self.every == 0

    def expected(self) -> Boxes | None:
        """Return where people are in the next frame; None when there is no frame before it."""
        last = self._last
        if last is None:
            return None
        found = pose_boxes(last).astype(np.float64)
        center, extent = _center(found), np.maximum(_extent(found), SHRINK * _extent(last.boxes))
        center = center + AHEAD * self._step
        extent = extent + (1 - AHEAD) * np.abs(self._step)
        xyxy = np.concatenate([center - extent / 2, center + extent / 2], axis=1)
        return Boxes(xyxy.astype(np.float32), last.box_scores, last.labels)

    def believes(self, poses: Poses) -> bool:
        """Whether poses that were looked for in ``expected`` boxes can stand without the detector looking."""
        now, then = _Sureness.of(poses), self._sure
        plain = then.level >= PLAIN
        fallen = now.level < FALLEN * then.level
        leaving = (now.inside < INSIDE) & (then.inside >= INSIDE)
        # Not `poses.boxes`: after a second pass those are round the pose already.
        expected = self.expected()
        sought = poses.boxes if expected is None else expected.xyxy
        strayed = np.diagonal(iou_matrix(sought, pose_boxes(poses))) < STAYED
        met = (now.overlap > MET) & (then.overlap <= MET) & plain[:, None] & plain
        return not bool((plain & (fallen | leaving | strayed)).any() or met.any())

    def joined(self, found: Boxes) -> Boxes:
        """Return what the detector found and, behind that, the boxes of people it may have overlooked."""
        expected = self.expected()
        if expected is None or not len(expected):
            return found
        overlooked = iou_matrix(expected.xyxy, found.xyxy).max(axis=1, initial=0.0) < _SAME
        scores = FADES * expected.scores
        overlooked &= scores >= _FAINT
        if not overlooked.any():
            return found
        return Boxes(
            np.concatenate([found.xyxy, expected.xyxy[overlooked]]),
            np.concatenate([found.scores, scores[overlooked]]),
            (*found.labels, *expected[overlooked].labels),
        )

    def confirmed(self, poses: Poses, found: int) -> Poses:
        """Return the poses without those that only seemed overlooked.

        Args:
            poses: of the boxes of ``joined``.
            found: how many of them the detector found, the first ones.
        """
        if len(poses) == found:
            return poses
        level = poses.scores.mean(axis=1)
        boxes = pose_boxes(poses)
        twice = (iou_matrix(boxes, boxes) - np.eye(len(boxes)))[:, :found].max(axis=1, initial=0.0) > MET
        there = (level >= PLAIN) & ~twice
        return poses[np.flatnonzero(there | (np.arange(len(poses)) < found))]

    def take(self, poses: Poses, *, detected: bool) -> None:
        """Take in the result of a frame; who was carried on keeps his place in the list."""
        if detected:
            self._step = _steps(self._last, poses)
            self._sure = _Sureness.of(poses)
        elif self._last is not None:
            self._step = _center(pose_boxes(poses)) - _center(pose_boxes(self._last))
        self._last = poses


class _Sureness:
    """What was true of each person when the detector last looked: what it accepted then is no reason to ask again."""

    def __init__(
        self, level: NDArray[np.floating], overlap: NDArray[np.floating], inside: NDArray[np.floating]
    ) -> None:
        self.level, self.overlap, self.inside = level, overlap, inside

    @classmethod
    def of(cls, poses: Poses | None) -> "_Sureness":
        if poses is None:
            return cls(np.zeros(0), np.zeros((0, 0)), np.zeros(0))
        boxes = pose_boxes(poses).astype(np.float64)
        overlap = iou_matrix(boxes, boxes) - np.eye(len(boxes))
        height, width = poses.image_size
        shown = np.clip(boxes, 0, [width, height, width, height])
        inside = box_areas(shown) / np.maximum(box_areas(boxes), 1.0)
        return cls(poses.scores.mean(axis=1), overlap, inside)


def _steps(before: Poses | None, now: Poses) -> NDArray[np.float64]:
    """Return ``(people, 2)`` how far everybody moved since the frame before; 0 for who was not there."""
    step = np.zeros((len(now), 2))
    if before is None or not len(before) or not len(now):
        return step
    old, new = pose_boxes(before), pose_boxes(now)
    overlap = iou_matrix(new, old)
    best = overlap.argmax(axis=1)
    same = overlap.max(axis=1) >= _SAME
    return np.where(same[:, None], _center(new) - _center(old)[best], step)


def _center(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray((boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2)


def _extent(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(boxes[:, 2:].astype(np.float64) - boxes[:, :2])
