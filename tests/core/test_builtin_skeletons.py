"""The built-in skeletons are the published ones, but for the deviations their ``source`` owns up to."""

import json

import numpy as np
import pytest

from vitpose.core.skeleton import Skeleton, builtin_skeletons, load_skeleton

PUBLISHED = {
    "coco17": "coco", "ochuman17": "ochuman", "aic14": "aic", "mpii16": "mpii", "crowdpose14": "crowdpose",
    "ap10k17": "ap10k", "animalpose20": "animalpose", "jhmdb15": "jhmdb", "posetrack17": "posetrack18",
    "halpe26": "halpe26", "interhand21": "interhand2d", "hand21": "onehand10k",
    "wholebody_hand21": "coco_wholebody_hand", "horse22": "horse10", "wholebody133": "coco_wholebody",
    "wholebody_face68": "coco_wholebody_face", "face68": "300w", "wflw98": "wflw", "macaque17": "macaque",
    "atrw15": "atrw", "humanart17": "humanart", "coco_aic19": "coco_aic", "halpe136": "halpe",
}  # fmt: skip
OURS = {"coco25": 25, "body14": 14, "upper_body6": 6, "synthpose52": 52}

OWN_SIGMAS = {"mpii16", "animalpose20", "interhand21", "hand21", "face68"}
FACE_EDGES = {"wholebody133", "wholebody_face68", "face68", "wflw98", "halpe136"}
OWN_UPPER_BODY = {"ap10k17", "wholebody133", "halpe136"}
MEASURED_SIGMAS = {"aic14", "atrw15", "wholebody133", "wholebody_face68", "face68", "coco25"}


@pytest.fixture(scope="module")
def tables(shared):
    return json.loads((shared / "reference" / "skeletons.json").read_text(encoding="utf-8"))


def test_every_table_and_nothing_unknown(tables):
    assert set(PUBLISHED.values()) == set(tables)
    assert set(builtin_skeletons()) == set(PUBLISHED) | set(OURS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_order_and_flips_are_as_published(tables, name):
    ours, table = load_skeleton(name), tables[PUBLISHED[name]]
    assert list(ours.keypoints) == table["keypoints"]
    assert len(ours) == table["num_keypoints"]
    flips = np.arange(len(ours))
    for a, b in table["flip_pairs"]:
        flips[a], flips[b] = b, a
    assert np.array_equal(ours.flip_indices, flips)


@pytest.mark.parametrize("name", PUBLISHED)
def test_edges_are_as_published_but_for_faces(tables, name):
    ours, table = load_skeleton(name), tables[PUBLISHED[name]]
    edges = ours.edge_indices.tolist()
    if name not in FACE_EDGES:
        assert edges == table["skeleton"]
        return
    assert edges[: len(table["skeleton"])] == table["skeleton"]
    added = [ours.keypoints[place] for edge in edges[len(table["skeleton"]) :] for place in edge]
    assert added
    assert all(point.startswith(("face-", "kpt-")) for point in added)
    assert "joined here for drawing" in ours.source


@pytest.mark.parametrize("name", PUBLISHED)
def test_sigmas_are_as_published_but_for_the_documented(tables, name):
    ours, table = load_skeleton(name), tables[PUBLISHED[name]]
    if name in OWN_SIGMAS:
        assert list(ours.sigmas) != table["sigmas"]
        assert "OKS constants" in ours.source or "0.035" in ours.source
    else:
        assert list(ours.sigmas) == table["sigmas"]


def test_the_changed_sigmas():
    coco, hand = sigmas("coco17"), sigmas("wholebody_hand21")
    mpii = sigmas("mpii16")
    assert {mpii[name] for name in ("thorax", "upper_neck", "head_top")} == {sigmas("crowdpose14")["neck"]}
    assert mpii["pelvis"] == coco["left_hip"]
    assert all(mpii[name] == coco[name] for name in mpii if name in coco)
    assert sum(name in coco for name in mpii) == 12
    assert sigmas("hand21") == sigmas("interhand21") == hand
    assert load_skeleton("face68").sigmas == load_skeleton("wholebody_face68").sigmas
    assert sigmas("animalpose20")["L_EarBase"] == sigmas("animalpose20")["R_EarBase"] == coco["left_ear"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_upper_body_is_as_published_but_for_the_documented(tables, name):
    ours, table = load_skeleton(name), tables[PUBLISHED[name]]
    published = {table["keypoints"][place] for place in table["upper_body_ids"]}
    if name in OWN_UPPER_BODY:
        assert published < ours.upper_body
        assert "upper body" in ours.source
    else:
        assert ours.upper_body == published


def test_the_changed_upper_bodies():
    assert "R_F_Paw" in load_skeleton("ap10k17").upper_body
    for name in ("wholebody133", "halpe136"):
        whole = load_skeleton(name)
        lower = set(whole.keypoints) - whole.upper_body
        assert lower
        assert all(part.endswith(("hip", "knee", "ankle", "toe", "heel")) for part in lower)


# --- properties every skeleton has


@pytest.mark.parametrize("name", builtin_skeletons())
def test_files_say_who_they_are(name):
    skeleton = load_skeleton(name)
    assert skeleton.name == name
    assert skeleton.title
    assert skeleton.source
    assert str(len(skeleton)) in name
    assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton


@pytest.mark.parametrize("name", builtin_skeletons())
def test_a_mirror_maps_edges_upper_body_and_sigmas_onto_themselves(name):
    skeleton = load_skeleton(name)
    flips = skeleton.flip_indices
    assert np.array_equal(flips[flips], np.arange(len(skeleton)))
    edges = {frozenset(edge) for edge in skeleton.edge_indices.tolist()}
    assert len(edges) == len(skeleton.edges)
    assert {frozenset(flips[list(edge)].tolist()) for edge in edges} == edges
    upper = {skeleton.index(point) for point in skeleton.upper_body}
    assert {int(flips[place]) for place in upper} == upper
    symmetric = np.array_equal(skeleton.sigma_array, skeleton.sigma_array[flips])
    assert symmetric == (name not in MEASURED_SIGMAS)


@pytest.mark.parametrize("name", builtin_skeletons())
def test_no_side_is_forgotten(name):
    skeleton = load_skeleton(name)
    sided = {point for point in skeleton.keypoints if point.lower().startswith(("left", "right", "l_", "r_"))}
    assert sided <= {point for pair in skeleton.flip_pairs for point in pair}


@pytest.mark.parametrize(("name", "count"), OURS.items())
def test_our_own_tables(name, count):
    assert len(load_skeleton(name)) == count


def test_the_lsp_order():
    assert load_skeleton("body14").keypoints == (
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist",
        "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top",
    )  # fmt: skip


def test_the_foot_model_does_not_begin_like_coco():
    foot, coco = load_skeleton("coco25"), load_skeleton("coco17")
    assert set(coco.keypoints) < set(foot.keypoints)
    assert foot.keypoints[:17] != coco.keypoints
    assert (foot.keypoints[5], foot.keypoints[14]) == ("neck", "hip")


def test_the_anatomical_model_begins_like_coco():
    assert load_skeleton("synthpose52").keypoints[:17] == load_skeleton("coco17").keypoints


def test_faces_are_closed_where_faces_are():
    """Every point of an iBUG face is drawn, and the eyes and lips are rings."""
    face = load_skeleton("wholebody_face68")
    degree = np.bincount(face.edge_indices.ravel(), minlength=68)
    assert degree.min() == 1
    assert (degree[36:68] == 2).all()
    wflw = np.bincount(load_skeleton("wflw98").edge_indices.ravel(), minlength=98)
    assert (wflw[60:96] == 2).all()
    assert wflw[[96, 97]].tolist() == [0, 0]


def sigmas(name):
    skeleton = load_skeleton(name)
    return dict(zip(skeleton.keypoints, skeleton.sigmas, strict=True))
