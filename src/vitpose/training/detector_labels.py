"""Who is in a picture, for the person detector: boxes, crowds, and where parts of bodies are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.geometry import Size
from vitpose.metrics.detection import Truth

Floats = NDArray[np.float64]
_PAIRS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_SLOTS = ("head", *(f"{side}_{pair}" for pair in _PAIRS for side in ("left", "right")))
PART_OF = (0, *(1 + number for number in range(len(_PAIRS)) for _ in range(2)))
"""Which kind of part a point of a person is: head, shoulder … ankle. Kinds know no left and right: no mirror image
changes them, and sides that are swapped in the labels do no harm."""
_HEAD = (("nose",), ("neck", "head_top"))
"""What a set may call the middle of the head: the first whose points are all labelled counts."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPicture:
    """A picture and who is in it.

    Attributes:
        path: of the picture.
        boxes: ``(people, 4)`` xyxy in picture pixels.
        crowd: ``(people,)`` the box covers a group that is not labelled one by one.
        points: ``(people, parts, 2)`` x, y of body parts, NaN where not labelled; see ``PART_OF``.
        complete: everybody in it is labelled; where not, nothing is learned from places without labels.
    """

    path: Path
    boxes: Floats
    crowd: NDArray[np.bool_]
    points: Floats
    complete: bool = True

    def truth(self, size: Size) -> Truth:
        """Return the people for scoring; ``size`` is the picture's."""
        return Truth(self.boxes, self.crowd, size.height)


def read_pictures(annotations: str | Path, images: str | Path, *, complete: bool = True) -> tuple[LabelledPicture, ...]:
    """Read the boxes of a COCO-style file; pictures without people are kept.

    A picture that says ``all_persons_annotated: false`` is not complete. ``annotations`` may be missing from the
    file: then nobody is in its pictures.

    Args:
        annotations: the file.
        images: folder of the pictures.
        complete: False where other people may be in the pictures than those labelled.

    Raises:
        InputError: the file cannot be read or is of another form.
    """
    try:
        plain: dict[str, Any] = json.loads(Path(annotations).read_text(encoding="utf-8"))
        names = (plain.get("categories") or [{}])[0].get("keypoints", [])
        people: dict[Any, list[tuple[list[float], bool, Floats]]] = {image["id"]: [] for image in plain["images"]}
        for entry in plain.get("annotations", ()):
            x, y, width, height = map(float, entry["bbox"])
            if width > 0 and height > 0:
                crowd = bool(entry.get("iscrowd") or entry.get("iscrowd_by_rule"))
                people[entry["image_id"]].append(([x, y, x + width, y + height], crowd, _points(entry, names)))
        return tuple(
            LabelledPicture(
                Path(images) / image["file_name"],
                np.array([box for box, _, _ in people[image["id"]]], np.float64).reshape(-1, 4),
                np.array([crowd for _, crowd, _ in people[image["id"]]], bool),
                np.array([points for _, _, points in people[image["id"]]], np.float64).reshape(-1, len(PART_OF), 2),
                complete and bool(image.get("all_persons_annotated", True)),
            )
            for image in plain["images"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{annotations} is no COCO-style file of boxes: {type(error).__name__}: {error}") from error


def _points(entry: Mapping[str, Any], names: Sequence[str]) -> Floats:
    """Return ``(parts, 2)`` x, y of one person's labelled parts, NaN elsewhere."""
    given = np.array(entry.get("keypoints") or [0.0] * (3 * len(names)), np.float64).reshape(-1, 3)
    labelled = {name: row[:2] for name, row in zip(names, given, strict=True) if row[2] > 0}
    found = np.full((len(_SLOTS), 2), np.nan)
    for slot, name in enumerate(_SLOTS):
        if name in labelled:
            found[slot] = labelled[name]
    for several in reversed(_HEAD):
        if all(name in labelled for name in several):
            found[0] = np.mean([labelled[name] for name in several], axis=0)
    return found
