"""Labelled people out to a COCO-style file that ``read_labelled("coco", …)`` reads back without loss."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitpose.core.files import atomic_write_text
from vitpose.core.skeleton import Skeleton
from vitpose.data.records import ImageEntry, LabelledSet, PersonRecord


def write_coco(labelled: LabelledSet, path: str | Path) -> None:
    """Write a labelled set as COCO-style json.

    Beyond what COCO knows, categories carry ``flip_pairs``, ``upper_body_ids``, ``sigmas``, ``weights`` and
    ``skeleton_name``, pictures ``crowdIndex``, people ``region``, ``head_size`` and ``track_id``. Picture names are
    relative to ``labelled.images_dir``, or absolute outside of it.

    Raises:
        VitPoseError: the file cannot be written.
    """
    labels = sorted({record.label for record in labelled.records}) or ["person"]
    content = {
        "images": [_image(image, labelled.images_dir) for image in labelled.images],
        "annotations": [_person(record, labels) for record in labelled.records],
        "categories": [_category(labelled.skeleton, label, index) for index, label in enumerate(labels, start=1)],
    }
    atomic_write_text(path, json.dumps(content, separators=(",", ":"), allow_nan=False))


def _image(image: ImageEntry, folder: Path) -> dict[str, Any]:
    inside = image.path.is_relative_to(folder)
    name = image.path.relative_to(folder) if inside else Path(os.path.abspath(image.path))  # noqa: PTH100 - no symlinks
    plain: dict[str, Any] = {"id": image.id, "file_name": name.as_posix()}
    if image.size is not None:
        plain |= {"height": image.size.height, "width": image.size.width}
    if image.crowd_index is not None:
        plain["crowdIndex"] = image.crowd_index
    return plain


def _person(record: PersonRecord, labels: Sequence[str]) -> dict[str, Any]:
    x1, y1, x2, y2 = record.box.tolist()
    plain: dict[str, Any] = {
        "id": record.annotation_id,
        "image_id": record.image_id,
        "category_id": labels.index(record.label) + 1,
        "bbox": [x1, y1, _difference(x1, x2), _difference(y1, y2)],
        "area": record.area,
        "iscrowd": int(record.crowd),
        "num_keypoints": record.labelled,
        "keypoints": _triples(record),
    }
    optional = {
        "region": None if record.region is None else record.region.tolist(),
        "head_size": record.head_size,
        "track_id": record.track_id,
    }
    return plain | {key: value for key, value in optional.items() if value is not None}


def _difference(low: float, high: float) -> float:
    """Return the shortest decimal that added to ``low`` gives ``high`` again."""
    return next((short for digits in range(17) if low + (short := round(high - low, digits)) == high), high - low)


def _triples(record: PersonRecord) -> list[float | int]:
    """Return x, y, v of each keypoint; the decimals are the shortest that give the same float32."""
    values: list[float | int] = []
    for (x, y), visibility in zip(record.keypoints, record.visibility, strict=True):
        values += [float(np.format_float_positional(x)), float(np.format_float_positional(y)), int(visibility)]
    return values


def _category(skeleton: Skeleton, label: str, category_id: int) -> dict[str, Any]:
    index = {name: position for position, name in enumerate(skeleton.keypoints)}
    plain = skeleton.coco_category(label, category_id=category_id)
    plain["skeleton_name"] = skeleton.name
    plain["flip_pairs"] = [[index[a], index[b]] for a, b in skeleton.flip_pairs]
    plain["upper_body_ids"] = [index[name] for name in skeleton.keypoints if name in skeleton.upper_body]
    if skeleton.sigmas:
        plain["sigmas"] = list(skeleton.sigmas)
    if skeleton.weights:
        plain["weights"] = list(skeleton.weights)
    return plain
