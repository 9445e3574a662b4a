"""A check-up of a labelled set before hours of training go into it.

Errors are certain (a file that is not there, a box without area); warnings are what somebody should look at. How many
planted faults are found and how often real labels are suspected is measured in ``tests/data/test_doctor.py``.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.core.similarity import box_areas, iou_matrix
from vitpose.core.skeleton import Skeleton
from vitpose.data.findings import DoctorReport, Finding
from vitpose.data.lookalikes import Look, alike, look_at_all
from vitpose.data.plausibility import ENOUGH_PEOPLE, Poses, edge_excess, swap_groups, swap_odds
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import ImageEntry, LabelledSet, PersonRecord
from vitpose.media.images import read_image

FEW_PICTURES, FEW_PEOPLE = 500, 1000
"""Below these a fine-tuned model is hardly better than its start (and its validation score is noise)."""

_ODDS, _EXCESS, _OUTSIDE = 2.0, 4.0, 0.25
_FIND_PEOPLE_SCORE = 0.7

FindPeople = Callable[[Sequence[NDArray[np.uint8]]], Sequence[Any]]
"""Pictures to their ``Boxes``: any detector."""


@dataclass(frozen=True, slots=True)
class _Set:
    """A set with a glance at each of its pictures."""

    labelled: LabelledSet
    looks: tuple[Look, ...]


def check_dataset(
    annotations: str | Path,
    images_dir: str | Path | None = None,
    *,
    kind: str = "auto",
    skeleton: str | Path | Skeleton | None = None,
    others: Sequence[tuple[str | Path, str | Path | None]] = (),
    find_people: FindPeople | None = None,
) -> DoctorReport:
    """Check an annotation file and its pictures.

    Args:
        annotations: the file.
        images_dir: folder of the pictures; by default it is looked for around the file.
        kind: see ``read_labelled``.
        skeleton: see ``read_labelled``.
        others: annotation files and picture folders of other splits, to look for pictures that are in both.
        find_people: a detector, to look for people who are not labelled; without it that is not checked.

    Raises:
        UsageError: an unknown kind or skeleton.
    """
    source = str(annotations)
    try:
        labelled = read_labelled(kind, annotations, images_dir, skeleton=skeleton, on_bad="drop")
    except UsageError:
        raise
    except InputError as error:
        return DoctorReport(source=source, findings=(Finding("file", "error", str(error)),))
    one = _Set(labelled, tuple(look_at_all([image.path for image in labelled.images])))
    trainable = labelled.for_training()
    findings = [*_file(labelled), *_pictures(one), *_people(one), *_plausible(trainable), *_same_pictures(one)]
    skipped = list(_skipped(trainable, find_people))
    for file, folder in others:
        try:
            findings += _leaks(one, read_labelled(kind, file, folder, skeleton=skeleton, on_bad="drop"), file)
        except InputError as error:
            skipped.append(f"leak: {error}")
    if find_people is not None:
        findings += _unlabelled(one, find_people)
    return DoctorReport(
        source=source,
        images=len(labelled.images),
        people=len(labelled),
        trainable=len(trainable),
        keypoints=sum(record.labelled for record in labelled.records),
        findings=tuple(findings),
        skipped=tuple(skipped),
    )


def _amounts(labelled: LabelledSet) -> Iterator[Finding]:
    if len(labelled.images) < FEW_PICTURES:
        yield Finding("few", "warning", f"{len(labelled.images)} pictures; {FEW_PICTURES} or more are advisable")
    people = len(labelled.for_training())
    if not people:
        yield Finding("nobody", "error", "nobody has a labelled keypoint, a box with area, and is no crowd")
    elif people < FEW_PEOPLE:
        yield Finding("few", "warning", f"{people} people to learn from; {FEW_PEOPLE} or more are advisable")


def _file(labelled: LabelledSet) -> Iterator[Finding]:
    for problem in labelled.problems:
        if "left out, its box has no area" in problem:
            yield Finding("no-area", "warning", problem)
        else:
            yield Finding("annotation", "error", problem)
    yield from _amounts(labelled)
    trainable = labelled.for_training()
    counts = sum((record.visibility > 0).astype(int) for record in trainable.records)
    for name, count in zip(labelled.skeleton.keypoints, np.broadcast_to(counts, len(labelled.skeleton)), strict=True):
        if not count:
            yield Finding("never-labelled", "warning", f"keypoint {name!r} is labelled in nobody")
    if not labelled.skeleton.flip_pairs and len(labelled.skeleton) > 1:
        message = "the skeleton has no mirror pairs: if it has sides, name them (left_…, right_…) or give flip_pairs"
        yield Finding("no-pairs", "warning", message)
    paths: dict[Path, ImageEntry] = {}
    for image in labelled.images:
        if image.path in paths:
            message = f"images {paths[image.path].id!r} and {image.id!r} are both {image.path.name}"
            yield Finding("shared-picture", "error", message, str(image.path))
        paths.setdefault(image.path, image)


def _pictures(one: _Set) -> Iterator[Finding]:
    for image, seen in zip(one.labelled.images, one.looks, strict=True):
        path = str(image.path)
        if seen.size is None:
            check = "unreadable" if image.path.is_file() else "missing"
            why = f"cannot be read: {seen.problem}" if check == "unreadable" else "is not there"
            yield Finding(check, "error", f"picture {path} {why}", path)
        elif image.size is not None and image.size != seen.size:
            turned = " (width and height have changed places)" if image.size[::-1] == seen.size else ""
            message = f"{image.path.name} is {_sides(seen.size)}, the file says {_sides(image.size)}{turned}"
            yield Finding("size", "error", message, path)


def _sides(size: Size) -> str:
    return f"{size.width}x{size.height}"


def _people(one: _Set) -> Iterator[Finding]:
    sizes = {image.id: seen.size or image.size for image, seen in zip(one.labelled.images, one.looks, strict=True)}
    names = one.labelled.skeleton.keypoints
    seen_before: dict[bytes, PersonRecord] = {}
    for record in one.labelled.records:
        if not record.labelled:
            continue
        there = record.visibility > 0
        yield from _outside(record, names, there, sizes.get(record.image_id))
        for index in np.flatnonzero(there & (record.keypoints == 0).all(axis=1)):
            yield _about(record, "origin", "error", f"{names[index]!r} is labelled but stands at 0, 0")
        key = str(record.image_id).encode() + record.keypoints.tobytes()
        first = seen_before.setdefault(key, record)
        if first is not record:
            yield _about(record, "twice", "error", f"has the same keypoints as annotation {first.annotation_id}")


def _outside(
    record: PersonRecord, names: Sequence[str], there: NDArray[np.bool_], size: Size | None
) -> Iterator[Finding]:
    points = record.keypoints
    if size is not None:
        out = there & ((points < -1).any(axis=1) | (points > np.array([size.width, size.height])).any(axis=1))
        if out.any():
            yield _about(
                record, "outside-picture", "warning", f"{_list(names, out)} outside the {_sides(size)} picture"
            )
    sides = (record.box[2:] - record.box[:2]) * _OUTSIDE
    far = there & ((points < record.box[:2] - sides).any(axis=1) | (points > record.box[2:] + sides).any(axis=1))
    if far.any():
        yield _about(record, "outside-box", "warning", f"{_list(names, far)} far outside the box")


def _about(record: PersonRecord, check: str, severity: Any, what: str) -> Finding:
    message = f"{record.image.name}, annotation {record.annotation_id}: {what}"
    return Finding(check, severity, message, str(record.image), record.annotation_id)


def _list(names: Sequence[str], chosen: NDArray[np.bool_]) -> str:
    listed = [name for name, here in zip(names, chosen, strict=True) if here]
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")


def _plausible(labelled: LabelledSet) -> Iterator[Finding]:
    if len(labelled) < ENOUGH_PEOPLE:
        return
    skeleton = labelled.skeleton
    poses = Poses(
        np.stack([record.keypoints for record in labelled.records]).astype(np.float64),
        np.stack([record.visibility for record in labelled.records]) > 0,
    )
    groups = list(swap_groups(skeleton))
    odds = swap_odds(poses, skeleton)
    excess = edge_excess(poses, skeleton)
    for record, own, lengths in zip(labelled.records, odds, excess, strict=True):
        worst = _extreme(-own)
        if worst is not None and -own[worst] > _ODDS:
            times = f"{min(np.exp(-own[worst]), 1e6):.0f}"
            what = f"left and right of {groups[worst]} seem exchanged ({times} times likelier the other way round)"
            yield _about(record, "left-right", "warning", what)
        longest = _extreme(lengths)
        if longest is not None and lengths[longest] > _EXCESS:
            a, b = skeleton.edges[longest]
            yield _about(record, "length", "warning", f"{a} and {b} are too far apart for this person")


def _extreme(values: NDArray[np.float64]) -> int | None:
    return int(np.nanargmax(values)) if values.size and not np.isnan(values).all() else None


def _skipped(labelled: LabelledSet, find_people: FindPeople | None) -> Iterator[str]:
    if len(labelled) < ENOUGH_PEOPLE:
        yield f"left-right, length: {len(labelled)} people are too few to learn from what is usual"
    elif not labelled.skeleton.flip_pairs:
        yield "left-right: the skeleton has no mirror pairs"
    if len(labelled) >= ENOUGH_PEOPLE and len(labelled.skeleton.edges) < 4:
        yield "length: the skeleton has fewer than 4 edges"
    if find_people is None:
        yield "unlabelled: no detector was given"


def _same_pictures(one: _Set) -> Iterator[Finding]:
    images = one.labelled.images
    for first, second, bits, more in alike(one.looks, one.looks):
        if images[first].path == images[second].path:
            continue
        names = images[first].path.name, images[second].path.name
        message = f"{names[0]} and {names[1]} look the same ({bits} of 256 bits differ{_and_so(more)})"
        yield Finding("same-picture", "warning", message, str(images[first].path))


def _and_so(more: int) -> str:
    return f"; {more} more look like the first" if more else ""


def _leaks(one: _Set, split: LabelledSet, annotations: str | Path) -> Iterator[Finding]:
    other = split.images
    looks = look_at_all([image.path for image in other])
    for first, second, bits, more in alike(one.looks, looks):
        image, like = one.labelled.images[first], other[second].path.name
        message = f"{image.path.name} looks like {like} of {annotations} ({bits} of 256 bits differ{_and_so(more)})"
        yield Finding("leak", "error", message, str(image.path))


def _unlabelled(one: _Set, find_people: FindPeople) -> Iterator[Finding]:
    boxes: dict[Any, list[PersonRecord]] = defaultdict(list)
    for record in one.labelled.records:
        boxes[record.image_id].append(record)
    for image, seen in zip(one.labelled.images, one.looks, strict=True):
        if seen.size is None:
            continue
        found = find_people([read_image(image.path)])[0]
        certain = np.asarray(found.xyxy)[np.asarray(found.scores) >= _FIND_PEOPLE_SCORE]
        missed = _not_covered(certain, boxes[image.id])
        if len(missed):
            places = "; ".join(" ".join(f"{value:.0f}" for value in box) for box in missed[:3])
            message = f"{image.path.name}: {len(missed)} people without a label, at {places}"
            yield Finding("unlabelled", "warning", message, str(image.path))


def _not_covered(found: NDArray[Any], records: Iterable[PersonRecord]) -> NDArray[Any]:
    """Return boxes that are nobody's and do not lie in a crowd."""
    listed = list(records)
    if not len(found) or not listed:
        return found
    labelled = np.stack([record.box for record in listed])
    crowd = np.array([record.crowd for record in listed])
    low = np.maximum(found[:, None, :2], labelled[None, :, :2])
    high = np.minimum(found[:, None, 2:], labelled[None, :, 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=2) / box_areas(found)[:, None]
    taken = (iou_matrix(found, labelled) >= 0.4) | ((inside >= 0.5) & crowd)
    missed: NDArray[Any] = found[~taken.any(axis=1)]
    return missed
