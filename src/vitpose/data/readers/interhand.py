"""InterHand2.6M: frames in one file, cameras and 3D points in two others beside it; one hand a record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.skeleton import Skeleton
from vitpose.data.readers.checks import Entry, OnBad, entries, identifier, numbers, picture_size, read_json, table, text
from vitpose.data.readers.pictures import find_images, picture_path
from vitpose.data.records import ImageEntry, LabelledSet, PersonRecord

_KEYPOINTS = 21
_HANDS = ("right", "left")
"""Points 0 to 20 are the right hand's, 21 to 41 the left hand's."""


def read_interhand(
    path: Path, content: Any, images_dir: str | Path | None, skeleton: Skeleton, on_bad: OnBad
) -> LabelledSet:
    """Turn ``*_data.json`` with its ``*_camera.json`` and ``*_joint_3d.json`` into records.

    The 3D points are projected with the frame's camera. Interacting pairs of hands are left out, as a crop of one hand
    would show both. The label says which hand it is; left hands are not mirrored.

    Raises:
        InputError: a file beside it is missing, or see ``read_labelled``.
    """
    cameras = table(read_json(_beside(path, "camera")), f"{_beside(path, 'camera')}")
    points = table(read_json(_beside(path, "joint_3d")), f"{_beside(path, 'joint_3d')}")
    listed = entries(content, "images", path)
    names = [text(table(entry, f"{path}: image"), "file_name", f"{path}: image {i}") for i, entry in enumerate(listed)]
    folder, dropped = find_images(path, images_dir, names)
    frames: dict[Any, tuple[ImageEntry, Entry]] = {}
    for index, (entry, name) in enumerate(zip(listed, names, strict=True)):
        place = f"{path}: image {index}"
        key = identifier(entry, "id", place)
        frames[key] = ImageEntry(key, picture_path(folder, name, dropped), picture_size(entry, place)), entry
    records: list[PersonRecord] = []
    problems: list[str] = []
    for index, entry in enumerate(entries(content, "annotations", path)):
        place = f"{path}: annotation at index {index}"
        try:
            if table(entry, place).get("hand_type") in _HANDS:
                records.append(_hand(entry, place, frames, cameras, points))
        except InputError as error:
            if on_bad == "refuse":
                raise
            problems.append(str(error))
    return LabelledSet(
        name=path.stem,
        skeleton=skeleton,
        records=tuple(records),
        images=tuple(image for image, _ in frames.values()),
        source=path,
        images_dir=folder,
        problems=tuple(problems),
    )


def _beside(path: Path, what: str) -> Path:
    return path.with_name(path.name.replace("_data.json", f"_{what}.json"))


def _hand(
    entry: Entry,
    place: str,
    frames: Mapping[Any, tuple[ImageEntry, Entry]],
    cameras: Entry,
    points: Entry,
) -> PersonRecord:
    key = identifier(entry, "image_id", place)
    if key not in frames:
        raise InputError(f"{place}: field 'image_id' is {key!r}, which no image has")
    image, frame = frames[key]
    capture = str(frame.get("capture"))
    camera = table(cameras.get(capture), f"{place}: the cameras of capture {capture}")
    moment = table(
        table(points.get(capture), f"{place}: the 3D points of capture {capture}").get(str(frame.get("frame_idx"))),
        f"{place}: the 3D points of frame {frame.get('frame_idx')}",
    )
    start = _HANDS.index(entry["hand_type"]) * _KEYPOINTS
    chosen = slice(start, start + _KEYPOINTS)
    world = numbers(moment, "world_coord", place, (2 * _KEYPOINTS, 3))[chosen]
    valid = numbers(entry, "joint_valid", place).reshape(-1)[chosen] > 0
    box = numbers(entry, "bbox", place, (4,))
    if (box[2:] <= 0).any():
        raise InputError(f"{place}: field 'bbox' is {box.tolist()}: width and height must be above 0")
    return PersonRecord(
        image=image.path,
        image_id=image.id,
        annotation_id=identifier(entry, "id", place),
        box=np.concatenate([box[:2], box[:2] + box[2:]]),
        keypoints=np.where(valid[:, None], _project(world, camera, str(frame.get("camera")), place), 0).astype(
            np.float32
        ),
        visibility=valid.astype(np.int8) * np.int8(2),
        area=float(np.prod(box[2:])),
        label=entry["hand_type"],
    )


def _project(world: NDArray[np.float64], cameras: Entry, name: str, place: str) -> NDArray[np.float64]:
    """Project ``(points, 3)`` millimetres to ``(points, 2)`` pixels with a pinhole camera."""
    parts = {
        key: numbers(table(cameras.get(key), f"{place}: camera field {key!r}"), name, place, shape)
        for key, shape in (("campos", (3,)), ("camrot", (3, 3)), ("focal", (2,)), ("princpt", (2,)))
    }
    seen = (world - parts["campos"]) @ parts["camrot"].T
    depth = np.where(seen[:, 2:] == 0, np.finfo(np.float64).eps, seen[:, 2:])
    pixels: NDArray[np.float64] = seen[:, :2] / depth * parts["focal"] + parts["princpt"]
    return pixels
