"""COCO-style annotation files: ``images``, ``annotations`` and ``categories``, and what other sets do to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.geometry import CONTEXT, Size
from vitpose.core.skeleton import Skeleton
from vitpose.data.readers.categories import category_names, skeleton_of, without_keypoints
from vitpose.data.readers.checks import Entry, OnBad, entries, identifier, number, numbers, picture_size, table, text
from vitpose.data.readers.pictures import find_images, picture_path
from vitpose.data.records import AREA_OF_BOX, Identifier, ImageEntry, LabelledSet, PersonRecord

_PIXELS_PER_SCALE = 200
_HEAD_SHARE = 0.6
_MARGIN = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoStyle:
    """How a set differs from plain COCO.

    Attributes:
        skeleton: of the keypoints, or None to take the one the file's categories describe.
        fields: lists of x, y, v that follow one another in the skeleton (COCO-WholeBody has five).
        one_based: the first pixel is 1, 1.
        center_scale: the model sees the region around ``center`` and ``scale`` (times 200 pixels), not the box.
        swapped_sizes: width and height of some pictures have changed places.
        loose_visibility: visibilities are any numbers; above 0 means labelled.
    """

    skeleton: Skeleton | None = None
    fields: tuple[str, ...] = ("keypoints",)
    one_based: bool = False
    center_scale: bool = False
    swapped_sizes: bool = False
    loose_visibility: bool = False


class _Context(NamedTuple):
    """What reading one person needs to know besides the person."""

    where: str
    style: CocoStyle
    keypoints: int
    images: Mapping[Identifier, ImageEntry]
    categories: Mapping[Identifier, str]
    others: frozenset[Identifier]


def read_coco(path: Path, content: Any, images_dir: str | Path | None, style: CocoStyle, on_bad: OnBad) -> LabelledSet:
    """Turn the content of a COCO-style file into records.

    People without a box get one from their labelled keypoints, grown by 0.12 of its sides. A person with a box without
    area and no labelled keypoint is left out, as the original release does; published files contain some.

    Raises:
        InputError: see ``read_labelled``.
    """
    where = str(path)
    categories = content.get("categories") or [] if isinstance(content, Mapping) else []
    if not isinstance(categories, list):
        raise InputError(f"{where}: field 'categories' must be a list")
    people = entries(content, "annotations", path)
    skeleton = style.skeleton or skeleton_of(categories, where)
    if skeleton is None:
        raise InputError(f"{where}: the categories name no keypoints; say which skeleton the file has")
    folder, images = _images(path, entries(content, "images", path), images_dir)
    names = category_names(categories, where)
    context = _Context(where, style, len(skeleton), images, names, without_keypoints(categories))
    records, problems = _people(people, context, on_bad)
    if style.swapped_sizes:
        images = _upright(images, records)
    return LabelledSet(
        name=path.name.removesuffix(".gz").removesuffix(".json"),
        skeleton=skeleton,
        records=tuple(records),
        images=tuple(images.values()),
        source=path,
        images_dir=folder,
        problems=tuple(problems),
        category_ids={label: key for key, label in names.items() if key not in context.others},
    )


def _images(
    path: Path, listed: Sequence[Any], images_dir: str | Path | None
) -> tuple[Path, dict[Identifier, ImageEntry]]:
    places = [f"{path}: image {index}" for index in range(len(listed))]
    names = [text(table(entry, place), "file_name", place) for entry, place in zip(listed, places, strict=True)]
    folder, dropped = find_images(path, images_dir, names)
    images: dict[Identifier, ImageEntry] = {}
    owners: dict[Path, str] = {}
    for entry, name, place in zip(listed, names, places, strict=True):
        found = picture_path(folder, name, dropped)
        if owners.setdefault(found, name) != name:
            raise InputError(
                f"{place}: {owners[found]!r} and {name!r} would both be {found}: give the folder"
                " the names are relative to"
            )
        key = identifier(entry, "id", place)
        if key in images:
            raise InputError(f"{place}: field 'id' is {key!r}, which another image has too")
        crowd_index = number(entry, "crowdIndex", place)
        images[key] = ImageEntry(key, found, picture_size(entry, place), crowd_index)
    return folder, images


def _people(people: Sequence[Any], context: _Context, on_bad: OnBad) -> tuple[list[PersonRecord], list[str]]:
    records: list[PersonRecord] = []
    problems: list[str] = []
    seen: set[Identifier] = set()
    for index, entry in enumerate(people):
        try:
            place = f"{context.where}: annotation at index {index}"
            key = identifier(table(entry, place), "id", place)
            place = f"{context.where}: annotation id {key} (index {index})"
            if key in seen:
                raise InputError(f"{place}: field 'id' is used twice")
            seen.add(key)
            if _category(entry, place) in context.others:
                continue
            record = _person(entry, key, place, context)
        except InputError as error:
            if on_bad == "refuse":
                raise
            problems.append(str(error))
            continue
        if record is None:
            problems.append(f"{place}: left out, its box has no area and no keypoint is labelled")
        else:
            records.append(record)
    return records, problems


def _person(entry: Entry, key: Identifier, place: str, context: _Context) -> PersonRecord | None:
    image = context.images.get(identifier(entry, "image_id", place))
    if image is None:
        raise InputError(f"{place}: field 'image_id' is {entry['image_id']!r}, which no image has")
    shift = 1.0 if context.style.one_based else 0.0
    keypoints, visibility = _keypoints(entry, place, context)
    keypoints[visibility > 0] -= shift
    box = _box(entry, place, keypoints[visibility > 0], shift)
    if box is None:
        return None
    area = number(entry, "area", place)
    return PersonRecord(
        image=image.path,
        image_id=image.id,
        annotation_id=key,
        box=box,
        keypoints=keypoints.astype(np.float32),
        visibility=visibility,
        # Tools without outlines write 0; an outline drawn the other way round makes it negative.
        area=area if area is not None and area > 0 else float(np.prod(box[2:] - box[:2])) * AREA_OF_BOX,
        crowd=_is_crowd(entry, place),
        label=context.categories.get(_category(entry, place), ""),
        region=_region(entry, place, center_scale=context.style.center_scale),
        head_size=_head_size(entry, place),
        crowd_index=image.crowd_index,
        track_id=_track(entry, place),
    )


def _category(entry: Entry, place: str) -> Identifier:
    return "" if entry.get("category_id") is None else identifier(entry, "category_id", place)


def _track(entry: Entry, place: str) -> Identifier | None:
    """Return a track's id as it is, whole number or text."""
    value = entry.get("track_id")
    whole = isinstance(value, float) and value.is_integer()
    return None if value is None else int(value) if whole else identifier(entry, "track_id", place)


def _is_crowd(entry: Entry, place: str) -> bool:
    value = entry.get("iscrowd")
    return value if isinstance(value, bool) else bool(number(entry, "iscrowd", place))


def _keypoints(entry: Entry, place: str, context: _Context) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Return points and visibility; an annotation without the fields, or with empty ones, has nothing labelled."""
    parts = [numbers(entry, name, place) for name in context.style.fields if entry.get(name) is not None]
    joined = np.concatenate(parts) if parts else np.zeros(0)
    if joined.size == 0:
        joined = np.zeros(context.keypoints * 3)
    names = " + ".join(repr(name) for name in context.style.fields)
    if joined.size != context.keypoints * 3:
        raise InputError(
            f"{place}: field {names} has {joined.size} numbers; {context.keypoints} keypoints need"
            f" {context.keypoints * 3}, x, y and visibility each"
        )
    rows = joined.reshape(-1, 3)
    states = rows[:, 2]
    if context.style.loose_visibility:
        states = np.where(states > 0, np.clip(np.round(states), 1, 2), 0)
    wrong = ~np.isin(states, (0, 1, 2))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(f"{place}: field {names}: keypoint {at} has visibility {states[at]:g}; known are 0, 1 and 2")
    visibility = states.astype(np.int8)
    return np.where(visibility[:, None] > 0, rows[:, :2], 0.0), visibility


def _box(entry: Entry, place: str, labelled: NDArray[np.float64], shift: float) -> NDArray[np.float64] | None:
    if entry.get("bbox") is None:
        return _box_around(labelled, place)
    given = numbers(entry, "bbox", place, (4,))
    width, height = given[2:]
    if width > 0 and height > 0:
        return np.concatenate([given[:2], given[:2] + given[2:]]) - shift
    if width >= 0 and height >= 0:  # as tools write it around a single point
        return _box_around(labelled, place) if len(labelled) else None
    raise InputError(f"{place}: field 'bbox' is {given.tolist()}: width and height must be above 0")


def _box_around(labelled: NDArray[np.float64], place: str) -> NDArray[np.float64]:
    if not len(labelled):
        raise InputError(f"{place}: field 'bbox' is missing and there is no labelled keypoint to make one from")
    low, high = labelled.min(axis=0), labelled.max(axis=0)
    margin = np.maximum((high - low) * _MARGIN, 1.0)
    return np.concatenate([low - margin, high + margin])


def _region(entry: Entry, place: str, *, center_scale: bool) -> NDArray[np.float64] | None:
    if entry.get("region") is not None:
        return numbers(entry, "region", place, (4,))
    if not center_scale or entry.get("center") is None or entry.get("scale") is None:
        return None
    side = float(numbers(entry, "scale", place, ())) * _PIXELS_PER_SCALE * CONTEXT
    return np.concatenate([numbers(entry, "center", place, (2,)), [side, side]])


def _head_size(entry: Entry, place: str) -> float | None:
    if entry.get("head_size") is not None:
        return number(entry, "head_size", place)
    if entry.get("bbox_head") is None:
        return None
    head = numbers(entry, "bbox_head", place)
    return _HEAD_SHARE * float(np.hypot(*head[2:])) if head.size == 4 else None


def _upright(images: Mapping[Identifier, ImageEntry], records: Sequence[PersonRecord]) -> dict[Identifier, ImageEntry]:
    """Exchange width and height of pictures whose people only fit in that way (CrowdPose)."""
    reach: dict[Identifier, NDArray[np.float64]] = {}
    for record in records:
        points = np.concatenate([record.keypoints[record.visibility > 0], record.box[None, 2:]])
        reach[record.image_id] = np.maximum(reach.get(record.image_id, np.zeros(2)), points.max(axis=0))
    fixed = dict(images)
    for key, (x, y) in reach.items():
        size = images[key].size
        if size is None or (x <= size.width + 1 and y <= size.height + 1):
            continue
        if x <= size.height + 1 and y <= size.width + 1:
            fixed[key] = replace(images[key], size=Size(size.width, size.height))
    return fixed
