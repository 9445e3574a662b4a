"""The labelled people of a data set and what was estimated for each, as arrays of the same order."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import CONTEXT, as_boxes, xyxy_to_xywh
from vitpose.core.poses import Boxes, Poses
from vitpose.core.skeleton import Skeleton
from vitpose.data.matching import skeleton_positions
from vitpose.data.records import Identifier, LabelledSet, PersonRecord
from vitpose.metrics.calibration import RIGHT_OKS
from vitpose.metrics.matching import match_boxes
from vitpose.metrics.table import keypoint_similarity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


_HEAD = frozenset({"head", "top_head", "head_top", "neck"})


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """One picture of a labelled set.

    Attributes:
        id: as in the labels.
        path: where it lies.
        records: positions of its people in the set, crowds and people without keypoints included.
        counted: positions of the people that are looked for.
    """

    id: Identifier
    path: Path
    records: tuple[int, ...]
    counted: tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class People:
    """Labels beside estimates; keypoints in the order of the labels, and only those the model knows too.

    Attributes:
        skeleton_indices: positions in the label's skeleton of the keypoints that are compared.
        names: their names.
        sigmas: ``(keypoints,)`` their OKS constants.
        image: ``(people,)`` position of each person's picture.
        record: ``(people,)`` position in the set.
        truth: ``(people, keypoints, 2)`` pixels.
        visibility: ``(people, keypoints)`` 0 not labelled, 1 hidden, 2 visible.
        areas: ``(people,)`` square pixels.
        boxes: ``(people, 4)`` labelled boxes, xyxy.
        xy: ``(people, keypoints, 2)`` estimates; zeros for people nobody found.
        scores: ``(people, keypoints)`` heatmap peaks.
        found: ``(people,)`` there is an estimate.
    """

    skeleton_indices: Ints
    names: tuple[str, ...]
    sigmas: Floats
    image: Ints
    record: Ints
    truth: Floats
    visibility: Ints
    areas: Floats
    boxes: Floats
    xy: Floats
    scores: Floats
    found: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.record)

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """``(people, keypoints)`` the point is labelled and the person was found."""
        return (self.visibility > 0) & self.found[:, None]

    @cached_property
    def similarity(self) -> Floats:
        """``(people, keypoints)`` OKS of single keypoints; 0 for people nobody found, NaN where nothing is labelled."""
        squared = ((self.xy - self.truth) ** 2).sum(axis=-1)
        alike = keypoint_similarity(squared, self.areas, self.sigmas) * self.found[:, None]
        return np.where(self.visibility > 0, alike, np.nan)

    @cached_property
    def oks(self) -> Floats:
        """``(people,)`` mean similarity over labelled keypoints: 0 for people nobody found."""
        return np.nanmean(self.similarity, axis=1) if len(self) else np.zeros(0)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """``(people, keypoints)`` within the OKS 0.5 tolerance of the label; false where nothing is labelled."""
        return np.nan_to_num(self.similarity) >= RIGHT_OKS


def pictures_of(labelled: LabelledSet, limit: int | None = None, *, with_people: bool = False) -> tuple[Picture, ...]:
    """Group the people of a set by picture.

    Args:
        labelled: the set.
        limit: only the first so many pictures.
        with_people: leave out pictures in which nobody is looked for.

    Raises:
        UsageError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the number of pictures must be at least 1, not {limit}")
    members: dict[Identifier, list[int]] = {image.id: [] for image in labelled.images}
    paths = {image.id: image.path for image in labelled.images}
    for place, record in enumerate(labelled.records):
        members.setdefault(record.image_id, []).append(place)
        paths.setdefault(record.image_id, record.image)
    pictures = (
        Picture(
            id=image,
            path=paths[image],
            records=tuple(places),
            counted=tuple(place for place in places if _counts(labelled.records[place])),
        )
        for image, places in members.items()
    )
    return tuple(itertools.islice((picture for picture in pictures if picture.counted or not with_people), limit))


def labelled_boxes(labelled: LabelledSet, picture: Picture) -> Boxes:
    """Return the labelled boxes of the people in a picture that are looked for.

    Where the labels say which region a model should see (MPII), it is the box round which that region lies.
    """
    people = [labelled.records[place] for place in picture.counted]
    return Boxes(
        np.array([_box_to_see(record) for record in people], dtype=np.float32).reshape(-1, 4),
        labels=tuple(record.label for record in people),
    )


def gather(
    labelled: LabelledSet, pictures: Sequence[Picture], poses: Sequence[Poses], skeleton: Skeleton, *, given: bool
) -> People:
    """Put each labelled person beside the estimate that is about them.

    Args:
        labelled: the set.
        pictures: of the set.
        poses: the estimates in each picture, before duplicates are taken out.
        skeleton: of the estimates.
        given: the estimates were made from ``labelled_boxes``, in that order; otherwise each person gets the
            estimate whose box overlaps theirs most, by IoU of at least 0.5.
    """
    theirs, ours = shared_keypoints(labelled.skeleton, skeleton)
    places = np.array([place for picture in pictures for place in picture.counted], dtype=np.int64)
    records = [labelled.records[place] for place in places]
    keypoints = len(labelled.skeleton)
    truth = np.array([record.keypoints for record in records], dtype=np.float64).reshape(-1, keypoints, 2)[:, theirs]
    seen = np.array([record.visibility for record in records], dtype=np.int64).reshape(-1, keypoints)[:, theirs]
    boxes = np.array([record.box for record in records], dtype=np.float64).reshape(-1, 4)
    xy, scores = np.zeros(truth.shape), np.zeros(seen.shape)
    found = np.zeros(len(records), dtype=bool)
    start = 0
    for picture, estimates in zip(pictures, poses, strict=True):
        people = slice(start, start + len(picture.counted))
        start = people.stop
        chosen = np.arange(len(estimates)) if given else _by_box(estimates, boxes[people])
        there = chosen >= 0
        xy[people][there] = estimates.xy[chosen[there]][:, ours]
        scores[people][there] = estimates.scores[chosen[there]][:, ours]
        found[people] = there
    # People whose only labelled keypoints the model does not know cannot be judged.
    judged = (seen > 0).any(axis=1)
    image = np.repeat(np.arange(len(pictures)), [len(picture.counted) for picture in pictures])
    return People(
        skeleton_indices=theirs,
        names=tuple(labelled.skeleton.keypoints[place] for place in theirs),
        sigmas=labelled.skeleton.sigma_array[theirs],
        image=image[judged],
        record=places[judged],
        truth=truth[judged],
        visibility=seen[judged],
        areas=np.array([record.area for record in records], dtype=np.float64)[judged],
        boxes=boxes[judged],
        xy=xy[judged],
        scores=scores[judged],
        found=found[judged],
    )


def shared_keypoints(labels: Skeleton, model: Skeleton) -> tuple[Ints, Ints]:
    """Return the positions, in the labels and in the model, of the keypoints both have by name.

    Raises:
        UsageError: they share none.
    """
    positions = skeleton_positions(labels, model)
    theirs = np.flatnonzero(positions >= 0).astype(np.int64)
    return theirs, positions[theirs]


def coco_labels(labelled: LabelledSet, pictures: Sequence[Picture], keypoints: Ints) -> dict[str, Any]:
    """Return the labels as COCO has them, pictures numbered by position, one category a label.

    In sets with a crowd index somebody of whom only head and neck are labelled is not looked for: the published
    CrowdPose files leave both out of ``num_keypoints`` (true of all 8,527 people of its validation labels).
    """
    decides = np.ones(len(keypoints), dtype=bool)
    if any(entry.crowd_index is not None for entry in labelled.images):
        decides = np.array([labelled.skeleton.keypoints[place] not in _HEAD for place in keypoints], dtype=bool)
    labels = sorted({record.label for record in labelled.records}) or [""]
    category = {label: number for number, label in enumerate(labels, 1)}
    crowd_index = {entry.id: entry.crowd_index for entry in labelled.images}
    images: list[dict[str, Any]] = []
    annotations = []
    for number, picture in enumerate(pictures):
        crowding = crowd_index.get(picture.id)
        images.append({"id": number} | ({} if crowding is None else {"crowdIndex": crowding}))
        for place in picture.records:
            record = labelled.records[place]
            points = np.concatenate([record.keypoints, record.visibility[:, None]], axis=1)[keypoints]
            annotations.append(
                {
                    "id": place + 1,
                    "image_id": number,
                    "category_id": category[record.label],
                    "bbox": xyxy_to_xywh(record.box).tolist(),
                    "area": record.area,
                    "iscrowd": int(record.crowd),
                    "num_keypoints": int((points[decides, 2] > 0).sum()),
                    "keypoints": points.ravel().tolist(),
                }
            )
    categories = [{"id": number, "name": label} for label, number in category.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_results(poses: Sequence[Poses], categories: Mapping[str, int], keypoints: Ints) -> list[dict[str, Any]]:
    """Return the estimates as COCO results, pictures numbered by position.

    Args:
        poses: the estimates in each picture.
        categories: category of each label; estimates with a label it does not have are left out.
        keypoints: positions in the model's skeleton of the keypoints that are compared.
    """
    results = []
    for number, estimates in enumerate(poses):
        triples = np.concatenate([estimates.xy, estimates.scores[..., None]], axis=-1)[:, keypoints]
        rows = zip(triples, estimates.score, estimates.labels, strict=True)
        results += [
            {
                "image_id": number,
                "category_id": categories[label],
                "keypoints": points.ravel().tolist(),
                "score": float(score),
            }
            for points, score, label in rows
            if label in categories
        ]
    return results


def _counts(record: PersonRecord) -> bool:
    if record.crowd or not (np.asarray(record.visibility) > 0).any():
        return False
    try:
        as_boxes(record.box)
    except InputError:
        return False
    return True


def _box_to_see(record: PersonRecord) -> NDArray[np.float64]:
    if record.region is None:
        return record.box
    center, extent = record.region[:2], record.region[2:] / CONTEXT
    return np.concatenate([center - extent / 2, center + extent / 2])


def _by_box(estimates: Poses, boxes: Floats) -> Ints:
    return match_boxes(estimates.boxes.astype(np.float64), boxes, estimates.score.astype(np.float64))
