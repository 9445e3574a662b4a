"""Four small sets of animals as what ``vitpose train finetune`` reads: a folder with pictures and three COCO JSONs.

Neighbouring frames show nearly the same, so no set is cut at random. Bees: the authors' test part, which shares no bee
with the rest; validation is taken from the rest bee by bee. Mice: blocks of frames in the order of their numbers.
Flies: blocks of a clip with a gap between them; its first 600 frames are left out because nothing moves in them.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vitpose.core.errors import InputError

Content = dict[str, Any]
Parts = Mapping[str, list[Content]]
"""Pictures of the parts ``train``, ``val`` and ``test``."""

_BEE = re.compile(r"(.+)_f\d+\.jpg$")
_FLY_BLOCKS = {"train": range(600, 1150, 3), "val": range(1170, 1260, 6), "test": range(1280, 1500, 6)}
_BLOCKS = (0.65, 0.8)
"""Where validation and test begin, as parts of a list of frames."""


@dataclass(frozen=True, slots=True)
class AnimalSet:
    """One of the sets.

    Attributes:
        keypoints: how many it has.
        convert: writes pictures and ``train.json``, ``val.json`` and ``test.json``.
    """

    keypoints: int
    convert: Callable[[Path, Path], None]


def by_bee(images: list[Content]) -> Parts:
    """Cut by bee: the authors' test part, and of the rest the last bees for validation."""
    rest = [image for image in images if image["set"] == "train"]
    bees: dict[str, list[Content]] = {}
    for image in rest:
        found = _BEE.match(image["file_name"])
        if found is None:
            raise InputError(f"{image['file_name']}: expected the name of a film, a bee and a frame")
        bees.setdefault(found.group(1), []).append(image)
    parts: dict[str, list[Content]] = {"train": [], "val": [], "test": [one for one in images if one["set"] == "test"]}
    for name in sorted(bees, reverse=True):
        parts["val" if len(parts["val"]) < 0.12 * len(rest) else "train"] += bees[name]
    return parts


def by_blocks(images: list[Content]) -> Parts:
    """Cut into blocks of neighbouring frames."""
    ordered = sorted(images, key=lambda image: image["file_name"])
    first, second = (round(share * len(ordered)) for share in _BLOCKS)
    return {"train": ordered[:first], "val": ordered[first:second], "test": ordered[second:]}


def convert_labelled(source: Path, target: Path, cut: Callable[[list[Content]], Parts]) -> None:
    """Copy the pictures of a COCO-style set and write a JSON a part."""
    content = json.loads((source / "annotations.json").read_text(encoding="utf-8"))
    shutil.copytree(source / "images", target / "images", dirs_exist_ok=True)
    for part, images in cut(content["images"]).items():
        ids = {image["id"] for image in images}
        people = [one for one in content["annotations"] if one["image_id"] in ids]
        _write(target / f"{part}.json", content["categories"], images, people)


def convert_fly(source: Path, target: Path) -> None:
    """Take frames out of the clip and write a JSON a part; boxes follow from the keypoints."""
    labels = np.load(source / "labels.npz")
    names = [str(name) for name in labels["names"]]
    edges = [[int(first) + 1, int(second) + 1] for first, second in labels["edges"]]
    categories = [{"id": 1, "name": "fly", "keypoints": names, "skeleton": edges}]
    wanted = {frame: part for part, frames in _FLY_BLOCKS.items() for frame in frames}
    parts: dict[str, tuple[list[Content], list[Content]]] = {part: ([], []) for part in _FLY_BLOCKS}
    (target / "images").mkdir(parents=True, exist_ok=True)
    film = cv2.VideoCapture(str(source / "clip.mp4"))
    for frame in range(max(wanted) + 1):
        if not film.grab():
            raise InputError(f"{source / 'clip.mp4'} ends before frame {frame}")
        if frame not in wanted:
            continue
        picture = np.asarray(film.retrieve()[1])
        name = f"{frame:04d}.jpg"
        cv2.imwrite(str(target / "images" / name), picture)
        images, people = parts[wanted[frame]]
        images.append({"id": frame, "file_name": name, "height": picture.shape[0], "width": picture.shape[1]})
        people += [
            _fly(int(row), frame, labels["kpts"][row].astype(float)) for row in np.flatnonzero(labels["frame"] == frame)
        ]
    for part, (images, people) in parts.items():
        _write(target / f"{part}.json", categories, images, people)


def _fly(number: int, frame: int, keypoints: np.ndarray[Any, np.dtype[np.float64]]) -> Content:
    seen = keypoints[:, 2] > 0
    return {
        "id": number,
        "image_id": frame,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": int(seen.sum()),
        "keypoints": np.where(seen[:, None], keypoints, 0).flatten().tolist(),
    }


def _write(path: Path, categories: list[Content], images: list[Content], people: list[Content]) -> None:
    content = {"images": images, "annotations": people, "categories": categories}
    path.write_text(json.dumps(content), encoding="utf-8")


ANIMALS = {
    "bee": AnimalSet(32, lambda source, target: convert_labelled(source, target, by_bee)),
    "mouse_mirror": AnimalSet(17, lambda source, target: convert_labelled(source, target, by_blocks)),
    "mouse_reaching": AnimalSet(5, lambda source, target: convert_labelled(source, target, by_blocks)),
    "fly": AnimalSet(13, convert_fly),
}


def converted(name: str, data: Path, out: Path) -> Path:
    """Return the folder of a set, converted now or earlier.

    Raises:
        InputError: the set is not as expected.
    """
    target = out / name
    if not (target / "test.json").exists():
        target.mkdir(parents=True, exist_ok=True)
        ANIMALS[name].convert(data / name, target)
    return target
