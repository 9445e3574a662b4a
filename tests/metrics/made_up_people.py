"""Small made-up data sets and perturbed predictions that several test files share."""

from typing import Any

import numpy as np

from vitpose.core.skeleton import load_skeleton

SIGMAS = load_skeleton("coco17").sigma_array


def people(count: int, *, keypoints: int = 17, images: int = 3, seed: int = 0) -> dict[str, Any]:
    """COCO labels of ``count`` people of many sizes with some points missing."""
    rng = np.random.default_rng(seed)
    annotations = []
    for number in range(count):
        side = rng.choice([25, 60, 150])
        points = np.concatenate([rng.random((keypoints, 2)) * side + 50, rng.integers(1, 3, (keypoints, 1))], axis=1)
        points[rng.random(keypoints) < 0.2] = 0
        annotations.append(
            {
                "id": number,
                "image_id": int(rng.integers(images)),
                "category_id": 1,
                "bbox": [50.0, 50.0, float(side), float(side)],
                "area": float(side**2 * 0.6),
                "iscrowd": 0,
                "num_keypoints": int((points[:, 2] > 0).sum()),
                "keypoints": points.ravel().tolist(),
            }
        )
    return {
        "images": [{"id": place, "width": 640, "height": 480} for place in range(images)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }


def perturbed(truth: dict[str, Any], *, seed: int = 0, most: int = 3) -> list[dict[str, Any]]:
    """Predictions with noise of several sizes, misses, duplicates, false positives and tied scores."""
    rng = np.random.default_rng(seed)
    found = []
    for entry in truth["annotations"]:
        points = np.array(entry["keypoints"], dtype=float).reshape(-1, 3)
        box = entry["bbox"]
        size = np.sqrt(max(box[2] * box[3] * 0.53, 1.0))
        for _ in range(rng.integers(0, most + 1)):
            moved = points.copy()
            moved[:, :2] += rng.normal(0, rng.choice([0.01, 0.04, 0.1, 0.4]) * size, (len(points), 2))
            moved[:, 2] = rng.random(len(points))
            found.append(_result(entry, moved, round(float(rng.random()), 2)))
        if rng.random() < 0.1:
            lost = np.concatenate([rng.random((len(points), 2)) * 400, rng.random((len(points), 1))], axis=1)
            found.append(_result(entry, lost, float(rng.random())))
    return found


def perfect(truth: dict[str, Any]) -> list[dict[str, Any]]:
    return [_result(entry, np.array(entry["keypoints"], float).reshape(-1, 3), 1.0) for entry in truth["annotations"]]


def _result(entry: dict[str, Any], points: np.ndarray, score: float) -> dict[str, Any]:
    return {
        "image_id": entry["image_id"],
        "category_id": entry["category_id"],
        "keypoints": points.ravel().tolist(),
        "score": score,
    }
