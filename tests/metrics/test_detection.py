"""Scores of boxes, by hand and against pycocotools."""

import contextlib
import io

import numpy as np
import pytest

from vitpose.core.poses import Boxes
from vitpose.metrics.detection import Truth, score_boxes

TALL = [0, 0, 40, 80]
SMALL = [60, 0, 70, 10]


def truth(*boxes, crowd=None):
    array = np.array(boxes, np.float64).reshape(-1, 4)
    return Truth(array, np.zeros(len(array), bool) if crowd is None else np.array(crowd, bool), 100)


def found(*boxes, scores):
    return Boxes(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32))


def test_everyone_found_without_false_boxes():
    scores = score_boxes([found(TALL, SMALL, scores=[0.9, 0.8])], [truth(TALL, SMALL)])
    assert (scores.recall_tall, scores.ap50, scores.false_boxes, scores.people_tall, scores.people) == (1, 1, 0, 1, 2)


def test_nothing_found_and_nobody_there():
    nothing = found(scores=[])
    assert score_boxes([nothing], [truth(TALL)]).recall_tall == 0
    assert score_boxes([nothing], [truth(TALL)]).ap50 == 0
    assert np.isnan(score_boxes([nothing], [truth()]).recall_tall)
    assert score_boxes([], []).pictures == 0


def test_the_threshold_keeps_false_boxes_within_what_is_allowed():
    # Two pictures, 0.5 false boxes each allowed: one in all. The person at 0.3 lies below the second false box.
    boxes = [found([50, 50, 90, 90], TALL, scores=[0.9, 0.3]), found(TALL, [50, 50, 90, 90], scores=[0.8, 0.5])]
    scores = score_boxes(boxes, [truth(TALL), truth(TALL)], allowed=0.5)
    assert scores.recall_tall == 0.5
    assert scores.false_boxes == 0.5
    assert 0.5 < scores.threshold < 0.8
    assert score_boxes(boxes, [truth(TALL), truth(TALL)], allowed=1.0).recall_tall == 1.0


def test_second_box_of_one_person_is_false_and_a_box_in_a_crowd_is_not():
    twice = score_boxes([found(TALL, TALL, scores=[0.9, 0.8])], [truth(TALL)], allowed=0)
    assert (twice.recall_tall, twice.false_boxes) == (1, 0)
    assert twice.threshold > 0.8
    crowd = score_boxes([found([0, 0, 10, 10], scores=[0.9])], [truth([0, 0, 50, 50], crowd=[True])])
    assert (crowd.threshold, crowd.false_boxes, crowd.people) == (0, 0, 0)


def test_average_precision_is_that_of_pycocotools(rng):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    people, guesses, annotations, results = [], [], [], []
    for picture in range(12):
        corner = rng.uniform(0, 60, (rng.integers(0, 6), 2))
        boxes = np.concatenate([corner, corner + rng.uniform(10, 40, corner.shape)], axis=1)
        more = np.concatenate([boxes + rng.normal(0, 3, boxes.shape), boxes[::-1] + 15])
        more[:, 2:] = np.maximum(more[:, 2:], more[:, :2] + 1)
        scores = rng.random(len(more)).astype(np.float32)
        people.append(truth(*boxes))
        guesses.append(found(*more, scores=scores))
        more = guesses[-1].xyxy.astype(np.float64)
        wide = boxes[:, 2:] - boxes[:, :2]
        annotations += [
            {"id": len(annotations) + i + 1, "image_id": picture, "category_id": 1, "iscrowd": 0,
             "bbox": [*box[:2], *wide[i]], "area": float(wide[i].prod())}
            for i, box in enumerate(boxes)
        ]  # fmt: skip
        results += [
            {"image_id": picture, "category_id": 1, "score": float(score), "bbox": [*box[:2], *(box[2:] - box[:2])]}
            for box, score in zip(more, scores, strict=True)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": i} for i in range(12)], "annotations": annotations,
                        "categories": [{"id": 1, "name": "person"}]}  # fmt: skip
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert score_boxes(guesses, people).ap50 == pytest.approx(evaluation.stats[1], abs=1e-6)
