import json
from pathlib import Path

import numpy as np
import pytest
from films import COCO17, FILMS, film, random_poses, real_film, write_journal

from vitpose.core.skeleton import builtin_skeletons, load_skeleton
from vitpose.formats.film import convert_film
from vitpose.formats.film_facts import FilmFrame
from vitpose.formats.openpose import BODY_25, FACE_70, hand_21, openpose_layout, openpose_people

# The order published in OpenPose's doc/02_output.md, in OpenPose's names.
PUBLISHED = (
    "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee",
    "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel", "RBigToe",
    "RSmallToe", "RHeel",
)  # fmt: skip
LISTS = ("pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d")


def written(tmp_path: Path, frames: list[FilmFrame]) -> dict[int, list[dict]]:
    folder, beside = convert_film(write_journal(tmp_path / "clip.jsonl", frames), tmp_path, "clip", ["openpose"])
    assert (folder, beside) == (tmp_path / "clip", tmp_path / "clip.openpose.json")
    found = {}
    for path in sorted(folder.iterdir()):
        name, number, ending = path.name.rsplit("_", 2)
        assert (name, len(number), ending) == ("clip", 12, "keypoints.json")
        plain = json.loads(path.read_text())
        assert set(plain) == {"version", "people"}
        assert plain["version"] == 1.3
        found[int(number)] = plain["people"]
    return found


def triples(person: dict, which: str) -> np.ndarray:
    return np.array(person[which], np.float32).reshape(-1, 3)


def test_the_order_is_the_published_one() -> None:
    def ours(name: str) -> str:
        sides = {"R": "right", "L": "left"}
        side, rest = (sides[name[0]], name[1:]) if name[0] in sides and name[1].isupper() else ("", name)
        parts = "".join(f"_{c.lower()}" if c.isupper() else c for c in rest).strip("_")
        return f"{side}_{parts}" if side else parts

    assert [ours(name) for name in PUBLISHED] == list(BODY_25)
    assert (len(BODY_25), len(FACE_70), len(hand_21("left"))) == (25, 70, 21)
    assert hand_21("right")[:6] == (
        "right_hand_root", "right_thumb1", "right_thumb2", "right_thumb3", "right_thumb4", "right_forefinger1"
    )  # fmt: skip


@pytest.mark.parametrize("kind", FILMS)
def test_every_keypoint_is_where_its_name_says(tmp_path: Path, kind: str) -> None:
    frames = FILMS[kind]()
    found = written(tmp_path, frames)
    assert list(found) == [one.frame for one in frames]
    order = json.loads((tmp_path / "clip.openpose.json").read_text())
    for one in frames:
        people = found[one.frame]
        assert len(people) == len(one.poses)
        for i, person in enumerate(people):
            assert person["person_id"] == [-1 if one.poses.track_ids is None else one.poses.track_ids[i]]
            seen = set()
            for which in LISTS:
                points = triples(person, which)
                assert len(points) == len(order[which])
                for name, point in zip(order[which], points, strict=True):
                    if name in one.poses.skeleton.keypoints and name != "neck":
                        k = one.poses.skeleton.index(name)
                        np.testing.assert_array_equal(point, [*one.poses.xy[i, k], one.poses.scores[i, k]])
                        seen.add(name)
                    elif name not in ("neck", "mid_hip"):
                        np.testing.assert_array_equal(point, 0)
            assert seen == set(one.poses.skeleton.keypoints)
            assert all(person[f"{part}_keypoints_3d"] == [] for part in ("pose", "face", "hand_left", "hand_right"))


def test_neck_and_middle_of_the_hips_are_middles() -> None:
    poses = random_poses(np.random.default_rng(1), [5])
    (person,) = openpose_people(poses, openpose_layout(COCO17))
    body = triples(person, "pose_keypoints_2d")
    for place, (a, b) in ((1, ("left_shoulder", "right_shoulder")), (8, ("left_hip", "right_hip"))):
        i, j = COCO17.index(a), COCO17.index(b)
        np.testing.assert_allclose(body[place, :2], (poses.xy[0, i] + poses.xy[0, j]) / 2, rtol=1e-6)
        assert body[place, 2] == min(poses.scores[0, i], poses.scores[0, j])


def test_wholebody_has_face_and_hands() -> None:
    skeleton = load_skeleton("wholebody133")
    poses = random_poses(np.random.default_rng(1), [5], skeleton=skeleton)
    (person,) = openpose_people(poses, openpose_layout(skeleton))
    # COCO-WholeBody's published order: body 17, feet 6, face 68, left hand 21, right hand 21.
    np.testing.assert_array_equal(triples(person, "face_keypoints_2d")[:68, :2], poses.xy[0, 23:91])
    np.testing.assert_array_equal(triples(person, "face_keypoints_2d")[68:], 0)
    np.testing.assert_array_equal(triples(person, "hand_left_keypoints_2d")[:, :2], poses.xy[0, 91:112])
    np.testing.assert_array_equal(triples(person, "hand_right_keypoints_2d")[:, :2], poses.xy[0, 112:133])
    assert (triples(person, "pose_keypoints_2d")[:, 2] > 0).all()


def test_a_real_video_has_its_limbs(tmp_path: Path, shared: Path) -> None:
    frames = real_film(shared)
    found = written(tmp_path, frames)
    wrist = BODY_25.index("left_wrist")
    for one in frames:
        xy = [triples(person, "pose_keypoints_2d")[wrist, :2] for person in found[one.frame]]
        np.testing.assert_array_equal(xy, one.poses.xy[:, one.poses.skeleton.index("left_wrist")])


@pytest.mark.parametrize("name", builtin_skeletons())
def test_every_skeleton_has_a_place(name: str) -> None:
    skeleton = load_skeleton(name)
    layout = openpose_layout(skeleton)
    kinds = {"wholebody_face68": "none", "animalpose20": "own", "ap10k17": "own", "atrw15": "own", "horse22": "own"}
    kinds |= dict.fromkeys(("face68", "wflw98", "hand21", "interhand21", "wholebody_hand21"), "own")
    assert layout.body == kinds.get(name, "BODY_25")
    for which, points in layout.order.items():
        assert layout.sources[which].shape == (len(points), 2)
    if layout.body == "own":
        assert layout.order["pose_keypoints_2d"] == skeleton.keypoints
        poses = random_poses(np.random.default_rng(1), [1, 2], skeleton=skeleton)
        for i, person in enumerate(openpose_people(poses, layout)):
            np.testing.assert_array_equal(triples(person, "pose_keypoints_2d")[:, :2], poses.xy[i])


def test_what_stands_beside_says_which_order_it_is(tmp_path: Path) -> None:
    written(tmp_path, film([[1]], skeleton=load_skeleton("ap10k17")))
    beside = json.loads((tmp_path / "clip.openpose.json").read_text())
    assert (beside["skeleton"], beside["body"]) == ("ap10k17", "own")
    assert beside["pose_keypoints_2d"] == list(load_skeleton("ap10k17").keypoints)
