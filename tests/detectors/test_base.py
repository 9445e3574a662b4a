"""Functions become detectors, and the whole picture is one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vitpose.core.errors import InputError, UsageError
from vitpose.core.poses import Boxes
from vitpose.detectors.base import as_detector
from vitpose.detectors.whole import WholeImage

PICTURES = [np.zeros((20, 30, 3), np.uint8), np.zeros((5, 7, 3), np.uint8)]

XYXY = np.array([[1, 2, 11, 12], [3, 4, 5, 6.5]], np.float32)
SCORES = np.array([0.9, 0.25], np.float32)


def test_the_whole_picture_is_the_box():
    first, second = WholeImage()(PICTURES)
    assert first.xyxy.tolist() == [[0, 0, 30, 20]]
    assert second.xyxy.tolist() == [[0, 0, 7, 5]]
    assert first.scores.tolist() == [1]
    assert WholeImage()([]) == []
    assert as_detector(detector := WholeImage()) is detector


@pytest.mark.parametrize(
    "answer",
    [
        np.column_stack([XYXY, SCORES]),
        (XYXY, SCORES),
        (XYXY.tolist(), SCORES.tolist()),
        (torch.tensor(XYXY, requires_grad=True), torch.tensor(SCORES)),
        Boxes(XYXY, SCORES),
        SimpleNamespace(xyxy=XYXY, confidence=SCORES),
    ],
    ids=["five columns", "pair", "lists", "tensors", "Boxes", "object"],
)
def test_functions_may_answer_in_many_ways(answer):
    seen = []

    def find(image):
        seen.append(image.shape)
        return answer

    found = as_detector(find)(PICTURES)
    assert seen == [(20, 30, 3), (5, 7, 3)]
    for boxes in found:
        np.testing.assert_array_equal(boxes.xyxy, XYXY)
        np.testing.assert_array_equal(boxes.scores, SCORES)


@pytest.mark.parametrize("answer", [XYXY, XYXY.tolist(), SimpleNamespace(xyxy=XYXY, confidence=None)])
def test_without_scores_they_are_one(answer):
    (boxes,) = as_detector(lambda _image: answer)(PICTURES[:1])
    np.testing.assert_array_equal(boxes.xyxy, XYXY)
    assert boxes.scores.tolist() == [1, 1]


@pytest.mark.parametrize("answer", [[], np.zeros((0, 4)), np.zeros((0, 5)), (np.zeros((0, 4)), []), ([], [])])
def test_nobody(answer):
    (boxes,) = as_detector(lambda _image: answer)(PICTURES[:1])
    assert len(boxes) == 0


def test_two_boxes_in_a_tuple_are_boxes():
    (boxes,) = as_detector(lambda _image: ((1, 2, 3, 4), (5, 6, 7, 8)))(PICTURES[:1])
    assert boxes.xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    "answer",
    [None, "boxes", [[5, 5, 1, 1]], [[0, 0, np.nan, 1]], [[1, 2, 3]], (XYXY, SCORES[:1]), (XYXY, [0.5, np.nan])],
)
def test_wrong_answers_name_the_function_and_the_picture(answer):
    def my_finder(image):
        return answer if image.shape[0] == 5 else []

    with pytest.raises(InputError, match="detector my_finder, picture 1"):
        as_detector(my_finder)(PICTURES)


def test_objects_that_can_be_called_are_functions_too():
    class Finder:
        def __call__(self, image):
            return XYXY

    detector = as_detector(Finder())
    assert detector.name == "Finder"
    assert len(detector(PICTURES)) == 2


@pytest.mark.parametrize("thing", [None, 3, XYXY])
def test_other_things_are_refused(thing):
    with pytest.raises(UsageError, match="function from a picture to boxes"):
        as_detector(thing)
