import json
from pathlib import Path

import numpy as np
import pytest
from films import COCO17, FILMS, SIZE, assert_same_poses, real_film, write_journal
from pycocotools.coco import COCO

from vitpose.core.poses import Poses
from vitpose.formats.film import convert_film
from vitpose.formats.film_facts import FilmFrame


def converted(tmp_path: Path, frames: list[FilmFrame]) -> Path:
    (path,) = convert_film(write_journal(tmp_path / "clip.jsonl", frames), tmp_path, "clip", ["coco-video"])
    return path


def poses_of(coco: COCO, image_id: int, like: Poses) -> Poses:
    people = coco.loadAnns(coco.getAnnIds(imgIds=[image_id]))
    people.sort(key=lambda one: one["id"])
    triples = np.array([one["keypoints"] for one in people]).reshape(len(people), len(like.skeleton), 3)
    low, size = np.split(np.array([one["bbox"] for one in people], float).reshape(-1, 4), 2, axis=1)
    optional = {
        name: np.array([one[name] for one in people])
        for name in ("p_correct", "raw_xy")
        if people and name in people[0]
    }
    ids = [one["track_id"] for one in people]
    np.testing.assert_array_equal(triples[..., 2] == 2, like.visible)
    return Poses(
        xy=triples[..., :2],
        scores=np.array([one["keypoint_scores"] for one in people]).reshape(triples.shape[:2]),
        boxes=np.concatenate([low, low + size], axis=1),
        box_scores=[one["box_score"] for one in people],
        labels=tuple(coco.cats[one["category_id"]]["name"] for one in people),
        track_ids=None if None in ids else np.array(ids, np.int64),
        skeleton=like.skeleton,
        image_size=like.image_size,
        **optional,
    )


def assert_file_is_film(path: Path, frames: list[FilmFrame]) -> None:
    coco = COCO(path)
    assert len(coco.imgs) == len(frames)
    for (image_id, image), one in zip(sorted(coco.imgs.items()), frames, strict=True):
        assert (image["frame_id"], image["time_s"], image["video_id"]) == (one.frame, one.time_s, 1)
        assert (image["height"], image["width"]) == one.poses.image_size
        read = poses_of(coco, image_id, one.poses)
        # Width is a difference of two float32, so the far side comes back within its rounding.
        np.testing.assert_allclose(read.boxes, one.poses.boxes, rtol=3e-7, atol=1e-4)
        exact = Poses(**{**vars(read), "boxes": one.poses.boxes})
        assert_same_poses(one.poses, exact)
        scores = [entry["score"] for entry in coco.loadAnns(coco.getAnnIds(imgIds=[image_id]))]
        np.testing.assert_array_equal(np.array(scores, np.float32), one.poses.score)


@pytest.mark.parametrize("kind", FILMS)
def test_pycocotools_reads_the_film_back(tmp_path: Path, kind: str, capsys) -> None:
    frames = FILMS[kind]()
    assert_file_is_film(converted(tmp_path, frames), frames)


def test_pycocotools_reads_a_real_video_back(tmp_path: Path, shared: Path, capsys) -> None:
    frames = real_film(shared)
    assert_file_is_film(converted(tmp_path, frames), frames)


def test_the_lists_of_the_file(tmp_path: Path) -> None:
    plain = json.loads(converted(tmp_path, FILMS["mixed"]()).read_text(encoding="utf-8"))
    (video,) = plain["videos"]
    about = {"id": 1, "name": "clip", "file_name": "clips/Straße, 1.mp4", "frames": 7}
    assert video == about | {"height": SIZE.height, "width": SIZE.width}
    assert [one["name"] for one in plain["categories"]] == ["person", "dog"]
    assert [one["id"] for one in plain["categories"]] == [1, 18]
    assert plain["categories"][0]["keypoints"] == list(COCO17.keypoints)
    assert min(min(edge) for edge in plain["categories"][0]["skeleton"]) == 1
    numbers = [one["id"] for one in plain["annotations"]]
    assert numbers == list(range(1, len(numbers) + 1))
    for one in plain["annotations"]:
        assert one["num_keypoints"] == sum(v > 0 for v in one["keypoints"][2::3])
        assert one["area"] == pytest.approx(one["bbox"][2] * one["bbox"][3])
        assert one["iscrowd"] == 0
    assert json.loads(converted(tmp_path, []).read_text())["categories"] == []


def test_it_can_be_evaluated_as_labels(tmp_path: Path, capsys) -> None:
    """A film against itself is perfect: the keypoints that count are those above the threshold."""
    from pycocotools.cocoeval import COCOeval

    frames = FILMS["tracked"]()
    labels = COCO(converted(tmp_path, frames))
    results = [entry for place, one in enumerate(frames, 1) for entry in one.poses.to_coco_results(place)]
    evaluation = COCOeval(labels, labels.loadRes(results), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
