"""Which prediction belongs to which person: the greedy matching of the COCO evaluation, kept per picture.

The evaluator behind ``metrics.coco`` answers with totals only. Intervals by resampling pictures need what each
picture contributes, and that is what stands here; a test holds both to the same average precision.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitpose.core.similarity import iou_matrix
from vitpose.metrics.table import Floats, Ints, KeypointTable

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
THRESHOLDS.flags.writeable = False

_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False, kw_only=True)
class Matches:
    """The outcome of matching at several thresholds, predictions sorted best first over all pictures.

    Attributes:
        hit: ``(thresholds, results)`` the prediction is a person.
        ignored: ``(thresholds, results)`` it counts neither way.
        category: ``(results,)`` position of the category.
        image: ``(results,)`` position of the picture.
        people: ``(images, categories)`` how many people there are to be found.
    """

    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    category: Ints
    image: Ints
    people: Ints

    def average_precision(self, weights: NDArray[np.integer] | None = None) -> float:
        """Return AP over the thresholds with 101 recall points, averaged over categories; NaN without people.

        Args:
            weights: ``(images,)`` how often each picture counts, for resampling; once each by default.
        """
        counts = np.ones(len(self.people), dtype=np.int64) if weights is None else np.asarray(weights)
        people = counts @ self.people
        each = counts[self.image]
        values = []
        for category in np.flatnonzero(people):
            mine = self.category == category
            values.append(_precision(self.hit[:, mine], self.ignored[:, mine], each[mine], int(people[category])))
        return float(np.mean(values)) if values else float("nan")


def match(table: KeypointTable, thresholds: Floats = THRESHOLDS) -> Matches:
    """Match predictions to people at each OKS threshold, best prediction first, each person once."""
    results, truth = table.results, table.truth
    hit = np.zeros((len(thresholds), len(results.scores)), dtype=bool)
    ignored = np.zeros_like(hit)
    for group, block in table.blocks.items():
        people = slice(*np.searchsorted(truth.group, [group, group + 1]))
        mine = slice(*np.searchsorted(results.group, [group, group + 1]))
        hit[:, mine], ignored[:, mine] = _match_group(block, truth.ignored[people], truth.crowd[people], thresholds)
    order = np.argsort(-results.scores, kind="stable")
    people_of = np.zeros((len(table.images), len(table.categories)), dtype=np.int64)
    np.add.at(people_of.reshape(-1), truth.group[~truth.ignored], 1)
    return Matches(
        hit=hit[:, order],
        ignored=ignored[:, order],
        category=(results.group % len(table.categories))[order],
        image=table.image_of(results.group)[order],
        people=people_of,
    )


def match_boxes(found: Floats, people: Floats, scores: Floats, *, least: float = 0.5) -> Ints:
    """Give each box of a person the box found for it: greedy by score, by largest IoU.

    Args:
        found: ``(n, 4)`` xyxy.
        people: ``(m, 4)`` xyxy.
        scores: ``(n,)``.
        least: smallest IoU that counts as the same person.

    Returns:
        ``(m,)`` positions in ``found``, -1 for people nobody found.
    """
    overlap = iou_matrix(found, people)
    chosen = np.full(len(people), -1, dtype=np.int64)
    for index in np.argsort(-np.asarray(scores), kind="stable"):
        free = np.where(chosen < 0, overlap[index], -1.0)
        if len(free) and free.max() >= least:
            chosen[int(free.argmax())] = index
    return chosen


def _match_group(
    oks: Floats, ignored: NDArray[np.bool_], crowd: NDArray[np.bool_], thresholds: Floats
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Match one picture; returns ``(thresholds, results)`` hit and counts-for-nothing masks."""
    # People that count come first; among equals the later one wins, as in the COCO evaluator.
    order = np.argsort(ignored, kind="stable")[::-1]
    oks, ignored, crowd = oks[:, order], ignored[order], crowd[order]
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    taken = np.zeros((len(thresholds), len(ignored)), dtype=bool)
    hit = np.zeros((len(thresholds), len(oks)), dtype=bool)
    nothing = np.zeros_like(hit)
    rows = np.arange(len(thresholds))
    for index, row in enumerate(oks):
        eligible = (row >= least) & (~taken | crowd)
        # A person that counts always beats an ignored one, however alike.
        value = np.where(eligible, row + np.where(ignored, 0.0, 2.0), -1.0)
        best = value.argmax(axis=1)
        matched = value[rows, best] >= 0
        taken[rows[matched], best[matched]] = True
        hit[:, index] = matched & ~ignored[best]
        nothing[:, index] = matched & ignored[best]
    return hit, nothing


def _precision(hit: NDArray[np.bool_], ignored: NDArray[np.bool_], weights: Ints, people: int) -> float:
    right = np.cumsum(hit * weights, axis=1)
    wrong = np.cumsum((~hit & ~ignored) * weights, axis=1)
    recall = right / people
    precision = right / (right + wrong + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total = 0.0
    for row, heights in zip(recall, envelope, strict=True):
        places = np.searchsorted(row, _RECALLS, side="left")
        total += heights[places[places < len(heights)]].sum()
    return total / (len(hit) * len(_RECALLS))
