"""The worst cases as pictures: the estimate, the label, and the line between them."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton
from vitpose.evaluation.people import Floats, People
from vitpose.evaluation.result import EvaluationResult
from vitpose.media.images import read_image
from vitpose.rendering.draw import Style, draw_poses

TILE = Size(260, 260)
"""Size of one case in the report, pixels."""

_AROUND = 1.5
_TRUTH = (255, 255, 255)
_ERROR = (235, 60, 70)


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """One person the model did badly on.

    Attributes:
        picture: ``(height, width, 3)`` uint8 RGB, the surroundings with label and estimate drawn.
        name: of the file.
        oks: of the person.
        found: somebody was found there.
        worst: name of the keypoint that is furthest off.
    """

    picture: NDArray[np.uint8]
    name: str
    oks: float
    found: bool
    worst: str


def worst_cases(result: EvaluationResult, count: int) -> list[Case]:
    """Return the people with the lowest OKS, worst first; of equals the larger first, who are easier to see."""
    people = result.people
    order = np.lexsort((-people.areas, np.round(people.oks, 3)))[:count]
    skeleton = _shared(people, result)
    return [_case(result, int(person), skeleton) for person in order]


def _shared(people: People, result: EvaluationResult) -> Skeleton:
    """Return the model's skeleton reduced to the compared keypoints, in the labels' order."""
    full = result.poses[0].skeleton
    names = set(people.names)
    return Skeleton(
        name=full.name,
        keypoints=people.names,
        edges=tuple(edge for edge in full.edges if names.issuperset(edge)),
        flip_pairs=tuple(pair for pair in full.flip_pairs if names.issuperset(pair)),
    )


def _case(result: EvaluationResult, person: int, skeleton: Skeleton) -> Case:
    people = result.people
    source = result.pictures[int(people.image[person])]
    labelled = people.visibility[person] > 0
    found = bool(people.found[person])
    points = people.truth[person][labelled]
    if found:
        points = np.concatenate([points, people.xy[person][labelled]])
    image, scale, corner = _surroundings(read_image(source.path), people.boxes[person], points)
    moved = Poses(
        xy=(people.xy[person][None] - corner) * scale,
        # The labelled keypoints are shown, whatever their score, and no others: they are what counted.
        scores=labelled[None].astype(np.float32),
        boxes=((people.boxes[person].reshape(2, 2) - corner) * scale).reshape(1, 4),
        box_scores=np.ones(1, np.float32),
        skeleton=skeleton,
        image_size=Size(*image.shape[:2]),
    )
    drawn = draw_poses(image, moved if found else replace(moved, scores=np.zeros_like(moved.scores)), Style(scale=1.4))
    truth = (people.truth[person] - corner) * scale
    drawn = _with_truth(drawn, truth[labelled], np.asarray(moved.xy[0], np.float64)[labelled] if found else None)
    worst = int(np.nanargmin(people.similarity[person]))
    return Case(drawn, source.path.name, float(people.oks[person]), found, people.names[worst])


def _surroundings(image: NDArray[np.uint8], box: Floats, points: Floats) -> tuple[NDArray[np.uint8], float, Floats]:
    """Cut out the person with some room and bring it to the tile's size; black beyond the picture's rim."""
    low, high = np.minimum(box[:2], points.min(axis=0)), np.maximum(box[2:], points.max(axis=0))
    # A keypoint across the picture must not shrink the person to nothing.
    center, side = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max()
    reach = np.clip(np.maximum(high - center, center - low).max(), side / 2, side * 1.5) * _AROUND
    reach = float(np.ceil(max(reach, 8.0)))
    corner = np.floor(center - reach)
    scale = TILE.width / (2 * reach)
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.warpAffine(image, matrix, (TILE.width, TILE.height), flags=method, borderValue=(24, 28, 34))
    return np.asarray(tile, dtype=np.uint8), scale, corner


def _with_truth(image: NDArray[np.uint8], truth: Floats, found: Floats | None) -> NDArray[np.uint8]:
    canvas = image.copy()
    for place, point in enumerate(truth):
        at = _pixel(point)
        if found is not None:
            cv2.line(canvas, at, _pixel(found[place]), _ERROR, 1, cv2.LINE_AA)
        cv2.circle(canvas, at, 4, (0, 0, 0), 2, cv2.LINE_AA)
        cv2.circle(canvas, at, 4, _TRUTH, 1, cv2.LINE_AA)
    return canvas


def _pixel(point: Floats) -> tuple[int, int]:
    x, y = np.clip(np.rint(point), -10_000, 10_000).astype(int).tolist()
    return x, y
