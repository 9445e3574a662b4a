"""Skeletons: what they derive, what they refuse, and on which line of a file."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitpose.core.errors import InputError, UsageError
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.core.skeleton_checks import pairs_by_name

GOOD = """\
name = "small"
keypoints = [
    "nose", "left_eye", "right_eye",
    "left_ear", "right_ear",
]
edges = [
    ["nose", "left_eye"],
    ["nose", "right_eye"],
]
flip = [
    ["left_eye", "right_eye"],
    ["left_ear", "right_ear"],
]
upper_body = ["nose"]

[sigmas]
nose = 0.026
left_eye = 0.025
right_eye = 0.025
left_ear = 0.035
right_ear = 0.035
"""


def write(tmp_path, text):
    path = tmp_path / "skeleton.toml"
    path.write_text(text, encoding="utf-8")
    return path


def fault(tmp_path, old, new):
    assert old in GOOD
    with pytest.raises(InputError) as caught:
        Skeleton.from_toml(write(tmp_path, GOOD.replace(old, new, 1)))
    return str(caught.value)


# --- what a file may not say, and the line the message names


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (
            '["left_ear", "right_ear"],\n]\nupper',
            '["left_ear", "left_eye"],\n]\nupper',
            12,
            "flip pair ['left_ear', 'left_eye'] is not symmetric: 'left_eye' is also paired with 'right_eye'",
        ),
        (
            '    ["left_eye", "right_eye"],\n    ["left_ear", "right_ear"],\n',
            '    ["left_eye", "right_ear"],\n    ["left_ear", "right_eye"],\n',
            11,
            "flip pair ['left_eye', 'right_ear'] is not symmetric: by name 'left_eye' belongs to 'right_eye'",
        ),
        (
            '    ["left_ear", "right_ear"],\n]\nupper',
            "]\nupper",
            10,
            "'left_ear' and 'right_ear' are left and right by name but are missing from flip",
        ),
        (
            '["left_ear", "right_ear"],\n]\nupper',
            '["left_ear", "right_ear"], ["nose", "nose"],\n]\nupper',
            12,
            "flip pair ['nose', 'nose'] is an identity: leave a keypoint that stays in place out of flip",
        ),
        (
            '["left_eye", "right_eye"],\n    ["left_ear"',
            '["left_eye", "rigth_eye"],\n    ["left_ear"',
            11,
            "flip pair ['left_eye', 'rigth_eye'] names 'rigth_eye', which is not a keypoint; did you mean 'right_eye'?",
        ),
        (
            '["nose", "right_eye"]',
            '["nose", "right_ey"]',
            8,
            "edge ['nose', 'right_ey'] names 'right_ey', which is not a keypoint; did you mean 'right_eye'?",
        ),
        ('["nose", "right_eye"]', '["nose", "nose"]', 8, "edge ['nose', 'nose'] joins a keypoint to itself"),
        (
            '    "left_ear", "right_ear",\n',
            '    "left_ear", "right_ear",\n    "nose",\n',
            5,
            "keypoint 'nose' appears twice in keypoints",
        ),
        ('["nose"]', '["nose", "mouth"]', 14, "upper_body names 'mouth', which is not a keypoint"),
        ("edges = [", "edge = [", 6, "unknown key 'edge'; did you mean 'edges'?"),
        ("left_eye = 0.025", "left_eya = 0.025", 18, "sigmas names 'left_eya', which is not a keypoint"),
        ("left_eye = 0.025\n", "", 16, "sigmas gives no number for 'left_eye'; give all keypoints or none"),
        ("left_eye = 0.025", "left_eye = 0", 18, "sigmas of 'left_eye' must be a finite number greater than 0"),
        ("left_eye = 0.025", "left_eye = nan", 18, "sigmas of 'left_eye' must be a finite number greater than 0"),
        ("left_eye = 0.025", 'left_eye = "wide"', 18, "sigmas of 'left_eye' must be a number, not 'wide'"),
        ("left_eye = 0.025", "left_eye = true", 18, "sigmas of 'left_eye' must be a number, not True"),
        ('"left_ear", "right_ear",\n]\nedges', '"left_ear", 4,\n]\nedges', 4, "keypoints must hold names, not 4"),
        ('["nose", "right_eye"]', '["nose"]', 8, "edges must hold pairs of names, not ['nose']"),
        ('["nose", "right_eye"]', '"nose"', 8, "edges must hold pairs of names, not 'nose'"),
        ('upper_body = ["nose"]', 'upper_body = "nose"', 14, "upper_body must be a list of names, not 'nose'"),
        ('name = "small"', "name = 17", 1, "name must be text, not 17"),
        ('name = "small"', 'name = ""', 1, "name is empty"),
        ('upper_body = ["nose"]', "flip = []", 14, "not valid TOML"),
        ('["nose", "right_eye"]', '["nose", "right_eye"', 10, "not valid TOML"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path, old, new, line, words):
    message = fault(tmp_path, old, new)
    assert f"skeleton.toml, line {line}: " in message
    assert words in message


def test_sigmas_that_are_no_table(tmp_path):
    text = GOOD.partition("[sigmas]")[0] + "sigmas = [0.1]\n"
    with pytest.raises(InputError, match=r"line 16: sigmas must be a table of numbers by keypoint name"):
        Skeleton.from_toml(write(tmp_path, text))


def test_a_missing_key_has_no_line(tmp_path):
    message = fault(tmp_path, 'name = "small"\n', "")
    assert message.endswith("skeleton.toml: name is missing")


def test_a_file_that_ends_too_early_names_its_last_line(tmp_path):
    with pytest.raises(InputError, match=r"line 2: not valid TOML"):
        Skeleton.from_toml(write(tmp_path, 'name = "x"\nkeypoints = ["a",'))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot read skeleton file"):
        Skeleton.from_toml(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(InputError, match="cannot read skeleton file"):
        Skeleton.from_toml(tmp_path / "bytes.toml")


def test_a_byte_order_mark_is_not_a_fault(tmp_path):
    path = tmp_path / "bom.toml"
    path.write_text(GOOD, encoding="utf-8-sig")
    assert Skeleton.from_toml(path) == Skeleton.from_toml(write(tmp_path, GOOD))


def test_faults_without_a_file_name_the_skeleton():
    with pytest.raises(InputError, match="skeleton 'x': keypoints is empty"):
        Skeleton("x", ())
    with pytest.raises(InputError, match="skeleton 'x': sigmas has 1 values for 2 keypoints"):
        Skeleton("x", ("a", "b"), sigmas=(0.1,))
    with pytest.raises(InputError, match="weights of 'a' must be a finite number 0 or more"):
        Skeleton("x", ("a",), weights=(-1.0,))
    with pytest.raises(InputError, match=r"^table: unknown key 'joints'"):
        Skeleton.from_dict({"name": "x", "keypoints": ["a"], "joints": []}, where="table")


# --- what a skeleton derives


def test_a_good_file(tmp_path):
    skeleton = Skeleton.from_toml(write(tmp_path, GOOD))
    assert len(skeleton) == 5
    assert skeleton.flip_indices.tolist() == [0, 2, 1, 4, 3]
    assert skeleton.edge_indices.tolist() == [[0, 1], [0, 2]]
    assert skeleton.sigma_array.tolist() == [0.026, 0.025, 0.025, 0.035, 0.035]
    assert skeleton.index("left_ear") == 3
    with pytest.raises(UsageError, match="has no keypoint 'leftear'; did you mean 'left_ear'"):
        skeleton.index("leftear")


def test_flip_is_found_by_name_when_it_is_left_out(tmp_path):
    without = GOOD.partition("flip = [")[0] + "[sigmas]" + GOOD.partition("[sigmas]")[2]
    assert Skeleton.from_toml(write(tmp_path, without)).flip_pairs == (
        ("left_eye", "right_eye"),
        ("left_ear", "right_ear"),
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [("left_eye", "right_eye"), ("L_Eye", "R_Eye"), ("eye_l", "eye_r"), ("eyeL", "eyeR"), ("EYE LEFT", "EYE RIGHT"),
     ("LeftHoof", "RightHoof"), ("paw.L", "paw.R"), ("front-l-paw", "front-r-paw"), ("LShoulder", "RShoulder"),
     ("lShoulder", "rShoulder"), ("Leye", "Reye"), ("L2", "R2"), ("forelegL4", "forelegR4")],
)  # fmt: skip
def test_sides_are_known_by_name(left, right):
    assert pairs_by_name([right, "tail", left]) == ((left, right),)


def test_a_letter_that_nothing_separates_contradicts_no_pairs_that_are_given():
    names = ("L2", "R2", "left_eye", "right_eye")
    assert Skeleton("spine", names, flip_pairs=(("left_eye", "right_eye"),)).flip_pairs == (("left_eye", "right_eye"),)
    with pytest.raises(InputError, match="missing from flip"):
        Skeleton("spine", names, flip_pairs=(("L2", "R2"),))


@pytest.mark.parametrize("names", [["L2", "L3"], ["Lip", "Chin"], ["left_eye"], ["lower", "rower"], []])
def test_other_names_have_no_side(names):
    assert pairs_by_name(names) == ()


def test_one_keypoint_and_no_constants():
    one = Skeleton("one", ("tip",))
    assert one.flip_indices.tolist() == [0]
    assert one.edge_indices.shape == (0, 2)
    assert one.sigma_array.tolist() == [0.05]
    assert one.coco_category("tool")["skeleton"] == []


def test_coco_category_counts_edges_from_one():
    category = load_skeleton("coco17").coco_category()
    assert category["id"] == 1
    assert (category["name"], category["supercategory"]) == ("person", "person")
    assert category["keypoints"][0] == "nose"
    assert category["skeleton"][0] == [16, 14]
    assert json.loads(json.dumps(category)) == category
    horse = load_skeleton("ap10k17").coco_category("horse", category_id=7, supercategory="animal")
    assert (horse["id"], horse["name"], horse["supercategory"]) == (7, "horse", "animal")
    assert {place for edge in horse["skeleton"] for place in edge} == set(range(1, 18))


# Without l and r, which by themselves say a side that then has to stand among the mirror pairs.
names = st.lists(st.from_regex(r"[a-km-qs-z]{1,8}", fullmatch=True), min_size=1, max_size=12, unique=True)


@given(names, st.data())
def test_any_skeleton_survives_a_round_trip(keypoints, data):
    shuffled = data.draw(st.permutations(keypoints))
    count = data.draw(st.integers(0, len(keypoints) // 2))
    flip = tuple(zip(shuffled[0 : 2 * count : 2], shuffled[1 : 2 * count : 2], strict=True))
    skeleton = Skeleton(
        "any",
        tuple(keypoints),
        edges=tuple(itertools.pairwise(shuffled)),
        flip_pairs=flip,
        upper_body=frozenset(shuffled[:count]),
        sigmas=tuple(data.draw(st.floats(1e-3, 1)) for _ in keypoints),
    )
    assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton
    flips = skeleton.flip_indices
    assert np.array_equal(flips[flips], np.arange(len(keypoints)))


def test_loading_by_name_path_and_object(tmp_path):
    path = write(tmp_path, GOOD)
    small = load_skeleton(path)
    assert load_skeleton(str(path)) == small
    assert load_skeleton(small) is small
    assert load_skeleton("coco17") is load_skeleton("coco17")
    with pytest.raises(UsageError, match=r"unknown skeleton 'coco_17'; did you mean 'coco17'\?"):
        load_skeleton("coco_17")
