"""People and predictions of a data set as flat arrays, with the OKS of every pair that could match."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitpose.core.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
AreaSource = Literal["label", "box"]

MAX_PEOPLE = 20
"""How many predictions of one picture and category count, best first (COCO keypoint evaluation)."""

BOX_AREA_SHARE = 0.53
"""Area of a person as a share of the box's, where no area is labelled (COCO's own ratio; CrowdPose, AIC)."""

_PAIRS_AT_ONCE = 100_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Truth:
    """The labelled people, sorted by group (picture and category).

    Attributes:
        xy: ``(people, keypoints, 2)`` pixels of the picture.
        visibility: ``(people, keypoints)`` 0 not labelled, 1 hidden, 2 visible.
        areas: ``(people,)`` square pixels, the scale of OKS.
        boxes: ``(people, 4)`` x, y, width, height.
        crowd: ``(people,)`` may match many predictions and counts for nothing.
        ignored: ``(people,)`` crowds and people without keypoints: a match with one is neither right nor wrong.
        group: ``(people,)`` position of the group.
    """

    xy: Floats
    visibility: Ints
    areas: Floats
    boxes: Floats
    crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    group: Ints


@dataclass(frozen=True, eq=False, kw_only=True)
class Results:
    """The predictions, sorted by group and then best first.

    Attributes:
        xy: ``(results, keypoints, 2)`` pixels of the picture.
        scores: ``(results,)`` by which predictions are ranked.
        areas: ``(results,)`` extent of the keypoints in square pixels, for the split by size.
        group: ``(results,)`` position of the group.
        position: ``(results,)`` place in the list that was given.
    """

    xy: Floats
    scores: Floats
    areas: Floats
    group: Ints
    position: Ints


@dataclass(frozen=True, eq=False, kw_only=True)
class KeypointTable:
    """A data set ready to be scored.

    Attributes:
        images: ids of all pictures, sorted; a group's picture is ``group // len(categories)``.
        categories: ids of all categories, sorted; a group's category is ``group % len(categories)``.
        category_names: name of each category.
        truth: the labelled people.
        results: the predictions, at most ``most`` a group.
        blocks: OKS of each group that has people and predictions, ``(results, people)`` in the order above.
    """

    images: tuple[Hashable, ...]
    categories: tuple[Hashable, ...]
    category_names: tuple[str, ...]
    truth: Truth
    results: Results
    blocks: Mapping[int, Floats]

    def image_of(self, group: Ints) -> Ints:
        """Return the position of each group's picture."""
        return group // len(self.categories)


def build_table(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    *,
    sigmas: ArrayLike,
    area: AreaSource = "label",
    most: int = MAX_PEOPLE,
) -> KeypointTable:
    """Gather labels and predictions into arrays and compare every pair in a picture.

    Args:
        truth: COCO keypoint labels: ``images``, ``annotations`` and, if there are several, ``categories``. Any ids
            are fine, 0 included. ``num_keypoints`` decides who is ignored; where it is missing, labelled points do.
        results: COCO keypoint results: ``image_id``, ``keypoints``, ``score``, ``category_id`` where it matters.
            A ``bbox`` is not looked at: sizes are the extent of the keypoints, as in the official protocol.
        sigmas: ``(keypoints,)`` OKS constants.
        area: ``label`` takes ``area``, or 0.53 of the box where a person has none; ``box`` always takes the latter.
        most: how many results of one picture and category count, best first.

    Raises:
        InputError: an entry is incomplete, has another number of keypoints, or names an unknown picture.
    """
    constants = np.asarray(sigmas, dtype=np.float64)
    images = _sorted_ids(entry["id"] for entry in truth["images"])
    annotations = list(truth["annotations"])
    listed = {entry["id"]: str(entry.get("name", entry["id"])) for entry in truth.get("categories", ())}
    categories = _sorted_ids({*listed, *(entry.get("category_id", 1) for entry in annotations)} or {1})
    places = (
        {image: place for place, image in enumerate(images)},
        {category: place for place, category in enumerate(categories)},
    )
    people = _read_truth(annotations, places, len(constants), area)
    found = _read_results(results, places, len(constants), most)
    return KeypointTable(
        images=images,
        categories=categories,
        category_names=tuple(listed.get(category, str(category)) for category in categories),
        truth=people,
        results=found,
        blocks=_compare(people, found, constants),
    )


def keypoint_similarity(squared: Floats, areas: Floats, sigmas: Floats) -> Floats:
    """Return ``exp(-d^2 / (2 * area * (2 * sigma)^2))``, the similarity of single keypoints (COCO).

    Args:
        squared: ``(..., keypoints)`` squared distances in pixels.
        areas: ``(...)`` square pixels.
        sigmas: ``(keypoints,)``.
    """
    similarity: Floats = np.exp(-(squared / (sigmas * 2) ** 2 / (areas[..., None] + np.spacing(1)) / 2))
    return similarity


def _sorted_ids(ids: Any) -> tuple[Hashable, ...]:
    unique = dict.fromkeys(ids)
    try:
        return tuple(sorted(unique))
    except TypeError:
        return tuple(sorted(unique, key=str))


_Places = tuple[dict[Hashable, int], dict[Hashable, int]]


def _all_points(entries: Sequence[Mapping[str, Any]], keypoints: int, what: str) -> Floats:
    """Return ``(entries, keypoints, 3)``; one conversion for all, since there may be a hundred thousand."""
    rows = [entry.get("keypoints") for entry in entries]
    for number, row in enumerate(rows):
        if row is None or len(row) != 3 * keypoints:
            found = "no keypoints" if row is None else f"{len(row)} keypoint numbers"
            name = entries[number].get("id", number)
            raise InputError(f"{what} {name!r} has {found}, and the skeleton needs 3 x {keypoints}")
    try:
        points = np.array(rows, dtype=np.float64).reshape(len(rows), keypoints, 3)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}s have keypoints that are not numbers ({error})") from error
    if not np.isfinite(points).all():
        bad = int(np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))[0])
        raise InputError(f"{what} {entries[bad].get('id', bad)!r} has a keypoint that is not a finite number")
    return points


def _groups(entries: Sequence[Mapping[str, Any]], places: _Places, what: str) -> Ints:
    """Return each entry's group; -1 for results of a category nobody labelled."""
    images, categories = places
    default, count = next(iter(categories)), len(categories)
    groups = np.empty(len(entries), dtype=np.int64)
    for number, entry in enumerate(entries):
        image = images.get(entry.get("image_id"))
        if image is None:
            name = entry.get("id", number)
            raise InputError(
                f"{what} {name!r} belongs to picture {entry.get('image_id')!r}, which the labels do not list"
            )
        category = categories.get(entry.get("category_id", default))
        groups[number] = -1 if category is None else image * count + category
    return groups


def _read_truth(entries: Sequence[Mapping[str, Any]], places: _Places, keypoints: int, area: AreaSource) -> Truth:
    points = _all_points(entries, keypoints, "annotation")
    labelled = points[..., 2] > 0
    counts = labelled.sum(axis=1)
    boxes = _boxes(entries, points, labelled)
    areas = BOX_AREA_SHARE * boxes[:, 2] * boxes[:, 3]
    if area == "label":
        areas = np.array([entry.get("area", other) for entry, other in zip(entries, areas, strict=True)], np.float64)
    crowd = np.array([bool(entry.get("iscrowd", 0)) for entry in entries], dtype=bool)
    bare = [not entry.get("num_keypoints", count) for entry, count in zip(entries, counts, strict=True)]
    group = _groups(entries, places, "annotation")
    order = np.argsort(group, kind="stable")
    return Truth(
        xy=points[order, :, :2],
        visibility=np.ceil(points[order, :, 2]).astype(np.int64),
        areas=areas[order],
        boxes=boxes[order],
        crowd=crowd[order],
        ignored=(crowd | np.array(bare, dtype=bool))[order],
        group=group[order],
    )


def _boxes(entries: Sequence[Mapping[str, Any]], points: Floats, labelled: NDArray[np.bool_]) -> Floats:
    """Return ``(people, 4)`` x, y, width, height; where none is labelled, the extent of the labelled keypoints."""
    boxes = np.zeros((len(entries), 4))
    for number, entry in enumerate(entries):
        given = entry.get("bbox")
        if given is not None:
            boxes[number] = given
        elif labelled[number].any():
            mine = points[number, labelled[number], :2]
            boxes[number] = [*mine.min(axis=0), *np.ptp(mine, axis=0)]
    return boxes


def _read_results(entries: Sequence[Mapping[str, Any]], places: _Places, keypoints: int, most: int) -> Results:
    points, group = _all_points(entries, keypoints, "result"), _groups(entries, places, "result")
    for number, entry in enumerate(entries):
        if "score" not in entry:
            raise InputError(f"result {number} has no score: predictions are ranked by it")
    scores = np.array([entry["score"] for entry in entries], dtype=np.float64)
    order = np.lexsort((-scores, group))
    order = order[group[order] >= 0]
    # The place of each result in its group: beyond the first ``most`` nothing counts.
    sorted_group = group[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_group, sorted_group, side="left")
    order = order[place < most]
    xy = points[order, :, :2]
    extent = np.ptp(xy, axis=1)
    return Results(xy=xy, scores=scores[order], areas=extent[:, 0] * extent[:, 1], group=group[order], position=order)


def _compare(truth: Truth, results: Results, sigmas: Floats) -> dict[int, Floats]:
    """Return the OKS block of every group that has both sides."""
    first = np.searchsorted(truth.group, results.group, side="left")
    count = np.searchsorted(truth.group, results.group, side="right") - first
    which = np.repeat(np.arange(len(results.group)), count)
    within = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    person = first[which] + within
    oks = np.empty(len(which))
    for start in range(0, len(which), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        oks[part] = _pair_oks(truth, person[part], results.xy[which[part]], sigmas)
    blocks: dict[int, Floats] = {}
    groups, begins, sizes = np.unique(results.group[which], return_index=True, return_counts=True)
    for group, begin, size in zip(groups.tolist(), begins.tolist(), sizes.tolist(), strict=True):
        blocks[group] = oks[begin : begin + size].reshape(-1, int(count[which[begin]]))
    return blocks


def _pair_oks(truth: Truth, person: Ints, xy: Floats, sigmas: Floats) -> Floats:
    counted = truth.visibility[person] > 0
    labelled = counted.any(axis=1)
    delta = xy - truth.xy[person]
    squared = delta[..., 0] ** 2 + delta[..., 1] ** 2
    if not labelled.all():
        # A person without keypoints is ignored; what lies within twice the box is taken to be that person (COCO).
        bare = ~labelled
        box = truth.boxes[person[bare]]
        low, high = box[:, None, :2] - box[:, None, 2:], box[:, None, :2] + 2 * box[:, None, 2:]
        outside = np.maximum(low - xy[bare], 0) + np.maximum(xy[bare] - high, 0)
        squared[bare] = (outside**2).sum(axis=-1)
        counted[bare] = True
    similarity = keypoint_similarity(squared, truth.areas[person], sigmas)
    mean: Floats = (similarity * counted).sum(axis=1) / counted.sum(axis=1)
    return mean
