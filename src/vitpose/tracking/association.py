"""How likely each person of a frame is to be each tracked person, and the best choice of pairs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vitpose.core.extras import require
from vitpose.core.similarity import iou_matrix
from vitpose.tracking.state import Floats, Measured, MotionModel, TrackState


def pose_similarity(tracks: Sequence[TrackState], people: Sequence[Measured], tolerance: float) -> Floats:
    """Return ``(tracks, people)`` keypoint similarity in 0..1.

    OKS (COCO keypoint evaluation) with two additions: the uncertainty of each predicted keypoint widens its bell, and
    keypoints count by the product of both scores.

    Args:
        tracks: predictions for this frame.
        people: what was found in this frame.
        tolerance: width of the bell in ``2 * sigma * size``.
    """
    if not tracks or not people:
        return np.zeros((len(tracks), len(people)))
    predicted = np.stack([one.xy for one in tracks])
    found = np.stack([one.xy for one in people])
    squared = ((predicted[:, None] - found[None]) ** 2).sum(axis=-1)
    sizes = np.array([one.size for one in tracks])
    bell = (tolerance * 2 * people[0].sigmas * sizes[:, None]) ** 2
    width = bell + np.stack([one.xy_variance for one in tracks])
    weights = np.stack([one.scores for one in tracks])[:, None] * np.stack([one.scores for one in people])[None]
    # A wide bell forgives everything; the ratio keeps a person lost long ago from claiming whoever comes first.
    alike = np.sqrt(bell / width)[:, None] * np.exp(-squared / (2 * width[:, None]))
    similar: Floats = (weights * alike).sum(axis=-1) / np.maximum(weights.sum(axis=-1), 1e-9)
    return similar


def box_similarity(tracks: Sequence[TrackState], people: Sequence[Measured]) -> Floats:
    """Return ``(tracks, people)`` intersection over union of predicted and found boxes."""
    if not tracks or not people:
        return np.zeros((len(tracks), len(people)))
    return iou_matrix([one.box for one in tracks], [one.box for one in people])


def center_similarity(tracks: Sequence[TrackState], people: Sequence[Measured], width: float) -> Floats:
    """Return ``(tracks, people)`` closeness of box centres in 0..1: a bell of ``width`` body sizes."""
    if not tracks or not people:
        return np.zeros((len(tracks), len(people)))
    a = np.array([(one.box[:2] + one.box[2:]) / 2 for one in tracks])
    b = np.array([(one.box[:2] + one.box[2:]) / 2 for one in people])
    sizes = np.array([one.size for one in tracks])[:, None]
    spread = (width * sizes) ** 2 + np.array([one.box_variance for one in tracks])[:, None]
    squared = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-squared / (2 * spread)))


def same_label(tracks: Sequence[TrackState], people: Sequence[Measured]) -> NDArray[np.bool_]:
    """Return ``(tracks, people)``: only people of one class can be the same."""
    return np.array([[one.label == other.label for other in people] for one in tracks], dtype=bool).reshape(
        len(tracks), len(people)
    )


def doubles(people: Sequence[Measured], tolerance: float, box_share: float) -> Floats:
    """Return ``(people, people)``: how much each is a second detection of another one of better quality.

    Entry [i, k] is the mean, ``box_share`` for the boxes, of pose and box similarity; 0 unless k is better than i.
    """
    count = len(people)
    if not count:
        return np.zeros((0, 0))
    exact = [one.begin(0.0, MotionModel()) for one in people]
    alike = (1 - box_share) * pose_similarity(exact, people, tolerance).T + box_share * box_similarity(exact, people)
    quality = np.array([one.quality for one in people])
    order = np.lexsort((np.arange(count), -quality))
    rank = np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    return np.asarray(np.where(rank[None, :] < rank[:, None], alike, 0.0))


def best_pairs(similarity: Floats, least: float) -> list[tuple[int, int]]:
    """Return the pairs (row, column) of the largest total similarity, each at least ``least``."""
    if not similarity.size:
        return []
    allowed = similarity >= least
    optimize = require("scipy.optimize", "video", "tracking")
    # Pairs below the limit cost as much as no pair, so they never push out one that may be made.
    rows, columns = optimize.linear_sum_assignment(np.where(allowed, similarity, 0.0), maximize=True)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if allowed[row, column]]
