"""How much faster than pycocotools are the ten COCO keypoint numbers, and are they the same?

Takes the labels of COCO val2017 and makes predictions from them: about one and a half a person, as a pose model with
labelled boxes leaves behind, and up to twenty a picture, as with boxes from a detector at any score. Both sides start
from the parsed JSON and end with the numbers.

    OMP_NUM_THREADS=1 python benchmarks/evaluator_speed.py person_keypoints_val2017.json.gz
"""

import contextlib
import gzip
import io
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from harness import interleaved, median_ratio, write_result
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vitpose.core.skeleton import load_skeleton
from vitpose.metrics.coco import evaluate_keypoints

SIGMAS = load_skeleton("coco17").sigma_array


def predictions(truth: dict[str, Any], least: int, most: int) -> list[dict[str, Any]]:
    """Noisy copies of every label, ``least`` to ``most`` each, some far off."""
    rng = np.random.default_rng(0)
    found = []
    for entry in truth["annotations"]:
        points = np.array(entry["keypoints"], dtype=float).reshape(-1, 3)
        for _ in range(rng.integers(least, most + 1)):
            moved = points.copy()
            moved[:, :2] += rng.normal(0, rng.choice([0.02, 0.05, 0.1, 0.5]) * np.sqrt(entry["area"]), (len(points), 2))
            moved[:, 2] = rng.random(len(points))
            found.append(
                {
                    "image_id": entry["image_id"],
                    "category_id": 1,
                    "keypoints": moved.ravel().tolist(),
                    "score": float(rng.random()),
                }
            )
    return found


def reference(truth: dict[str, Any], found: list[dict[str, Any]]) -> list[float]:
    """The numbers by pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO()
        labels.dataset = truth
        labels.createIndex()
        evaluation = COCOeval(labels, labels.loadRes([dict(entry) for entry in found]), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats)


def main() -> None:
    """Measure both cases and write ``benchmarks/results/evaluator_speed.json``."""
    path = Path(sys.argv[1])
    sys.argv[1] = path.name
    raw = path.read_bytes()
    truth = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    cases = {}
    for name, least, most in (("labelled boxes", 1, 2), ("detected boxes", 8, 24)):
        found = predictions(truth, least, most)
        ours = list(evaluate_keypoints(truth, found, sigmas=SIGMAS).to_dict().values())
        gap = float(np.abs(np.array(ours) - reference(truth, found)).max())
        seconds = interleaved(
            {
                "pycocotools": lambda found=found: reference(truth, found),
                "vitpose": lambda found=found: evaluate_keypoints(truth, found, sigmas=SIGMAS),
            },
            repeats=5,
        )
        cases[name] = {
            "people": len(truth["annotations"]),
            "predictions": len(found),
            "largest_difference": gap,
            "seconds": {side: statistics.median(times) for side, times in seconds.items()},
            "ratio": median_ratio(seconds["pycocotools"], seconds["vitpose"]),
        }
    write_result("evaluator_speed", "the ten COCO keypoint numbers: times faster than pycocotools", cases)


if __name__ == "__main__":
    main()
