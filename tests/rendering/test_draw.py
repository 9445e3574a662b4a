"""Poses on pictures."""

import sys

import numpy as np
import pytest

import vitpose
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import load_skeleton
from vitpose.rendering.draw import (
    LEFT,
    RIGHT,
    UNTRACKED_COLOR,
    Style,
    draw_poses,
    track_color,
)

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


def test_lines_and_dots_lie_where_the_points_are_to_a_fraction_of_a_pixel() -> None:
    xy = np.full((1, 17, 2), np.nan, np.float32)
    xy[0, COCO.index("left_shoulder")], xy[0, COCO.index("left_elbow")] = (40.25, 30.0), (40.25, 150.0)
    base = standing(1)
    arm = Poses(
        xy=np.nan_to_num(xy, nan=-500),
        scores=np.isfinite(xy[..., 0]).astype(np.float32),
        boxes=base.boxes,
        box_scores=base.box_scores,
        skeleton=COCO,
        image_size=Size(200, 400),
    )
    drawn = draw_poses(IMAGE, arm, Style(boxes=False)).max(axis=2).astype(float)
    row, shoulder = drawn[90], drawn[20:40]
    assert (row * np.arange(400)).sum() / row.sum() == pytest.approx(40.25, abs=0.1)
    upper = drawn[:30]
    assert upper.any(), "the dot reaches above its point"
    assert (shoulder.sum(axis=0) * np.arange(400)).sum() / shoulder.sum() == pytest.approx(40.25, abs=0.1)


def test_people_in_front_hide_those_behind() -> None:
    small, large = standing(1, track_ids=[-1]), standing(1, track_ids=[5])
    both = {name: np.concatenate([getattr(large, name), getattr(small, name)]) for name in ("xy", "scores", "boxes")}
    poses = Poses(**both, box_scores=np.ones(2), track_ids=[5, -1], skeleton=COCO, image_size=Size(200, 400))
    drawn = draw_poses(IMAGE, poses)
    assert not of_color(drawn, UNTRACKED_COLOR).any()
    assert of_color(drawn, track_color(5)).sum() == of_color(draw_poses(IMAGE, large), track_color(5)).sum()


def test_drawing_needs_no_other_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    assert draw_poses(IMAGE, standing(2, track_ids=[1, -1])).any()


def test_poses_of_another_picture_are_refused() -> None:
    with pytest.raises(UsageError, match="400x200"):
        vitpose.draw(np.zeros((10, 10, 3), np.uint8), standing(1))


def of_color(drawn: np.ndarray, color: str, near: int = 3) -> np.ndarray:
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return np.asarray(np.abs(drawn.astype(int) - wanted).max(axis=-1) <= near)


def test_tracks_keep_their_colour_wherever_they_stand_in_the_arrays() -> None:
    both = standing(2, track_ids=[3, 8])
    drawn = draw_poses(IMAGE, both)
    np.testing.assert_array_equal(drawn, draw_poses(IMAGE, both[[1, 0]]))
    for person, track in ((0, 3), (1, 8)):
        mine = of_color(drawn, track_color(track))
        assert mine[:, 100 * person : 100 * person + 95].sum() > 200
        assert not mine[:, : 100 * person].any()
        assert not mine[:, 100 * person + 100 :].any()


def test_people_without_id_are_grey_and_have_no_label() -> None:
    drawn = draw_poses(IMAGE, standing(2, track_ids=[-1, 4]))
    assert of_color(drawn, UNTRACKED_COLOR)[:, :100].sum() > 200
    assert not of_color(drawn, UNTRACKED_COLOR)[:, 100:].any()
    label_of = draw_poses(IMAGE, standing(2, track_ids=[-1, 4]), Style(boxes=False))
    assert of_color(label_of, track_color(4))[:20, 104:130].sum() > 50
    assert not label_of[:11, :100].any()


def test_colours_of_ids_near_each_other_are_far_apart() -> None:
    colors = [np.array([int(track_color(track)[i : i + 2], 16) for i in (1, 3, 5)]) for track in range(200)]
    for first, color in enumerate(colors):
        assert color.max() > 150, "bright enough for black letters"
        for other in colors[first + 1 : first + 5]:
            assert np.abs(color - other).max() > 60
    assert track_color(7) == track_color(7) != UNTRACKED_COLOR == track_color(-1)


def test_colours_by_track_can_be_turned_off() -> None:
    plain, tracked = standing(1), standing(1, track_ids=[7])
    old = Style(tracks=False)
    np.testing.assert_array_equal(draw_poses(IMAGE, plain, old), draw_poses(IMAGE, plain))
    drawn = draw_poses(IMAGE, tracked, old)
    np.testing.assert_array_equal(drawn[30:], draw_poses(IMAGE, plain)[30:])
    assert (drawn[:30] != draw_poses(IMAGE, plain)[:30]).any(), "the id is written"


def test_several_classes_are_named() -> None:
    same = draw_poses(IMAGE, standing(2, track_ids=[1, 2]), Style(boxes=False))
    mixed = draw_poses(IMAGE, standing(2, track_ids=[1, 2], labels=("dog", "cat")), Style(boxes=False))
    assert of_color(mixed, track_color(1)).sum() > of_color(same, track_color(1)).sum() + 50
