"""Results: immutable, checked, and the same after a round trip."""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vitpose.core.errors import InputError, MissingExtraError, UsageError
from vitpose.core.geometry import Size
from vitpose.core.poses import Boxes, Poses
from vitpose.core.provenance import Provenance
from vitpose.core.skeleton import load_skeleton

COCO = load_skeleton("coco17")


def some_poses(people: int = 3, **fields: object) -> Poses:
    rng = np.random.default_rng(people)
    low = rng.uniform(0, 300, (people, 2))
    values = {
        "xy": rng.uniform(0, 600, (people, 17, 2)).astype(np.float32),
        "scores": rng.uniform(0, 1, (people, 17)).astype(np.float32),
        "boxes": np.concatenate([low, low + 100], axis=1),
        "box_scores": rng.uniform(0.5, 1, people),
        "skeleton": COCO,
        "image_size": Size(480, 640),
        "model": Provenance(name="m", dataset="coco", settings=(("flip_test", "True"),)),
    }
    return Poses(**(values | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("people", [0, 1, 3])
@pytest.mark.parametrize("tracked", [False, True])
def test_json_round_trip_keeps_every_bit(people: int, tracked: bool) -> None:
    poses = some_poses(people, track_ids=np.arange(people) + 7 if tracked else None)
    back = Poses.from_dict(json.loads(json.dumps(poses.to_dict())))
    for name in ("xy", "scores", "boxes", "box_scores"):
        np.testing.assert_array_equal(getattr(back, name), getattr(poses, name))
    assert (back.skeleton, back.image_size, back.model, back.labels) == (
        poses.skeleton,
        poses.image_size,
        poses.model,
        poses.labels,
    )
    if tracked and people:
        np.testing.assert_array_equal(back.track_ids, poses.track_ids)
    assert back.to_dict() == poses.to_dict()


def with_extras(people: int = 3) -> Poses:
    rng = np.random.default_rng(5)
    return some_poses(people, p_correct=rng.random((people, 17)), raw_xy=rng.uniform(0, 600, (people, 17, 2)))


def test_probabilities_and_raw_points_go_everywhere_their_person_goes() -> None:
    poses = with_extras()
    back = Poses.from_dict(json.loads(json.dumps(poses.to_dict())))
    for name in ("p_correct", "raw_xy"):
        np.testing.assert_array_equal(getattr(back, name), getattr(poses, name))
        np.testing.assert_array_equal(getattr(poses[[2, 0]], name), getattr(poses, name)[[2, 0]])
        assert not getattr(poses, name).flags.writeable
    table = poses.to_table()
    np.testing.assert_array_equal(table["p_correct"].to_numpy(), poses.p_correct.ravel())
    raw = np.stack([table["raw_x"].to_numpy(), table["raw_y"].to_numpy()], axis=-1)
    np.testing.assert_array_equal(raw.reshape(3, 17, 2), poses.raw_xy)


def test_without_them_documents_and_tables_are_as_before() -> None:
    poses, extra = some_poses(), with_extras()
    assert (poses.p_correct, poses.raw_xy, poses[1].p_correct) == (None, None, None)
    assert set(extra.to_dict()["people"][0]) - set(poses.to_dict()["people"][0]) == {"p_correct", "raw_xy"}
    assert set(extra.to_table().column_names) - set(poses.to_table().column_names) == {"p_correct", "raw_x", "raw_y"}
    document = extra.to_dict()
    del document["people"][1]["p_correct"]
    with pytest.raises(InputError, match="p_correct"):
        Poses.from_dict(document)


def test_results_cannot_be_changed_and_do_not_share_the_callers_arrays() -> None:
    xy = np.zeros((1, 17, 2), np.float32)
    poses = some_poses(1, xy=xy)
    with pytest.raises(ValueError, match="read-only"):
        poses.xy[0, 0] = 1
    xy[:] = 5
    assert poses.xy.max() == 0
    with pytest.raises(AttributeError):
        poses.xy = xy  # type: ignore[misc]


@pytest.mark.parametrize("field", ["xy", "scores", "box_scores", "track_ids", "p_correct", "raw_xy"])
def test_wrong_shapes_are_refused(field: str) -> None:
    with pytest.raises(UsageError, match=field):
        some_poses(3, **{field: np.zeros((2, 5))})


def test_the_score_is_box_times_mean_of_the_counted_keypoints() -> None:
    scores = np.zeros((2, 17), np.float32)
    scores[0, :2] = 0.4, 0.8
    scores[0, 2] = 0.2
    poses = some_poses(2, scores=scores, box_scores=np.array([0.5, 1.0]))
    np.testing.assert_allclose(poses.score, [0.3, 0.0], atol=1e-6)


def test_a_threshold_marks_and_never_drops() -> None:
    poses = some_poses(3, threshold=0.5)
    assert poses.xy.shape == (3, 17, 2)
    np.testing.assert_array_equal(poses.visible, poses.scores >= 0.5)
    by_keypoint = np.linspace(0, 1, 17, dtype=np.float32)
    np.testing.assert_array_equal(some_poses(3, threshold=by_keypoint).visible, poses.scores >= by_keypoint)


def test_selection_keeps_everything_in_step() -> None:
    poses = some_poses(3, labels=("a", "b", "c"), track_ids=[1, 2, 3])
    for chosen in (poses[[2, 0]], poses[np.array([2, 0])]):
        assert chosen.labels == ("c", "a")
        np.testing.assert_array_equal(chosen.track_ids, [3, 1])
        np.testing.assert_array_equal(chosen.xy, poses.xy[[2, 0]])
    assert len(poses[poses.scores.max(axis=1) > 2]) == 0
    assert len(poses[1:]) == 2


def test_nobody_is_an_empty_result() -> None:
    empty = Poses.empty(COCO, Size(10, 20))
    assert empty.xy.shape == (0, 17, 2)
    assert empty.score.shape == (0,)
    assert empty.to_coco_results(1) == []
    assert empty.to_table().num_rows == 0
    assert len(empty.to_supervision()) == 0
    assert Poses.from_dict(empty.to_dict()).xy.shape == (0, 17, 2)


def test_coco_results_carry_all_keypoints_and_xywh_boxes() -> None:
    poses = some_poses(2)
    first = poses.to_coco_results(139)[0]
    assert first["image_id"] == 139
    assert len(first["keypoints"]) == 51
    np.testing.assert_allclose(first["bbox"][2:], 100, rtol=1e-5)
    np.testing.assert_array_equal(np.float32(first["keypoints"][:2]), poses.xy[0, 0])
    assert first["score"] == pytest.approx(poses.score[0])


def test_supervision_gets_all_keypoints_with_scores_and_marks() -> None:
    poses = some_poses(2, threshold=0.5)
    keypoints = poses.to_supervision()
    np.testing.assert_array_equal(keypoints.xy, poses.xy)
    np.testing.assert_array_equal(keypoints.keypoint_confidence, poses.scores)
    np.testing.assert_array_equal(keypoints.detection_confidence, poses.box_scores)
    np.testing.assert_array_equal(keypoints.visible, poses.visible)


def test_supervision_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vitpose\[supervision\]'"):
        some_poses(1).to_supervision()


def test_table_is_long_and_complete() -> None:
    poses = some_poses(2)
    table = poses.to_table()
    assert table.num_rows == 34
    assert table["keypoint"][17].as_py() == "nose"
    assert table["x"][18].as_py() == pytest.approx(float(poses.xy[1, 1, 0]))


def test_another_schema_is_refused() -> None:
    with pytest.raises(InputError, match=r"vitpose\.poses/9"):
        Poses.from_dict(some_poses(1).to_dict() | {"schema": "vitpose.poses/9"})
    broken = some_poses(1).to_dict()
    del broken["people"][0]["box_score"]
    with pytest.raises(InputError, match="box_score"):
        Poses.from_dict(broken)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: [], "document is"),
        (lambda _: None, "document is None"),
        (lambda document: document | {"model": None}, "NoneType"),
        (lambda document: document | {"model": {"settings": ["a"]}}, "list"),
        (lambda document: document | {"skeleton": None}, "a skeleton must be a table, not None"),
        (lambda document: document | {"skeleton": document["skeleton"] | {"sigmas": {"nose": 10**400}}}, "sigmas of"),
        (lambda document: document | {"people": None}, "people is None"),
        (lambda document: document | {"people": {}}, "people is {}"),
        (lambda document: document | {"people": [None, None]}, "NoneType"),
        (lambda document: document | {"image": None}, "NoneType"),
        (lambda document: document | {"image": {"height": float("inf"), "width": 3}}, "infinity"),
        (lambda document: document | {"threshold": [0.1, 0.2]}, "threshold must have shape"),
        (lambda document: document | {"threshold": None}, "threshold is None"),
        (lambda document: document | {"threshold": "0.3"}, "threshold is '0.3'"),
        (lambda document: document | {"threshold": [None] * 17}, "NoneType"),
        (lambda document: document | {"threshold": 10**400}, "OverflowError"),
        (lambda document: changed_person(document, track_id=10**20), "OverflowError"),
        (lambda document: changed_person(document, track_id=[1]), "not a valid"),
        (lambda document: changed_person(document, raw_xy=[[1.0, 2.0]]), "not a valid"),
        (lambda document: changed_person(document, label=None), "a label is None"),
        (lambda document: changed_person(document, box_score=[1.0, 2.0]), "not a valid"),
        (lambda document: changed_person(document, keypoints=None), "not a valid"),
    ],
)
def test_damaged_documents_are_unreadable_input(change: Callable[[Any], Any], words: str) -> None:
    document = some_poses(2, track_ids=np.array([1, 2]), raw_xy=np.zeros((2, 17, 2))).to_dict()
    assert len(Poses.from_dict(document)) == 2
    with pytest.raises(InputError, match=f"^clip.jsonl, line 3: .*{words}") as caught:
        Poses.from_dict(change(document), where="clip.jsonl, line 3")
    assert caught.value.exit_code == 3


def changed_person(document: dict[str, Any], **values: object) -> dict[str, Any]:
    first, *others = document["people"]
    return document | {"people": [first | values, *others]}


def test_every_raw_point_of_a_wrong_number() -> None:
    document = some_poses(2, raw_xy=np.zeros((2, 17, 2))).to_dict()
    for person in document["people"]:
        person["raw_xy"] = person["raw_xy"][:5]
    with pytest.raises(InputError, match=r"here: .*raw_xy must have shape \(2, 17, 2\), not \(2, 5, 2\)"):
        Poses.from_dict(document, where="here")


def test_boxes_fill_scores_and_labels() -> None:
    boxes = Boxes([[0, 0, 5, 5], [1, 1, 2, 2]])  # type: ignore[arg-type]
    assert boxes.labels == ("person", "person")
    np.testing.assert_array_equal(boxes.scores, [1, 1])
    assert boxes[[1]].xyxy[0, 0] == 1
    with pytest.raises(UsageError, match="labels"):
        Boxes([[0, 0, 5, 5]], labels=("a", "b"))  # type: ignore[arg-type]
