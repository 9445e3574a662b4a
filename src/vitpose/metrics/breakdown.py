"""Where a model is good and where it is not: by person size, occlusion and crowding."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitpose.core.errors import UsageError
from vitpose.core.similarity import iou_matrix

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Slicing:
    """How a number a person is cut into groups: ``edges[i] <= value < edges[i + 1]``.

    Attributes:
        name: of the number.
        edges: one more than there are labels; the last group includes its upper edge.
        labels: of the groups.
    """

    name: str
    edges: tuple[float, ...]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse edges and labels that do not fit.

        Raises:
            UsageError: the edges do not rise or are not one more than the labels.
        """
        if len(self.edges) != len(self.labels) + 1 or list(self.edges) != sorted(set(self.edges)):
            raise UsageError(f"slicing {self.name!r}: {len(self.labels)} labels need as many rising edges and one")


@dataclass(frozen=True, slots=True)
class Slice:
    """One group of people.

    Attributes:
        label: what they have in common.
        people: how many.
        mean: of the value that was broken down; NaN for nobody.
    """

    label: str
    people: int
    mean: float


SIZE = Slicing(
    "size", (0, 32**2, 96**2, 192**2, np.inf), ("below 32 px", "32 to 96 px", "96 to 192 px", "192 px and more")
)
"""By the root of the person's area: COCO's small, medium, and its large in two."""

OCCLUSION = Slicing(
    "occlusion", (0, 1e-9, 0.25, 0.5, 1), ("nothing hidden", "under a quarter", "a quarter to half", "half and more")
)
"""By the share of labelled keypoints that are hidden (visibility 1)."""

CROWDING = Slicing("crowding", (0, 1e-9, 0.1, 0.3, 1), ("alone", "touching", "overlapping", "crowded"))
"""By the largest IoU with another labelled box of the picture: 0, below 0.1, below 0.3, more."""


def occlusion(visibility: ArrayLike) -> Floats:
    """Return ``(people,)`` shares of hidden keypoints among the labelled ones; NaN without labelled keypoints.

    Args:
        visibility: ``(people, keypoints)`` 0 not labelled, 1 hidden, 2 visible.
    """
    array = np.asarray(visibility)
    labelled = (array > 0).sum(axis=1)
    hidden = (array == 1).sum(axis=1)
    shares: Floats = np.divide(hidden, labelled, out=np.full(len(array), np.nan), where=labelled > 0)
    return shares


def crowding(boxes: ArrayLike, image: ArrayLike) -> Floats:
    """Return ``(people,)`` largest IoU with another box of the same picture, 0 for people alone.

    Args:
        boxes: ``(people, 4)`` xyxy.
        image: ``(people,)`` position of the picture.
    """
    array, place = np.asarray(boxes, dtype=np.float64).reshape(-1, 4), np.asarray(image)
    largest = np.zeros(len(array))
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order])) + 1
    for people in np.split(order, starts) if len(order) else ():
        overlap = iou_matrix(array[people], array[people])
        np.fill_diagonal(overlap, 0)
        largest[people] = overlap.max(axis=1)
    return largest


def break_down(values: ArrayLike, attribute: ArrayLike, slicing: Slicing) -> tuple[Slice, ...]:
    """Return the mean value of each group; people whose value or attribute is NaN are in none.

    Args:
        values: ``(people,)``, for instance the OKS of each person.
        attribute: ``(people,)`` the number that is cut.
        slicing: where it is cut.
    """
    numbers, cut = np.asarray(values, dtype=np.float64), np.asarray(attribute, dtype=np.float64)
    there = np.isfinite(numbers) & np.isfinite(cut)
    place = np.searchsorted(slicing.edges, cut, side="right") - 1
    place = np.where(cut == slicing.edges[-1], len(slicing.labels) - 1, place)
    slices = []
    for group, label in enumerate(slicing.labels):
        mine = numbers[there & (place == group)]
        slices.append(Slice(label, len(mine), float(mine.mean()) if len(mine) else float("nan")))
    return tuple(slices)
