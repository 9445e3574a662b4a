"""Faces cannot be recognised, whatever the keypoints, and nothing else is touched."""

import json
import logging

import numpy as np
import pytest

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton, builtin_skeletons, load_skeleton
from vitpose.rendering.blur import blur_faces
from vitpose.rendering.faces import face_regions

COCO = load_skeleton("coco17")
SIZE = Size(240, 320)

# A person of 200 pixels who stands at (100, 20): face 13 pixels below the crown.
STANDING = {
    "head_top": (0, 0),
    "top_head": (0, 0),
    "head": (0, 0),
    "nose": (0, 16),
    "left_eye": (3, 12),
    "right_eye": (-3, 12),
    "left_ear": (8, 14),
    "right_ear": (-8, 14),
    "neck": (0, 32),
    "upper_neck": (0, 30),
    "head_bottom": (0, 30),
    "left_shoulder": (18, 38),
    "right_shoulder": (-18, 38),
    "left_hip": (12, 98),
    "right_hip": (-12, 98),
    "left_ankle": (10, 190),
    "right_ankle": (-10, 190),
}
FACE = np.array([(x, y) for x in (95, 100, 105) for y in (27, 32, 36, 40)], float)


def person(skeleton=COCO, *, seen=None, corner=(100, 20), scale=1.0, size=SIZE, **fields):
    """The person; keypoints that are not in ``seen``, or that no table has, score nothing and lie at the feet."""
    points = [STANDING.get(name, (0, 195)) for name in skeleton.keypoints]
    known = [name in STANDING and (seen is None or name in seen) for name in skeleton.keypoints]
    xy = np.array([point if ok else (0, 195) for point, ok in zip(points, known, strict=True)], float)
    x, y = corner
    box = np.array([[x - 25 * scale, y, x + 25 * scale, y + 200 * scale]])
    scores = np.where(known, 0.9, 0.01)[None]
    values = {"xy": (xy * scale + corner)[None], "scores": scores, "boxes": box, "box_scores": [1.0]}
    return Poses(**values, skeleton=skeleton, image_size=size, **fields)


def covered(points, regions):
    """``(points,)``: inside any of the ellipses."""
    if not len(regions):
        return np.zeros(len(points), bool)
    return (np.hypot(*((points[:, None] - regions[:, :2]) / regions[:, 2:]).transpose(2, 0, 1)) <= 1).any(axis=1)


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


BODIES = [
    "coco17", "halpe26", "wholebody133", "mpii16", "body14", "crowdpose14", "aic14", "posetrack17", "coco25",
    "jhmdb15", "upper_body6", "synthpose52",
]  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("seen", [None, "shoulders", "one shoulder", "nothing"])
def test_every_skeleton_with_a_body_hides_the_face(name, seen):
    words = {"shoulders": {"left_shoulder", "right_shoulder"}, "one shoulder": {"right_shoulder"}, "nothing": set()}
    regions = face_regions(person(load_skeleton(name), seen=words.get(seen)))
    assert covered(FACE, regions).all()
    legs = np.array([[90.0, 200.0], [110.0, 200.0]])
    assert not covered(legs, regions).any()


@pytest.mark.parametrize(
    "seen",
    [{"nose"}, {"left_ear"}, {"left_eye", "left_ear"}, {"left_ear", "right_ear"}, {"left_eye", "right_eye"}],
    ids=str,
)
def test_one_keypoint_of_the_face_is_enough(seen):
    assert covered(FACE, face_regions(person(seen=seen))).all()


@pytest.mark.parametrize("name", ["face68", "wflw98", "wholebody_face68"])
@pytest.mark.parametrize("score", [0.9, 0.01])
def test_faces_alone_are_hidden_whole(name, score, rng):
    skeleton = load_skeleton(name)
    xy = rng.uniform((100, 50), (160, 120), (1, len(skeleton), 2))
    poses = Poses(
        xy=xy,
        scores=np.full((1, len(skeleton)), score),
        boxes=[[95, 45, 165, 125]],
        box_scores=[1],
        skeleton=skeleton,
        image_size=SIZE,
    )
    assert covered(xy[0], face_regions(poses)).all()


def test_hands_have_no_face_and_animals_are_left_alone_unless_asked(image):
    for name in ("hand21", "interhand21", "wholebody_hand21"):
        np.testing.assert_array_equal(blur_faces(image, person(load_skeleton(name)), animals=True), image)
    for name in ("ap10k17", "animalpose20", "atrw15", "horse22", "macaque17"):
        animal = person(load_skeleton(name))
        np.testing.assert_array_equal(blur_faces(image, animal), image)
        assert (blur_faces(image, animal, animals=True) != image).any()
    dog = person(labels=("dog",))
    assert len(face_regions(dog)) == 0
    assert len(face_regions(dog, animals=True)) == 1


def called(words):
    """COCO's keypoints by other names."""
    return Skeleton("mine", tuple(words(name) for name in COCO.keypoints))


def camel(name):
    return "".join(word.capitalize() for word in name.split("_"))


def side_last(name):
    side, _, part = name.rpartition("_")
    return f"{part}{side[:1].upper()}"


SPELLINGS = {
    "LeftEye": camel,
    "leftEye": lambda name: camel(name)[0].lower() + camel(name)[1:],
    "eyeL": side_last,
    "LEye": lambda name: camel(name.replace("left_", "L_").replace("right_", "R_")),
    "Leye": lambda name: name.replace("left_", "L").replace("right_", "R"),
    "leye": lambda name: name.replace("left_", "l").replace("right_", "r"),
    "LEFT-EYE": lambda name: name.upper().replace("_", "-"),
    "lefteye": lambda name: name.replace("_", ""),
    "eye left": lambda name: " ".join(name.split("_")[::-1]),
    "eye.L": lambda name: ".".join(name.replace("left", "L").replace("right", "R").split("_")[::-1]),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("seen", [None, {"left_shoulder", "right_shoulder"}, {"left_ear"}, set()], ids=str)
def test_however_names_are_written_the_same_is_hidden(spelling, seen, caplog):
    known = person(seen=seen)
    other = called(SPELLINGS[spelling])
    values = {name: getattr(known, name) for name in ("xy", "scores", "boxes", "box_scores")}
    with caplog.at_level(logging.WARNING):
        regions = face_regions(Poses(**values, skeleton=other, image_size=SIZE))
    np.testing.assert_array_equal(regions, face_regions(known))
    assert not caplog.records


def test_an_ear_on_the_right_needs_one_on_the_left():
    """``rear`` alone is the back of something: two points that are thought to be on a head hide nothing else."""
    names = ("nose", "rear", "left_shoulder", "right_shoulder")
    xy = np.array([[(100, 36), (100, 200), (118, 58), (82, 58)]], float)
    values = {"scores": [[0.01, 0.9, 0.9, 0.9]], "boxes": [[75, 20, 125, 220]], "box_scores": [1]}
    regions = face_regions(Poses(xy=xy, **values, skeleton=Skeleton("mine", names), image_size=SIZE))
    assert covered(FACE, regions).all()
    assert not covered(xy[0, 1:2], regions).any()


def test_a_skeleton_that_says_nothing_of_heads_has_the_top_of_the_box_hidden(caplog):
    words = {"nose": "Nase", "eye": "Auge", "ear": "Ohr", "shoulder": "Schulter", "left": "links", "right": "rechts"}

    def german(name):
        return "_".join(words.get(word, word) for word in name.split("_"))

    foreign, known = called(german), person()
    values = {name: getattr(known, name) for name in ("xy", "scores", "boxes", "box_scores")}
    with caplog.at_level(logging.WARNING):
        assert len(face_regions(Poses.empty(foreign, SIZE))) == 0
        assert not caplog.records, "there is nobody to hide"
        for _ in range(2):
            regions = face_regions(Poses(**values, skeleton=foreign, image_size=SIZE))
            assert covered(FACE, regions).all()
            assert not covered(np.array([[90.0, 200.0]]), regions).any()
    (record,) = caplog.records
    assert "skeleton 'mine' names no part of a head" in record.getMessage()
    assert len(face_regions(Poses(**values, labels=("dog",), skeleton=foreign, image_size=SIZE))) == 0


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_keypoints_that_are_shown_at_any_score_are_no_surer_for_that(threshold):
    """The model saw shoulders; nose and an ear are noise at the feet, and a low threshold makes nothing better."""
    known = person(seen={"left_shoulder", "right_shoulder"})
    scores = np.array(known.scores)
    scores[0, :2] = 0.02
    values = {"xy": known.xy, "scores": scores, "boxes": known.boxes, "box_scores": [1]}
    regions = face_regions(Poses(**values, skeleton=COCO, image_size=SIZE, threshold=threshold))
    assert covered(FACE, regions).all()


def test_a_threshold_above_is_kept():
    known = person()
    scores = np.where(np.arange(17) < 5, 0.5, 0.9)[None]
    values = {"xy": np.array(known.xy), "scores": scores, "boxes": known.boxes, "box_scores": [1]}
    values["xy"][0, :5] = (100, 215)
    assert covered(FACE, face_regions(Poses(**values, skeleton=COCO, image_size=SIZE, threshold=0.6))).all()


@pytest.mark.parametrize("name", builtin_skeletons())
@pytest.mark.parametrize("score", [0.9, 0.01])
def test_any_skeleton_any_points(name, score, rng):
    skeleton = load_skeleton(name)
    for xy in (rng.uniform(-500, 900, (2, len(skeleton), 2)), np.full((2, len(skeleton), 2), 7.0)):
        poses = Poses(
            xy=xy,
            scores=np.full((2, len(skeleton)), score),
            boxes=[[10, 10, 60, 200], [-50, -50, -10, -10]],
            box_scores=[1, 1],
            skeleton=skeleton,
            image_size=SIZE,
        )
        assert np.isfinite(face_regions(poses, animals=True)).all()
        image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        assert blur_faces(image, poses, animals=True).shape == image.shape


def test_points_that_are_no_numbers_do_not_count():
    poses = person(seen={"left_shoulder", "right_shoulder"})
    xy = np.array(poses.xy)
    xy[0, :5] = np.nan
    values = {"scores": np.full((1, 17), 0.9), "boxes": poses.boxes, "box_scores": [1]}
    assert covered(FACE, face_regions(Poses(xy=xy, **values, skeleton=COCO, image_size=SIZE))).all()


def test_a_copy_is_blurred_there_and_nowhere_else(image):
    before = image.copy()
    hidden = blur_faces(image, person())
    np.testing.assert_array_equal(image, before)
    assert hidden.dtype == np.uint8
    assert (hidden != image).any(axis=-1)[30:40, 92:108].mean() > 0.95
    np.testing.assert_array_equal(hidden[80:], image[80:])
    np.testing.assert_array_equal(hidden[:, :60], image[:, :60])
    np.testing.assert_array_equal(blur_faces(image, Poses.empty(COCO, SIZE)), image)


def test_what_is_hidden_cannot_be_computed_back(image):
    """Faces whose coarse averages agree become the same picture: what told them apart is gone."""
    x, y, radius, _ = face_regions(person(scale=1.0))[0]
    other = image.copy()
    inside = np.hypot(*(np.mgrid[: SIZE.height, : SIZE.width] - np.array([y, x])[:, None, None])) <= radius - 1
    for shown in (image, other):
        shown[inside] = 128
    pattern = np.where(np.indices(SIZE).sum(axis=0)[..., None] % 2, 60, -60)
    other[inside] = (other + pattern)[inside]
    hidden, hidden_other = (blur_faces(shown, person()).astype(int) for shown in (image, other))
    assert np.abs(other.astype(int) - image)[inside].mean() > 55
    assert np.abs(hidden - hidden_other)[inside].mean() < 6
    values = blur_faces(image, person(), strength=1000)[inside]
    assert np.ptp(values.astype(int), axis=0).max() <= 1, "at great strength one colour is left"


def test_a_stronger_blur_leaves_less(rng):
    size = Size(400, 400)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    poses = person(corner=(200, 30), scale=1.8, size=size)
    left = [
        blur_faces(image, poses, strength=strength)[44:64, 190:210].std(axis=(0, 1)).mean() for strength in (0.3, 1, 3)
    ]
    assert left[0] > left[1] > left[2]
    assert left[1] < 10 < image.std() / 5


@pytest.mark.parametrize("corner", [(0, -20), (319, -20), (160, -31), (-3, 230), (1000, 1000)])
def test_faces_cut_by_the_border(image, corner):
    hidden = blur_faces(image, person(corner=corner))
    changed = (hidden != image).any(axis=-1)
    x, y = corner[0], corner[1] + 13
    if 0 <= x < SIZE.width and 0 <= y < SIZE.height:
        assert changed[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].mean() > 0.9
    if corner == (1000, 1000):
        assert not changed.any()


@pytest.mark.parametrize("scale", [0.001, 0.01, 0.1, 30])
def test_faces_of_any_size(image, scale):
    x, y = 100, 20
    hidden = blur_faces(image, person(scale=scale, corner=(x, y)))
    assert (hidden[int(y + 14 * scale) % 240, x] != image[int(y + 14 * scale) % 240, x]).any()


def test_pictures_of_one_pixel():
    image = np.full((1, 1, 3), 9, np.uint8)
    np.testing.assert_array_equal(blur_faces(image, person(corner=(0, 0), scale=0.01, size=Size(1, 1))), image)


def test_wrong_use_is_named(image):
    with pytest.raises(UsageError, match="above 0, not 0"):
        blur_faces(image, person(), strength=0)
    with pytest.raises(UsageError, match="320x240, not of 10x10"):
        blur_faces(np.zeros((10, 10, 3), np.uint8), person())


def measured(people, rng, *, noise=0.0, hidden=0):
    """Return the share of labelled noses and eyes that are covered.

    Args:
        people: triples of labels, box and area.
        noise: standard deviation in OKS tolerances (``2 * sigma * sqrt(area)``).
        hidden: the first so many keypoints score nothing and lie anywhere in the box.
    """
    inside = total = 0
    for keypoints, (x, y, width, height), area in people:
        labelled = keypoints[:, 2] > 0
        seen = labelled & (np.arange(17) >= hidden)
        anywhere = (x, y) + rng.random((17, 2)) * (width, height)
        xy = np.where(seen[:, None], keypoints[:, :2], anywhere)
        xy += rng.normal(size=(17, 2)) * noise * 2 * COCO.sigma_array[:, None] * np.sqrt(area)
        poses = Poses(
            xy=xy[None],
            scores=np.where(seen, 0.9, 0.05)[None],
            boxes=[[x, y, x + width, y + height]],
            box_scores=[1],
            skeleton=COCO,
            image_size=Size(1000, 1000),
        )
        true = keypoints[:3, :2][labelled[:3]]
        inside += int(covered(true, face_regions(poses)).sum())
        total += len(true)
    return inside / total


def test_real_people_are_hidden(shared, rng):
    """COCO's validation labels: people with a labelled nose or eye."""
    plain = json.loads((shared / "data/coco/person_keypoints_val.json").read_text())
    people = [
        (np.array(entry["keypoints"], float).reshape(17, 3), entry["bbox"], entry["area"])
        for entry in plain["annotations"]
        if not entry.get("iscrowd") and max(entry["keypoints"][2:9:3]) > 0
    ]
    assert len(people) > 300
    shares = {
        "exact": measured(people, rng),
        "a model's noise": measured(people, rng, noise=0.5),
        "a bad model's noise": measured(people, rng, noise=1.0),
        "heads in doubt": measured(people, rng, hidden=5),
        "everything in doubt": measured(people, rng, hidden=17),
    }
    least = {"exact": 0.999, "a model's noise": 0.998, "a bad model's noise": 0.995}
    least |= {"heads in doubt": 0.95, "everything in doubt": 0.98}
    print(shares)
    assert {name: share for name, share in shares.items() if share < least[name]} == {}
