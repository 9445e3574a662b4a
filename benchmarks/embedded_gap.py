"""Does the embedded model know people, or only those it learned from?

    python benchmarks/embedded_gap.py --data FOLDER

COCO AP with labelled boxes and flip test on 250 pictures the model was trained on, drawn evenly over the training file,
and on the 250 of the validation part. What lies between the two is what it learned by heart.
"""

import argparse
from pathlib import Path

from harness import write_result

import vitpose
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import LabelledSet
from vitpose.evaluation.run import evaluate

PICTURES = 250


def some(labelled: LabelledSet) -> LabelledSet:
    """Return ``PICTURES`` of the pictures with labelled people, evenly drawn."""
    with_people = {record.image_id for record in labelled.records if not record.crowd}
    images = [image for image in labelled.images if image.id in with_people]
    chosen = images[:: max(len(images) // PICTURES, 1)][:PICTURES]
    return labelled.only_images({image.id for image in chosen}.__contains__)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder with coco")
    parser.add_argument("--model", default="embedded", help="another model")
    given = parser.parse_args()
    pose = vitpose.load(given.model, dataset="coco", detector=None, engine="eager", flip_test=True)
    coco, parts = given.data / "coco", {}
    for name, part in (("trained on", "train"), ("others", "val")):
        people = some(read_labelled("coco", coco / f"person_keypoints_{part}.json", coco / "images"))
        numbers = evaluate(pose, people).numbers
        parts[name] = {"pictures": len(people.images), "people": len(people.records), "ap": numbers["ap"]}
        print(name, parts[name], flush=True)
    result = {"model": given.model, "parts": parts}
    write_result("embedded_gap", "people the embedded model was trained on, and others", result)


if __name__ == "__main__":
    main()
