"""AI Challenger's own list of pictures, each with its people's boxes and keypoints by name."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.skeleton import Skeleton
from vitpose.data.readers.checks import Entry, OnBad, identifier, numbers, table
from vitpose.data.readers.pictures import find_images, picture_path
from vitpose.data.records import AREA_OF_BOX, ImageEntry, LabelledSet, PersonRecord

_VISIBILITY = {1: 2, 2: 1, 3: 0}
"""Theirs (1 visible, 2 hidden, 3 not labelled) to COCO's."""


def read_aic(
    path: Path, content: list[Any], images_dir: str | Path | None, skeleton: Skeleton, on_bad: OnBad
) -> LabelledSet:
    """Turn the official list into records; people are numbered from 1 through the file.

    The file has neither picture sizes nor areas: sizes are unknown and areas are 0.53 of the boxes.

    Raises:
        InputError: see ``read_labelled``.
    """
    places = [f"{path}: image at index {index}" for index in range(len(content))]
    keys = [identifier(table(entry, place), "image_id", place) for entry, place in zip(content, places, strict=True)]
    names = [f"{key}.jpg" for key in keys]
    folder, dropped = find_images(path, images_dir, names)
    images = tuple(ImageEntry(key, picture_path(folder, name, dropped)) for key, name in zip(keys, names, strict=True))
    records: list[PersonRecord] = []
    problems: list[str] = []
    number = 0
    for entry, image in zip(content, images, strict=True):
        place = f"{path}: image_id {image.id}"
        boxes = table(entry.get("human_annotations"), f"{place}: field 'human_annotations'")
        keypoints = table(entry.get("keypoint_annotations"), f"{place}: field 'keypoint_annotations'")
        for human in boxes:
            number += 1
            try:
                records.append(
                    _person(image, number, f"{place}, {human}", {"box": boxes[human], "points": keypoints.get(human)})
                )
            except InputError as error:
                if on_bad == "refuse":
                    raise
                problems.append(str(error))
    return LabelledSet(
        name=path.stem,
        skeleton=skeleton,
        records=tuple(records),
        images=images,
        source=path,
        images_dir=folder,
        problems=tuple(problems),
    )


def _person(image: ImageEntry, number: int, place: str, entry: Entry) -> PersonRecord:
    box = numbers(entry, "box", place, (4,))
    if (box[2:] <= box[:2]).any():
        raise InputError(f"{place}: the box {box.tolist()} must be x1, y1, x2, y2 with x2 > x1 and y2 > y1")
    rows = numbers(entry, "points", place, (14 * 3,)).reshape(-1, 3)
    visibility = _to_coco(rows[:, 2], place)
    return PersonRecord(
        image=image.path,
        image_id=image.id,
        annotation_id=number,
        box=box,
        keypoints=np.where(visibility[:, None] > 0, rows[:, :2], 0.0).astype(np.float32),
        visibility=visibility,
        area=float(np.prod(box[2:] - box[:2])) * AREA_OF_BOX,
        label="person",
    )


def _to_coco(states: NDArray[np.float64], place: str) -> NDArray[np.int8]:
    for state in states:
        if state not in _VISIBILITY:
            raise InputError(
                f"{place}: a keypoint has visibility {state:g}; known are 1 visible, 2 hidden, 3 not labelled"
            )
    return np.array([_VISIBILITY[int(state)] for state in states], dtype=np.int8)
