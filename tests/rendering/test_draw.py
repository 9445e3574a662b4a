"""Poses on pictures."""

import numpy as np
import pytest

import vitpose
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import load_skeleton
from vitpose.rendering.draw import LEFT, RIGHT, Style, draw_poses

COCO = load_skeleton("coco17")


def standing(people: int, *, score: float = 0.9, **fields: object) -> Poses:
    """People in a row: left keypoints at x + 60, right ones at x + 20, top to bottom."""
    xy = np.zeros((people, 17, 2), np.float32)
    for person in range(people):
        for index, name in enumerate(COCO.keypoints):
            side = 60 if name.startswith("left") else 20 if name.startswith("right") else 40
            xy[person, index] = 100 * person + side, 15 + 10 * index
    boxes = np.array([[100 * p + 5, 5, 100 * p + 90, 195] for p in range(people)], np.float32).reshape(-1, 4)
    values = {"xy": xy, "scores": np.full((people, 17), score), "boxes": boxes, "box_scores": np.ones(people)}
    return Poses(**values, skeleton=COCO, image_size=Size(200, 400), **fields)  # type: ignore[arg-type]


IMAGE = np.zeros((200, 400, 3), np.uint8)


def test_the_picture_handed_in_is_not_touched() -> None:
    image = IMAGE.copy()
    drawn = draw_poses(image, standing(3))
    assert image.max() == 0
    assert drawn.max() > 0
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8


def test_left_is_orange_right_is_blue() -> None:
    drawn = draw_poses(IMAGE, standing(1), Style(boxes=False)).astype(int)
    left, right = drawn[90:190, 55:66].reshape(-1, 3), drawn[90:190, 15:26].reshape(-1, 3)

    def count(pixels: np.ndarray, color: str) -> int:
        wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        return int((np.abs(pixels - wanted).max(axis=1) < 30).sum())

    assert count(left, LEFT) > 50
    assert count(left, RIGHT) == 0
    assert count(right, RIGHT) > 50
    assert count(right, LEFT) == 0


def test_what_is_below_the_threshold_is_left_out() -> None:
    assert draw_poses(IMAGE, standing(2, score=0.1), Style(boxes=False)).max() == 0
    assert draw_poses(IMAGE, standing(2, score=0.1)).max() > 0, "the boxes stay"


def test_nobody_is_the_picture_itself(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(draw_poses(image, Poses.empty(COCO, Size(20, 30))), image)


def test_ids_are_written_where_people_are_tracked() -> None:
    plain, tracked = standing(1), standing(1, track_ids=[7])
    assert (draw_poses(IMAGE, plain) != draw_poses(IMAGE, tracked)).any()


def test_points_far_outside_do_no_harm() -> None:
    poses = standing(1)
    away = Poses(
        xy=poses.xy + 1e6,
        scores=poses.scores,
        boxes=poses.boxes,
        box_scores=poses.box_scores,
        skeleton=COCO,
        image_size=Size(200, 400),
    )
    assert draw_poses(IMAGE, away, Style(boxes=False)).max() == 0


def test_poses_of_another_picture_are_refused() -> None:
    with pytest.raises(UsageError, match="400x200"):
        vitpose.draw(np.zeros((10, 10, 3), np.uint8), standing(1))
