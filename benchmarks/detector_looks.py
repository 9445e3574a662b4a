"""What do further looks at a picture bring the embedded detector?

    python benchmarks/detector_looks.py --data FOLDER

The pictures of the validation part, with people and without, each looked at by the detector that comes with the package
at several sizes and as its mirror image; then sets of looks merged as ``detectors.embedded.merged`` does. The scores of
both halves of the pictures stand beside those of all, for which looks to take was chosen on these pictures: a
difference that one half does not show is luck.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import starmap
from pathlib import Path

import numpy as np
import torch
from harness import write_result

from vitpose.core.errors import InputError
from vitpose.core.geometry import Size
from vitpose.core.poses import Boxes
from vitpose.detectors.embedded import EmbeddedDetector, Found, Look, merged
from vitpose.media.images import read_image
from vitpose.metrics.detection import Truth, score_boxes
from vitpose.training.detector_labels import LabelledPicture, read_pictures
from vitpose.weights.detector import load_detector, packaged_detector

PLAIN, TURNED, LARGE = Look(), Look(mirrored=True), Look(scale=1.5)
FINER, FINER_TURNED = Look(scale=1.25), Look(scale=1.25, mirrored=True)
SETS = {
    "1": (PLAIN,),
    "1 mirrored": (TURNED,),
    "1.25": (FINER,),
    "1, 1 mirrored": (PLAIN, TURNED),
    "1 mirrored, 1.25": (TURNED, FINER),
    "1, 1.25 mirrored": (PLAIN, FINER_TURNED),
    "1.25, 1.25 mirrored": (FINER, FINER_TURNED),
    "1 mirrored, 1.5": (TURNED, LARGE),
    "1 mirrored, 1.25, 1.5": (TURNED, FINER, LARGE),
    "1, 1 mirrored, 1.25, 1.25 mirrored": (PLAIN, TURNED, FINER, FINER_TURNED),
}
"""Sets of looks by the factors on the side the network was trained for."""

FAINT, LOWEST = 0.01, 0.02
"""Scores below which a box has no vote, and below which a merged one is not looked at; as when the pair is measured."""


def validation(data: Path) -> list[LabelledPicture]:
    """Return the pictures nothing was trained on, with people and without."""
    held = json.loads((data / "splits.json").read_text(encoding="utf-8"))["no_people"]["val"]
    empty = read_pictures(data / "no_people" / "images.json", data / "no_people" / "images")
    coco = read_pictures(data / "coco" / "person_keypoints_val.json", data / "coco" / "images")
    return [*coco, *(one for one in empty if one.path.name in held)]


def numbers(found: Sequence[Boxes], truth: Sequence[Truth]) -> dict[str, float]:
    """Return what is asked for of some pictures."""
    scores = score_boxes(found, truth)
    return {
        "recall_tall": scores.recall_tall,
        "recall_tall_at_1": score_boxes(found, truth, allowed=1.0).recall_tall,
        "ap50": scores.ap50,
        "ap50_tall": scores.ap50_tall,
    }


def boxes_of(boxes: np.ndarray, scores: np.ndarray) -> Boxes:
    """Return merged boxes as a detector would."""
    kept = np.flatnonzero(scores >= LOWEST)
    return Boxes(boxes[kept].astype(np.float32), scores[kept], ("person",) * len(kept))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder with coco, no_people and splits.json")
    parser.add_argument("--pictures", type=int, help="only the first so many")
    given = parser.parse_args()
    path = packaged_detector()
    if path is None:
        raise InputError("this copy of the package carries no detector")
    torch.set_num_threads(1)
    net = load_detector(path).net
    pictures = validation(given.data)[: given.pictures]
    looks = list(dict.fromkeys(look for chosen in SETS.values() for look in chosen))
    detectors = [EmbeddedDetector(net, threshold=FAINT, device="cpu", looks=(look,)) for look in looks]
    seen: dict[Look, list[Found]] = {look: [] for look in looks}
    truth = []
    for one in pictures:
        image = read_image(one.path)
        truth.append(one.truth(Size(*image.shape[:2])))
        for look, detector in zip(looks, detectors, strict=True):
            (boxes,) = detector([image])
            seen[look].append((boxes.xyxy.astype(np.float64), boxes.scores))
    result = {}
    for title, chosen in SETS.items():
        views = zip(*(seen[look] for look in chosen), strict=True)
        found = list(starmap(boxes_of, (one[0] if len(one) == 1 else merged(one) for one in views)))
        halves = [numbers(found[half::2], truth[half::2])["recall_tall"] for half in (0, 1)]
        work = sum((look.side(net.spec.side) / net.spec.side) ** 2 for look in chosen)
        result[title] = {"work": work, **numbers(found, truth), "recall_tall_of_halves": halves}
        print(title, result[title], flush=True)
    if given.pictures is None:  # some of the pictures are a trial, not the result
        facts = {"pictures": len(pictures), "sets": result}
        write_result("detector_looks", "what further looks bring the embedded detector", facts)


if __name__ == "__main__":
    main()
