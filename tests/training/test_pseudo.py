"""Made labels: only what is sure and agrees with its mirror image."""

import logging

import cv2
import numpy as np
import pytest

import vitpose
from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.core.poses import Boxes, Poses
from vitpose.core.skeleton import load_skeleton
from vitpose.data.readers.read import read_labelled
from vitpose.media.images import read_image
from vitpose.training.pseudo import Trust, agreement, label_people, make_labels, mirror_boxes

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

    def estimate(self, pictures: list[np.ndarray], boxes: list[Boxes] | None = None) -> list[Poses]:
        return [self._one(picture, mirrored=boxes is not None) for picture in pictures]

    def _one(self, picture: np.ndarray, *, mirrored: bool) -> Poses:
        column = int(picture[..., 0].sum(axis=0).argmax())
        xy = np.stack([np.full(17, column), np.linspace(20, 80, 17)], axis=1)
        if mirrored:  # pairs change places in the mirror image
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


def test_a_picture_that_cannot_be_read_is_passed_over_where_somebody_is_told(pictures, tmp_path):
    (pictures / "45.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"45\.png"):
        make_labels(_Estimator(0.9), [pictures], tmp_path / "made.json")
    assert not (tmp_path / "made.json").exists()
    told, steps = [], []
    made = make_labels(
        _Estimator(0.9),
        [pictures],
        tmp_path / "made.json",
        passed_over=lambda source, _: told.append(source),
        looked_at=lambda done, total: steps.append((done, total)),
    )
    assert [path.split("/")[-1] for path in told] == ["45.png"]
    assert (len(made), len(made.images)) == (2, 2)
    assert steps == [(3, 3)]


def test_nothing_is_written_where_there_is_nothing_to_label(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="none of the 1 pictures"):
        make_labels(_Estimator(0.9), [tmp_path / "a.png"], tmp_path / "made.json", passed_over=lambda *_: None)
    with pytest.raises(UsageError, match="on the web"):
        make_labels(_Estimator(0.9), ["https://example.org/a.jpg"], tmp_path / "made.json")
    assert not (tmp_path / "made.json").exists()


class _Interrupted(_Estimator):
    """Somebody presses Ctrl-C when so many calls are done."""

    def __init__(self, calls: int) -> None:
        super().__init__(0.9)
        self._left = calls

    def estimate(self, pictures: list[np.ndarray], boxes: list[Boxes] | None = None) -> list[Poses]:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return super().estimate(pictures, boxes)


@pytest.mark.parametrize(("calls", "kept"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)])
def test_an_interruption_keeps_the_pictures_that_are_done(pictures, tmp_path, monkeypatch, calls, kept):
    monkeypatch.setattr("vitpose.training.pseudo.IMAGES_IN_FLIGHT", 1)
    for column in (70, 80):
        (pictures / f"{column}.png").write_bytes((pictures / "60.png").read_bytes())
    with pytest.raises(KeyboardInterrupt):
        make_labels(_Interrupted(calls), [pictures], tmp_path / "made.json")
    assert (tmp_path / "made.json").exists() == bool(kept)
    if kept:
        read = read_labelled("coco", tmp_path / "made.json")
        assert [image.path.name for image in read.images] == ["30.png", "60.png"][:kept]
        assert [record.annotation_id for record in read.records] == list(range(1, kept + 1))


def test_an_interruption_while_the_file_is_written_loses_nothing(pictures, tmp_path, monkeypatch):
    from vitpose.training import pseudo

    real, calls = pseudo.write_coco, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(pseudo, "write_coco", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_labels(_Estimator(0.9), [pictures], tmp_path / "made.json")
    assert len(read_labelled("coco", tmp_path / "made.json")) == 2


def test_films_are_named_and_passed_over(pictures, tmp_path, caplog):
    for name in ("clip.mp4", "pictures/beside.mp4"):
        (tmp_path / name).write_bytes(b"")
    sources = [pictures, tmp_path / "clip.mp4", "rtsp://me:secret@camera/1"]
    with pytest.raises(InputError, match=r"clip\.mp4 is a film"):
        make_labels(_Estimator(0.9), sources, tmp_path / "made.json")
    told = []

    def tell(_: str, error: InputError) -> None:
        told.append(str(error))

    with caplog.at_level(logging.WARNING):
        made = make_labels(_Estimator(0.9), sources, tmp_path / "made.json", passed_over=tell)
    assert len(made.images) == 2
    assert [text.partition(" is a film")[0].split("/")[-1] for text in told] == ["clip.mp4", "1"]
    assert "secret" not in "".join(told)
    (record,) = caplog.records
    assert record.getMessage() == f"films among the pictures are passed over: 1, {pictures / 'beside.mp4'} first"


def test_people_whose_boxes_are_known_get_the_keypoints_in_their_place(pictures, tmp_path):
    known = make_labels(_Estimator(0.9), [pictures], tmp_path / "made.json")
    model = vitpose.load("random:vitpose-ti", detector=None, engine="eager")
    everything = Trust(score=0.0, distance_norm=1e9, keypoints=1)
    made = label_people(model, known, everything)
    assert [record.annotation_id for record in made.records] == [record.annotation_id for record in known.records]
    for before, after in zip(known.records, made.records, strict=True):
        expected = model(read_image(before.image), boxes=before.box[None])
        np.testing.assert_allclose(after.keypoints, expected.xy[0], atol=1e-3)
        assert (after.visibility == 2).all()
        assert (after.box == before.box).all()
    assert len(label_people(model, known, Trust(score=1.0))) == 0
