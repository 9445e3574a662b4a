"""Made labels: only what is sure and agrees with its mirror image."""

import cv2
import numpy as np
import pytest

from vitpose.core.geometry import Size
from vitpose.core.poses import Boxes, Poses
from vitpose.core.skeleton import load_skeleton
from vitpose.data.readers.read import read_labelled
from vitpose.training.pseudo import Trust, agreement, make_labels, mirror_boxes

SKELETON = load_skeleton("coco17")
WIDTH = 101


def poses_at(xy: np.ndarray, scores: np.ndarray, box=(10, 10, 90, 90)) -> Poses:
    return Poses(
        xy=xy.astype(np.float32)[None],
        scores=scores.astype(np.float32)[None],
        boxes=np.array([box], np.float32),
        box_scores=np.ones(1, np.float32),
        labels=("person",),
        skeleton=SKELETON,
        image_size=Size(100, WIDTH),
    )


def mirrored(xy: np.ndarray) -> np.ndarray:
    """Return where the keypoints lie in the mirror image."""
    back = xy[SKELETON.flip_indices].copy()
    back[:, 0] = WIDTH - 1 - back[:, 0]
    return back


def test_keypoints_that_agree_are_kept_and_those_that_move_or_are_unsure_are_not():
    xy = np.random.default_rng(0).uniform(15, 85, (17, 2))
    scores = np.full(17, 0.9)
    other, other_scores = mirrored(xy), scores.copy()
    other[0, 1] += 30  # the nose, which stays in place, is somewhere else in the mirror
    scores[5] = 0.1  # left shoulder unsure in the picture
    other_scores[SKELETON.index("left_hip")] = 0.1  # seen as the left hip in the mirror: the right one in the picture
    kept = agreement(poses_at(xy, scores), poses_at(other, other_scores), WIDTH, Trust())[0]
    wrong = {0, 5, SKELETON.index("right_hip")}
    assert [index for index in range(17) if not kept[index]] == sorted(wrong)


def test_mirroring_boxes_twice_changes_nothing():
    boxes = np.array([[3, 4, 50, 60], [0, 0, 100, 99]], np.float32)
    assert np.array_equal(mirror_boxes(mirror_boxes(boxes, WIDTH), WIDTH), boxes)
    assert mirror_boxes(boxes[:1], WIDTH).tolist() == [[50, 4, 97, 60]]


class _Estimator:
    """Finds one person whose keypoints follow the brightest column, so that a mirror image moves them along."""

    skeleton = SKELETON

    def __init__(self, score: float) -> None:
        self._score = score

    def __call__(self, picture: np.ndarray, *, boxes: Boxes | None = None) -> Poses:
        column = int(picture[..., 0].sum(axis=0).argmax())
        xy = np.stack([np.full(17, column), np.linspace(20, 80, 17)], axis=1)
        if boxes is not None:  # pairs change places in the mirror image
            xy = xy[SKELETON.flip_indices]
        return poses_at(xy, np.full(17, self._score), (10, 10, 90, 90))


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for column in (30, 60):
        picture = np.zeros((100, WIDTH, 3), np.uint8)
        picture[:, column] = 255
        cv2.imwrite(str(folder / f"{column}.png"), picture)
    return folder


def test_made_labels_are_a_file_to_train_on(pictures, tmp_path):
    made = make_labels(_Estimator(0.9), [pictures], tmp_path / "made.json")
    read = read_labelled("coco", tmp_path / "made.json")
    assert len(read) == len(made) == 2
    assert {record.annotation_id for record in read.records} == {1, 2}
    assert sorted(float(record.keypoints[0, 0]) for record in read.records) == [30.0, 60.0]
    assert all(record.image.exists() for record in read.records)
    assert len(read.for_training()) == 2


def test_unsure_people_are_left_out_but_their_pictures_stay(pictures, tmp_path):
    made = make_labels(_Estimator(0.3), [pictures], tmp_path / "made.json")
    assert (len(made), len(made.images)) == (0, 2)
