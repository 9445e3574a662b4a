"""MPII Human Pose: the json lists that came with HRNet, and the official release's ``.mat``.

All coordinates in both start at 1; here they start at 0, and boxes and keypoints are moved alike.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.extras import require
from vitpose.core.skeleton import Skeleton
from vitpose.data.readers.checks import Entry, OnBad, numbers, table, text
from vitpose.data.readers.pictures import find_images, picture_path
from vitpose.data.records import AREA_OF_BOX, ImageEntry, LabelledSet, PersonRecord

_PIXELS_PER_SCALE = 200
_DOWN = 15
"""The centre is moved down by this part of the scale, so that the square holds the feet (HRNet)."""

_HEAD_SHARE = 0.6
_HEAD_FILES = ("gt_valid.mat", "mpii_gt_val.mat", "gt_val.mat")


def read_mpii(
    path: Path, people: Sequence[Any], images_dir: str | Path | None, skeleton: Skeleton, on_bad: OnBad
) -> LabelledSet:
    """Turn a list of ``image, center, scale, joints, joints_vis`` into records, one picture a person.

    The box is the square of ``200 * scale`` around the lowered centre; the usual 1.25 of context is added when it is
    cut out. ``joints_vis`` only says what is labelled: 1 becomes 2. Head sizes for PCKh come from ``gt_valid.mat`` or
    ``mpii_gt_val.mat`` in the same folder, if it lists as many people.

    Raises:
        InputError: see ``read_labelled``.
    """
    places = [f"{path}: person at index {index}" for index in range(len(people))]
    names = [text(table(entry, place), "image", place) for entry, place in zip(people, places, strict=True)]
    folder, dropped = find_images(path, images_dir, names)
    heads = _head_sizes(path.parent, len(people))
    images: dict[str, ImageEntry] = {}
    records: list[PersonRecord] = []
    problems: list[str] = []
    for index, (entry, name, place) in enumerate(zip(people, names, places, strict=True)):
        image = images.setdefault(name, ImageEntry(name, picture_path(folder, name, dropped)))
        try:
            records.append(_person(entry, image, index, place, None if heads is None else float(heads[index])))
        except InputError as error:
            if on_bad == "refuse":
                raise
            problems.append(str(error))
    return LabelledSet(
        name=path.stem,
        skeleton=skeleton,
        records=tuple(records),
        images=tuple(images.values()),
        source=path,
        images_dir=folder,
        problems=tuple(problems),
    )


def _person(entry: Entry, image: ImageEntry, index: int, place: str, head_size: float | None) -> PersonRecord:
    center, scale = numbers(entry, "center", place, (2,)), float(numbers(entry, "scale", place, ()))
    if scale <= 0:
        raise InputError(f"{place}: field 'scale' is {scale:g}; it must be above 0")
    visibility = (numbers(entry, "joints_vis", place, (16,)) > 0).astype(np.int8) * np.int8(2)
    points = numbers(entry, "joints", place, (16, 2)) - 1
    if center[0] != -1:
        center[1] += _DOWN * scale
    half = scale * _PIXELS_PER_SCALE / 2
    box = np.concatenate([center - 1 - half, center - 1 + half])
    return PersonRecord(
        image=image.path,
        image_id=image.id,
        annotation_id=index,
        box=box,
        keypoints=np.where(visibility[:, None] > 0, points, 0.0).astype(np.float32),
        visibility=visibility,
        area=(2 * half) ** 2 * AREA_OF_BOX,
        label="person",
        head_size=float(entry["head_size"]) if "head_size" in entry else head_size,
    )


def _head_sizes(folder: Path, people: int) -> NDArray[np.float64] | None:
    """Return 0.6 of the head boxes' diagonals from the scoring file beside the annotations, in the same order."""
    for name in _HEAD_FILES:
        if not (folder / name).is_file():
            continue
        boxes = np.asarray(_load_mat(folder / name).get("headboxes_src", np.zeros(0)), dtype=np.float64)
        if boxes.shape == (2, 2, people):
            sizes: NDArray[np.float64] = _HEAD_SHARE * np.hypot(*(boxes[1] - boxes[0]))
            return sizes
    return None


def read_mpii_release(path: Path, *, train: bool | None = None) -> list[dict[str, Any]]:
    """Return the people of the official ``mpii_human_pose_v1_u12_1.mat`` in the form ``read_mpii`` takes.

    People without any keypoint, centre or scale (those of the withheld test set) are left out.

    Args:
        path: the file.
        train: only pictures with that mark in ``img_train``; None takes all.

    Raises:
        InputError: not a MATLAB file, or another kind of one.
        MissingExtraError: SciPy is not installed.
    """
    release = _load_mat(path).get("RELEASE")
    if release is None or not hasattr(release, "annolist"):
        raise InputError(f"{path}: there is no RELEASE.annolist in it; is it MPII's mpii_human_pose_v1_u12_1.mat?")
    marks = np.atleast_1d(release.img_train)
    return [
        person
        for image, mark in zip(np.atleast_1d(release.annolist), marks, strict=True)
        if train is None or bool(mark) == train
        for person in _release_people(image)
    ]


def _release_people(image: Any) -> Iterator[dict[str, Any]]:
    for person in np.atleast_1d(image.annorect):
        points = getattr(getattr(person, "annopoints", None), "point", None)
        center: Any = getattr(person, "objpos", None)
        scale: Any = getattr(person, "scale", ())
        if points is None or not hasattr(center, "x") or not np.size(scale):
            continue
        joints, visible = np.zeros((16, 2)), np.zeros(16)
        for point in np.atleast_1d(points):
            joints[int(point.id)] = float(point.x), float(point.y)
            visible[int(point.id)] = 1
        entry = {
            "image": str(image.image.name),
            "center": [float(center.x), float(center.y)],
            "scale": float(scale),
            "joints": joints.tolist(),
            "joints_vis": visible.tolist(),
        }
        if np.size(getattr(person, "x1", [])):
            width, height = float(person.x2) - float(person.x1), float(person.y2) - float(person.y1)
            entry["head_size"] = _HEAD_SHARE * float(np.hypot(width, height))
        yield entry


def _load_mat(path: Path) -> dict[str, Any]:
    scipy_io = require("scipy.io", "train", "reading MATLAB files")
    unreadable = require("scipy.io.matlab", "train", "reading MATLAB files").MatReadError
    try:
        content: dict[str, Any] = scipy_io.loadmat(str(path), squeeze_me=True, struct_as_record=False)
    except (OSError, ValueError, NotImplementedError, unreadable) as error:
        raise InputError(f"{path} cannot be read as a MATLAB file: {error}") from error
    return content
