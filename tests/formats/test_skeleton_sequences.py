import logging
from pathlib import Path

import numpy as np
import pytest
from films import FILMS, SIZE, film, random_poses, real_film, write_journal

from vitpose.core.errors import InputError
from vitpose.formats import skeleton_sequences
from vitpose.formats.film import FilmOptions, convert_film
from vitpose.formats.film_facts import FilmFrame

Arrays = dict[str, np.ndarray]


def converted(tmp_path: Path, frames: list[FilmFrame], options: FilmOptions | None = None) -> Arrays:
    journal = write_journal(tmp_path / "clip.jsonl", frames)
    (path,) = convert_film(journal, tmp_path, "clip", ["skeletons"], options)
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def expected(frames: list[FilmFrame], ids: list[int], dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    keypoints = len(frames[0].poses.skeleton)
    xy = np.zeros((len(ids), len(frames), keypoints, 2), dtype)
    scores = np.zeros((len(ids), len(frames), keypoints), dtype)
    for t, one in enumerate(frames):
        for p, track_id in enumerate([] if one.poses.track_ids is None else one.poses.track_ids.tolist()):
            if track_id in ids:
                xy[ids.index(track_id), t] = one.poses.xy[p]
                scores[ids.index(track_id), t] = one.poses.scores[p]
    return xy, scores


def totals(frames: list[FilmFrame]) -> dict[int, float]:
    found: dict[int, float] = {}
    for one in frames:
        for track_id, score in zip(one.poses.track_ids.tolist(), one.poses.score.tolist(), strict=True):
            if track_id >= 0:
                found[track_id] = found.get(track_id, 0) + score
    return found


@pytest.mark.parametrize("at_once", [1, 2, 256])
@pytest.mark.parametrize("kind", ["tracked", "stride", "smoothed", "wholebody", "mixed"])
def test_everybody_is_in_the_arrays(tmp_path: Path, kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skeleton_sequences, "_FRAMES_AT_ONCE", at_once)
    frames = FILMS[kind]()
    found = converted(tmp_path, frames)
    if kind == "mixed":  # frames without people have no ids to read back
        frames = [
            one if len(one.poses) else one._replace(poses=random_poses(np.random.default_rng(), [])) for one in frames
        ]
    sums = totals(frames)
    ids = found["track_ids"].tolist()
    assert ids == sorted(sums, key=lambda one: -sums[one])
    xy, scores = expected(frames, ids)
    np.testing.assert_array_equal(found["keypoint"], xy)
    np.testing.assert_array_equal(found["keypoint_score"], scores)
    np.testing.assert_array_equal(found["frame_index"], [one.frame for one in frames])
    np.testing.assert_array_equal(found["time_s"], [one.time_s for one in frames])
    assert found["keypoint"].dtype == found["keypoint_score"].dtype == np.float32
    assert found["keypoint_names"].tolist() == list(frames[0].poses.skeleton.keypoints)
    assert found["img_shape"].tolist() == found["original_shape"].tolist() == [SIZE.height, SIZE.width]
    assert (found["total_frames"], found["label"], found["people_in_film"]) == (len(frames), -1, len(ids))
    assert found["unclaimed"] == sum((one.poses.track_ids < 0).sum() for one in frames)
    assert found["schema"] == "vitpose.skeletons/1"


def test_a_real_video_is_in_the_arrays(tmp_path: Path, shared: Path) -> None:
    frames = real_film(shared)
    found = converted(tmp_path, frames, FilmOptions(skeleton_people=None))
    xy, scores = expected(frames, found["track_ids"].tolist())
    assert len(xy) > 5
    np.testing.assert_array_equal(found["keypoint"], xy)
    np.testing.assert_array_equal(found["keypoint_score"], scores)


def test_who_comes_late_is_zero_before(tmp_path: Path) -> None:
    found = converted(tmp_path, film([[1], [1], [1, 9]]))
    late = found["track_ids"].tolist().index(9)
    assert not found["keypoint"][late, :2].any()
    assert not found["keypoint_score"][late, :2].any()
    assert found["keypoint_score"][late, 2].all()


def test_the_best_are_kept_and_it_is_said(tmp_path: Path, caplog) -> None:
    frames = film([[3, 1, 7]] * 2 + [[7, 1], [7]])
    everybody = converted(tmp_path, frames)
    with caplog.at_level(logging.WARNING):
        found = converted(tmp_path, frames, FilmOptions(skeleton_people=2))
    assert "clip.npz: 2 of 3 people are kept" in caplog.text
    np.testing.assert_array_equal(found["keypoint"], everybody["keypoint"][:2])
    assert found["track_ids"].tolist() == everybody["track_ids"].tolist()[:2]
    assert found["people_in_film"] == 3


def test_half_precision_is_a_choice(tmp_path: Path) -> None:
    frames = FILMS["tracked"]()
    found = converted(tmp_path, frames, FilmOptions(half=True))
    xy, scores = expected(frames, found["track_ids"].tolist(), np.float16)
    assert found["keypoint"].dtype == found["keypoint_score"].dtype == np.float16
    np.testing.assert_array_equal(found["keypoint"], xy)
    np.testing.assert_array_equal(found["keypoint_score"], scores)


def test_where_nobody_was_followed_the_best_of_each_frame_come_first(tmp_path: Path) -> None:
    frames = FILMS["untracked"]()
    found = converted(tmp_path, frames)
    assert found["track_ids"].tolist() == [-1, -1, -1]
    for t, one in enumerate(frames):
        order = np.argsort(-one.poses.score)
        np.testing.assert_array_equal(found["keypoint"][: len(order), t], one.poses.xy[order])
        assert not found["keypoint_score"][len(order) :, t].any()


@pytest.mark.parametrize(("kind", "shape"), [("empty", (0, 0, 0, 2)), ("nobody", (0, 5, 17, 2))])
def test_nobody_and_nothing_have_shapes_too(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    found = converted(tmp_path, FILMS[kind]())
    assert found["keypoint"].shape == shape
    assert found["keypoint_score"].shape == shape[:3]
    assert found["total_frames"] == len(found["time_s"]) == shape[1]
    assert found["track_ids"].dtype == np.int64


def test_what_cannot_be_an_array_says_why(tmp_path: Path) -> None:
    twice = film([[1], [2, 2]])
    with pytest.raises(InputError, match="an id is given twice in frame 1"):
        converted(tmp_path, twice)
    journal = write_journal(tmp_path / "clip.jsonl", film([[1], [1]]))
    head, _, tail = journal.read_text().rpartition('"height": 480')
    journal.write_text(head + '"height": 240' + tail)
    with pytest.raises(InputError, match=r"several sizes \(640x480, 640x240\)"):
        convert_film(journal, tmp_path, "clip", ["skeletons"])
