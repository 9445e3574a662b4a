"""Readers on the handfuls of real files, each with the quirk of its set."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.data.readers.pictures import find_images
from vitpose.data.readers.read import KINDS, detect_kind, read_labelled

REAL = {
    # file: (kind, skeleton, people, labelled keypoints)
    "coco/test_coco.json": ("coco", "coco17", 14, 181),
    "coco/test_coco_wholebody.json": ("wholebody", "wholebody133", 14, 701),
    "aic/test_aic.json": ("aic", "aic14", 9, 101),
    "crowdpose/test_crowdpose.json": ("crowdpose", "crowdpose14", 5, None),
    "ochuman/test_ochuman.json": ("ochuman", "ochuman17", 5, 73),
    "humanart/test_humanart.json": ("humanart", "humanart17", 4, 61),
    "halpe/test_halpe.json": ("halpe", "halpe136", 14, 856),
    "mpii/test_mpii.json": ("mpii", "mpii16", 5, None),
    "jhmdb/test_jhmdb_sub1.json": ("jhmdb", "jhmdb15", 3, 45),
    "posetrack18/annotations/test_posetrack18_val.json": ("posetrack18", "posetrack17", 14, None),
    "ap10k/test_ap10k.json": ("ap10k", "ap10k17", 2, None),
    "animalpose/test_animalpose.json": ("animalpose", "animalpose20", 2, None),
    "macaque/test_macaque.json": ("macaque", "macaque17", 2, None),
    "atrw/test_atrw.json": ("atrw", "atrw15", 2, None),
    "horse10/test_horse10.json": ("horse10", "horse22", 3, None),
    "freihand/test_freihand.json": ("freihand", "hand21", 8, 168),
    "onehand10k/test_onehand10k.json": ("onehand10k", "hand21", 4, None),
    "300w/test_300w.json": ("300w", "face68", 2, 136),
    "wflw/test_wflw.json": ("wflw", "wflw98", 4, 392),
    "cofw/test_cofw.json": ("cofw", "cofw29", 2, 58),
    "ak/test_animalkingdom.json": ("coco", "Amphibian", 2, 12),
    "mpii/test_mpii_trb.json": ("coco", "person", 5, None),
    "mhp/test_mhp.json": ("coco", "mpii16", 4, 41),
    "exlpose/test_exlpose.json": ("crowdpose", "crowdpose14", 6, 82),
    "fly/test_fly.json": ("coco", "fly", 2, None),
    "locust/test_locust.json": ("coco", "locust", 2, None),
    "zebra/test_zebra.json": ("coco", "zebra", 2, None),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(shared, name):
    kind, skeleton, people, keypoints = REAL[name]
    path = shared / "data/formats" / name
    labelled = read_labelled(kind, path)
    assert labelled.skeleton.name == skeleton
    assert len(labelled) == people
    assert not labelled.problems
    total = sum(record.labelled for record in labelled.records)
    assert total > 0
    assert keypoints in (None, total)
    for record in labelled.records:
        assert set(np.unique(record.visibility)) <= {0, 1, 2}
        assert (record.keypoints[record.visibility == 0] == 0).all()
        assert (record.box[2:] > record.box[:2]).all()
    # The pictures of halpe are those of coco/; PoseTrack labels points outside the picture.
    if kind not in {"halpe", "posetrack18"}:
        _fit_their_pictures(labelled)


def _fit_their_pictures(labelled):
    for entry in labelled.images:
        if any(record.image_id == entry.id for record in labelled.records):
            with Image.open(entry.path) as picture:
                assert entry.size in (None, Size(picture.height, picture.width))
                size = picture.size
            for record in labelled.records:
                if record.image_id == entry.id:
                    assert (record.keypoints >= -1).all()
                    assert (record.keypoints <= np.array(size) + 1).all()


@pytest.mark.parametrize("name", REAL)
def test_kinds_are_told_from_the_content_where_the_reading_depends_on_it(shared, name):
    kind, _, people, _ = REAL[name]
    path = shared / "data/formats" / name
    by_name, by_content = read_labelled(kind, path), read_labelled("auto", path)
    assert len(by_content) == people
    for one, other in zip(by_name.records, by_content.records, strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        np.testing.assert_array_equal(one.visibility, other.visibility)
        np.testing.assert_array_equal(one.box, other.box)


def test_visibility_of_coco_survives(shared):
    path = shared / "data/formats/coco/test_coco.json"
    labelled = read_labelled("coco", path)
    given = [entry["keypoints"][2::3] for entry in json.loads(path.read_text())["annotations"]]
    assert [record.visibility.tolist() for record in labelled.records] == given
    assert {value for row in given for value in row} == {0, 1, 2}


def test_wholebody_is_body_feet_face_left_hand_right_hand(shared):
    path = shared / "data/formats/coco/test_coco_wholebody.json"
    labelled = read_labelled("wholebody", path)
    entry = json.loads(path.read_text())["annotations"][0]
    fields = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
    joined = np.array([value for field in fields for value in entry[field]]).reshape(-1, 3)
    record = labelled.records[0]
    np.testing.assert_array_equal(record.visibility > 0, joined[:, 2] > 0)
    np.testing.assert_allclose(record.keypoints, joined[:, :2] * (joined[:, 2:] > 0), rtol=1e-6)
    body, feet, face = record.keypoints[:17], record.keypoints[17:23], record.keypoints[23:91]
    assert feet[:, 1].min() > body[:11, 1].max()
    assert np.ptp(face[:, 0]) < 30
    ready = shared / "data/formats/coco/test_keypoint_partition_metric.json"
    assert read_labelled("wholebody", ready).records[0].labelled == 112


def test_aic_official_visibility_means_something_else(tmp_path):
    points = [[10, 20, 1], [11, 21, 2], [0, 0, 3]] + [[5, 6, 1]] * 11
    content = [
        {
            "image_id": "abc",
            "human_annotations": {"human1": [1, 2, 30, 40]},
            "keypoint_annotations": {"human1": [value for point in points for value in point]},
        }
    ]
    path = tmp_path / "keypoint_train.json"
    path.write_text(json.dumps(content))
    labelled = read_labelled("aic", path)
    record = labelled.records[0]
    assert record.visibility.tolist() == [2, 1, 0] + [2] * 11
    assert record.image == tmp_path / "abc.jpg"
    assert record.box.tolist() == [1, 2, 30, 40]
    assert record.area == pytest.approx(0.53 * 29 * 38)
    assert detect_kind(content) == "aic"
    content[0]["keypoint_annotations"]["human1"][2] = 0
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"image_id abc, human1.*visibility 0"):
        read_labelled("aic", path)
    assert len(read_labelled("aic", path, on_bad="drop").problems) == 1


def test_mpii_starts_at_zero_and_is_cut_out_as_it_was_trained(shared):
    path = shared / "data/formats/mpii/test_mpii.json"
    entry = json.loads(path.read_text())[0]
    record = read_labelled("mpii", path).records[0]
    np.testing.assert_allclose(record.keypoints, np.array(entry["joints"]) - 1)
    center = np.add(entry["center"], [0, 15 * entry["scale"]]) - 1
    np.testing.assert_allclose((record.box[:2] + record.box[2:]) / 2, center)
    np.testing.assert_allclose(record.box[2:] - record.box[:2], 200 * entry["scale"])


def test_mpii_head_sizes_come_from_the_scoring_file(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    people = [_mpii_person("a.jpg"), _mpii_person("b.jpg")]
    (tmp_path / "valid.json").write_text(json.dumps(people))
    boxes = np.array([[[10, 20], [30, 40]], [[40, 60], [70, 120]]], dtype=float)
    scipy_io.savemat(tmp_path / "gt_valid.mat", {"headboxes_src": boxes})
    sizes = [record.head_size for record in read_labelled("mpii", tmp_path / "valid.json").records]
    np.testing.assert_allclose(sizes, [0.6 * np.hypot(30, 40), 0.6 * np.hypot(40, 80)])


def test_mpii_release(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    point = {"x": 51.0, "y": 61.0, "id": 9, "is_visible": []}
    other = {"x": 11.0, "y": 21.0, "id": 0, "is_visible": 0}
    person = {
        "x1": 10.0, "y1": 10.0, "x2": 40.0, "y2": 50.0, "scale": 1.5, "objpos": {"x": 101.0, "y": 201.0},
        "annopoints": {"point": [point, other]},
    }  # fmt: skip
    withheld = {"scale": 2.0, "objpos": {"x": 1.0, "y": 2.0}}
    annolist = [
        {"image": {"name": "one.jpg"}, "annorect": [person]},
        {"image": {"name": "two.jpg"}, "annorect": [withheld]},
    ]
    scipy_io.savemat(tmp_path / "mpii.mat", {"RELEASE": {"annolist": annolist, "img_train": [1, 0]}})
    labelled = read_labelled("mpii", tmp_path / "mpii.mat")
    (record,) = labelled.records
    assert record.image.name == "one.jpg"
    assert record.visibility.tolist() == [2] + [0] * 8 + [2] + [0] * 6
    assert record.keypoints[9].tolist() == [50, 60]
    assert record.head_size == pytest.approx(0.6 * 50)
    np.testing.assert_allclose((record.box[:2] + record.box[2:]) / 2, [100, 201 + 15 * 1.5 - 1])
    with pytest.raises(InputError, match="MATLAB"):
        (tmp_path / "bad.mat").write_bytes(b"no")
        read_labelled("mpii", tmp_path / "bad.mat")


def _mpii_person(image):
    return {"image": image, "center": [50.0, 60.0], "scale": 1.0, "joints": [[5.0, 6.0]] * 16, "joints_vis": [1] * 16}


def test_jhmdb_starts_at_zero(shared):
    path = shared / "data/formats/jhmdb/test_jhmdb_sub1.json"
    entry = json.loads(path.read_text())["annotations"][0]
    record = read_labelled("jhmdb", path).records[0]
    np.testing.assert_allclose(record.keypoints[0], np.array(entry["keypoints"][:2]) - 1, rtol=1e-6)
    np.testing.assert_allclose(record.box[:2], np.array(entry["bbox"][:2]) - 1)


def test_crowdpose_sizes_that_changed_places_are_put_right(shared, tmp_path):
    path = shared / "data/formats/crowdpose/test_crowdpose.json"
    content = json.loads(path.read_text())
    right = {image["id"]: Size(image["height"], image["width"]) for image in content["images"]}
    for image in content["images"]:
        image["height"], image["width"] = image["width"], image["height"]
    swapped = tmp_path / "crowdpose.json"
    swapped.write_text(json.dumps(content))
    sizes = read_labelled("crowdpose", swapped, path.parent).sizes
    wide = max(right, key=lambda key: right[key].width - right[key].height)
    assert sizes[wide] == right[wide]
    assert read_labelled("crowdpose", path).sizes == right
    assert read_labelled("crowdpose", path).records[0].crowd_index == 0.33


def test_crowdpose_does_not_count_head_and_neck_and_has_no_areas(shared):
    path = shared / "data/annotations/crowdpose_val.json.gz"
    labelled = read_labelled("crowdpose", path, shared / "data/annotations")
    content = json.loads(gzip.decompress(path.read_bytes()))
    counted = [entry["num_keypoints"] for entry in content["annotations"]]
    assert counted == [int((record.visibility[:12] > 0).sum()) for record in labelled.records]
    width, height = content["annotations"][0]["bbox"][2:]
    assert labelled.records[0].area == pytest.approx(0.53 * width * height)
    assert len(labelled) == 8527


def test_posetrack_has_tracks_heads_and_folders(shared):
    labelled = read_labelled("posetrack18", shared / "data/formats/posetrack18/annotations/test_posetrack18_val.json")
    assert labelled.records[0].track_id == 0
    assert labelled.records[0].head_size == pytest.approx(0.6 * np.hypot(44, 53))
    assert all(image.path.is_file() for image in labelled.images)


def test_species_are_labels(shared):
    labels = {record.label for record in read_labelled("ap10k", shared / "data/formats/ap10k/test_ap10k.json").records}
    assert len(labels) == 2
    assert "" not in labels


def test_faces_are_seen_around_their_centres(shared):
    path = shared / "data/formats/wflw/test_wflw.json"
    entry = json.loads(path.read_text())["annotations"][0]
    region = read_labelled("wflw", path).records[0].region
    np.testing.assert_allclose(region, [*entry["center"], *[entry["scale"] * 200 * 1.25] * 2])
    assert read_labelled("cofw", path.parents[1] / "cofw/test_cofw.json").records[0].region is None


def test_cofw_pairs_are_mirror_images(shared):
    labelled = read_labelled("cofw", shared / "data/formats/cofw/test_cofw.json")
    for record in labelled.records:
        middle = record.keypoints[[20, 21, 24, 25, 26, 27, 28]].mean(axis=0)
        for left, right in labelled.skeleton.flip_pairs:
            a, b = (record.keypoints[labelled.skeleton.index(name)] - middle for name in (left, right))
            assert a[0] < b[0]
            assert abs(a[1] - b[1]) < 0.45 * np.ptp(record.keypoints[:, 0])


def test_own_sets_bring_their_skeleton(shared):
    bee = read_labelled("coco", shared / "data/bee/annotations.json")
    assert len(bee.skeleton) == 32
    assert ("left_leg_front_1", "right_leg_front_1") in bee.skeleton.flip_pairs
    kingdom = read_labelled("coco", shared / "data/formats/ak/test_animalkingdom.json").skeleton
    assert ("Eye_Left", "Eye_Right") in kingdom.flip_pairs
    assert kingdom.upper_body
    tiger = json.loads((shared / "data/formats/atrw/test_atrw.json").read_text())
    assert read_labelled("coco", shared / "data/formats/zebra/test_zebra.json").skeleton.edges[0] == ("head", "snout")
    assert 0 in tiger["categories"][0]["skeleton"][0]


def own_file(folder: Path, **changes) -> Path:
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}],
        "annotations": [
            {
                "id": 0,
                "image_id": 1,
                "category_id": 1,
                "bbox": [1.5, 2, 30, 40],
                "keypoints": [5, 6, 2, 7, 8, 1, 0, 0, 0],
            }
        ],
        "categories": [
            {"id": 1, "name": "bird", "keypoints": ["beak", "wing_left", "wing_right"], "skeleton": [[1, 2]]}
        ],
    }
    path = folder / "own.json"
    path.write_text(json.dumps(content | changes))
    return path


def test_own_file(tmp_path):
    labelled = read_labelled("coco", own_file(tmp_path))
    assert labelled.skeleton.edges == (("beak", "wing_left"),)
    assert labelled.skeleton.flip_pairs == (("wing_left", "wing_right"),)
    assert labelled.records[0].annotation_id == 0
    assert labelled.records[0].box.tolist() == [1.5, 2, 31.5, 42]
    assert labelled.records[0].label == "bird"
    assert labelled.sizes == {1: Size(80, 100)}


def test_skeletons_that_are_asked_for(tmp_path, shared):
    other = Skeleton("other", ("wing_right", "beak", "wing_left"))
    labelled = read_labelled("coco", own_file(tmp_path), skeleton=other)
    assert labelled.records[0].keypoints.tolist() == [[0, 0], [5, 6], [7, 8]]
    renamed = Skeleton("renamed", ("a", "b", "c"))
    assert read_labelled("coco", own_file(tmp_path), skeleton=renamed).skeleton is renamed
    with pytest.raises(InputError, match=r"3 keypoints.*17"):
        read_labelled("coco", own_file(tmp_path), skeleton="coco17")
    unnamed = own_file(tmp_path, categories=[{"id": 1, "name": "bird"}])
    assert read_labelled("coco", unnamed, skeleton=other).records[0].keypoints[0].tolist() == [5, 6]
    with pytest.raises(InputError, match="name no keypoints"):
        read_labelled("coco", unnamed)
    with pytest.raises(InputError, match="with_keypoints_of"):
        read_labelled("coco", shared / "data/lsp/annotations.json", skeleton="mpii16")


def person(**changes):
    entry = {"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "keypoints": [5, 6, 2] * 3}
    return {key: value for key, value in (entry | changes).items() if value != "missing"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (person(id="missing"), r"annotation at index 1: field 'id' is missing"),
        (person(id=1.5), r"annotation at index 1: field 'id' is '1.5'"),
        (person(id=0), r"annotation id 0 \(index 1\): field 'id' is used twice"),
        (person(image_id="missing"), r"annotation id 7 \(index 1\): field 'image_id' is missing"),
        (person(image_id=9), r"field 'image_id' is 9, which no image has"),
        (person(keypoints=[1, 2, 2]), r"field 'keypoints' has 3 numbers; 3 keypoints need 9"),
        (person(keypoints=[1, 2, 3] * 3), r"keypoint 0 has visibility 3"),
        (person(keypoints=["1", "2", "2"] * 3), r"field 'keypoints' .* must hold numbers only"),
        (person(keypoints=[[1, 2, 2]] * 3), r"field 'keypoints' must hold any numbers, not 3 by 3"),
        (person(keypoints=[float("nan"), 2, 2] * 3), r"field 'keypoints' has a value that is not a finite number"),
        (person(keypoints=[1, 2, None] * 3), r"field 'keypoints' .* must hold numbers only"),
        (person(keypoints=[[1], [2, 3]]), r"field 'keypoints' must be a plain list"),
        (person(bbox=[1, 2, -3, 4]), r"field 'bbox' is .*width and height must be above 0"),
        (person(bbox=[1, 2, 3]), r"field 'bbox' must hold 4 numbers, not 3"),
        (person(bbox="1,2,3,4"), r"field 'bbox' is '1,2,3,4'"),
        (person(bbox=[1, 2, float("inf"), 4]), r"field 'bbox' .* finite"),
        (person(bbox="missing", keypoints=[0] * 9), r"field 'bbox' is missing and there is no labelled keypoint"),
        (person(area="big"), r"field 'area' is 'big'"),
        (person(iscrowd="no"), r"field 'iscrowd' is 'no'"),
        (person(category_id=[1]), r"field 'category_id' is '\[1\]'"),
        (person(track_id=[1]), r"field 'track_id' is '\[1\]'"),
        ([1, 2], r"annotation at index 1 must be an object"),
    ],
)
def test_faulty_people_are_named_or_dropped(tmp_path, entry, message):
    good = json.loads(own_file(tmp_path).read_text())["annotations"]
    path = own_file(tmp_path, annotations=[*good, entry])
    with pytest.raises(InputError, match=message) as caught:
        read_labelled("coco", path)
    assert str(path) in str(caught.value)
    kept = read_labelled("coco", path, on_bad="drop")
    assert [record.annotation_id for record in kept.records] == [0]
    assert kept.problems == (str(caught.value),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": "no"}, "field 'images' must be a list"),
        ({"annotations": {}}, "field 'annotations' must be a list; it is a object"),
        ({"images": [{"id": 1}]}, "image 0: field 'file_name' is missing"),
        ({"images": [{"file_name": "a.jpg"}]}, "image 0: field 'id' is missing"),
        ({"images": [{"id": 1, "file_name": "a"}] * 2}, "image 1: field 'id' is 1, which another image has too"),
        ({"images": [{"id": 1, "file_name": "a", "width": 0, "height": 4}]}, "field 'width' is 0"),
        ({"images": [{"id": 1, "file_name": "a", "width": "x", "height": 4}]}, "field 'width' is 'x'"),
        ({"categories": 3}, "field 'categories' must be a list"),
        ({"categories": [{"id": 1, "keypoints": "abc"}]}, "must be a list of names"),
        ({"categories": [{"id": 1, "keypoints": ["a", "b", "a"]}]}, "keypoint 'a' appears twice"),
        ({"categories": [{"id": 1, "keypoints": ["a", "b", "c"], "skeleton": [[1, 4]]}]}, "does not exist"),
        ({"categories": [{"id": 1, "keypoints": ["a", "b", "c"], "skeleton": [[1]]}]}, "list of pairs"),
        ({"categories": [{"id": 1, "keypoints": ["a", "b", "c"], "skeleton": [[None, 2]]}]}, "does not exist"),
        ({"categories": [{"id": 1, "keypoints": ["a", "b", "c"], "flip_pairs": [["a", "x"]]}]}, "does not exist"),
        (
            {"categories": [{"id": 1, "name": "x", "keypoints": ["a"]}, {"id": 2, "name": "y", "keypoints": ["b"]}]},
            "'x' and 'y' have different keypoints",
        ),
    ],
)
def test_faulty_files_are_refused(tmp_path, changes, message):
    path = own_file(tmp_path, **changes)
    for on_bad in ("refuse", "drop"):
        with pytest.raises(InputError, match=message):
            read_labelled("coco", path, on_bad=on_bad)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"3",
        b"\xff\xfe\x00",
        b"\x1f\x8bnot gzip",
        gzip.compress(b"{}")[:12] + b"\x07" * 9,
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("kind", ["coco", "auto", "mpii", "aic", "wholebody"])
def test_what_is_no_annotation_file(tmp_path, content, kind):
    path = tmp_path / "annotations.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"annotations\.json"):
        read_labelled(kind, path)


def test_files_and_kinds_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_labelled("coco", tmp_path / "none.json")
    with pytest.raises(InputError, match="not a folder"):
        read_labelled("coco", own_file(tmp_path), tmp_path / "none")
    with pytest.raises(UsageError, match="did you mean 'crowdpose'"):
        read_labelled("crowdpos", own_file(tmp_path))


def test_people_without_a_box_get_one_from_their_keypoints(tmp_path):
    entry = {"id": 1, "image_id": 1, "keypoints": [10, 20, 2, 30, 60, 1, 0, 0, 0]}
    record = read_labelled("coco", own_file(tmp_path, annotations=[entry])).records[0]
    np.testing.assert_allclose(record.box, [10 - 2.4, 20 - 4.8, 30 + 2.4, 60 + 4.8])


def test_areas_and_boxes_that_tools_leave_at_zero_are_made_up_for(tmp_path):
    around = person(id=1, bbox=[5, 6, 0, 0], area=0.0)
    signed = person(id=2, area=-300.0)
    kept = person(id=3, area=300.0)
    one, two, three = read_labelled("coco", own_file(tmp_path, annotations=[around, signed, kept])).records
    assert one.box.tolist() == [4, 5, 6, 7]
    assert one.area == pytest.approx(0.53 * 4)
    assert two.area == pytest.approx(0.53 * 30 * 40)
    assert three.area == 300
    assert len(read_labelled("coco", own_file(tmp_path, annotations=[around, signed])).for_training()) == 2


def test_what_has_no_keypoints_is_nobody(tmp_path):
    content = json.loads(own_file(tmp_path).read_text())
    categories = [*content["categories"], {"id": 5, "name": "car"}]
    car = {"id": 9, "image_id": 1, "category_id": 5}
    labelled = read_labelled(
        "coco", own_file(tmp_path, annotations=[*content["annotations"], car], categories=categories)
    )
    assert [record.label for record in labelled.records] == ["bird"]
    assert dict(labelled.category_ids) == {"bird": 1}
    assert labelled.problems == ()


def test_pairs_may_name_keypoints(tmp_path):
    category = {"id": 1, "name": "bird", "keypoints": ["beak", "a", "b"]}
    more = {"skeleton": [["beak", "a"]], "flip_pairs": [["a", "b"]]}
    found = read_labelled("coco", own_file(tmp_path, categories=[category | more])).skeleton
    assert (found.edges, found.flip_pairs) == ((("beak", "a"),), (("a", "b"),))


def test_constants_of_the_file_come_before_those_of_a_skeleton_of_the_same_names(tmp_path):
    known = load_skeleton("coco17")
    category = {"id": 1, "name": "person", "keypoints": list(known.keypoints)}
    places = [[known.index(name) for name in pair] for pair in known.flip_pairs]

    def read(**more):
        return read_labelled("coco", own_file(tmp_path, annotations=[], categories=[category | more])).skeleton

    assert read() == read(sigmas=list(known.sigmas), flip_pairs=places[::-1]) == known
    assert read(sigmas=[0.5] * 17).sigma_array.tolist() == [0.5] * 17
    assert read(weights=[2] * 17).weights == (2,) * 17


@pytest.mark.parametrize("track", ["17", "6f1c-…", 2**53 + 1, 3])
def test_tracks_keep_their_ids(tmp_path, track):
    path = own_file(tmp_path, annotations=[person(track_id=track)])
    assert read_labelled("coco", path).records[0].track_id == track


def test_dropped_folders_may_not_make_two_pictures_one(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"")
    images = [{"id": 1, "file_name": "cam1/1.jpg"}, {"id": 2, "file_name": "cam2/1.jpg"}]
    with pytest.raises(InputError, match=r"'cam1/1.jpg' and 'cam2/1.jpg' would both be"):
        read_labelled("coco", own_file(tmp_path, images=images))


@pytest.mark.parametrize("content", [{"categories": 5}, {"annotations": [{"keypoints": 5}]}, {"annotations": 3}])
def test_kinds_are_told_of_anything(content):
    assert detect_kind(content) == "coco"


def test_boxes_without_area_and_keypoints_are_left_out(tmp_path):
    entries = [{"id": 1, "image_id": 1, "bbox": [1, 2, 0, 5]}, {"id": 2, "image_id": 1, "bbox": [1, 2, 3, 5]}]
    labelled = read_labelled("coco", own_file(tmp_path, annotations=entries))
    assert [record.annotation_id for record in labelled.records] == [2]
    assert labelled.records[0].labelled == 0
    assert "annotation id 1" in labelled.problems[0]


def test_leading_folders_that_are_not_there_are_dropped(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(b"")
    images = [{"id": 1, "file_name": "train/images/a.jpg"}]
    labelled = read_labelled("coco", own_file(tmp_path, images=images))
    assert labelled.images[0].path == tmp_path / "images/a.jpg"


def test_interhand_is_projected(tmp_path):
    camera = {"0": {"campos": {"c": [0, 0, -100]}, "camrot": {"c": np.eye(3).tolist()}, "focal": {"c": [50, 60]},
                    "princpt": {"c": [20, 30]}}}  # fmt: skip
    world = np.zeros((42, 3))
    world[21] = [10, 20, 100]
    moment = {"0": {"5": {"world_coord": world.tolist()}}}
    image = {"id": 3, "file_name": "a.jpg", "width": 64, "height": 64, "capture": 0, "camera": "c", "frame_idx": 5}
    hand = {"id": 1, "image_id": 3, "bbox": [1, 2, 30, 40], "joint_valid": [1] * 42}
    people = [hand | {"hand_type": "left"}, hand | {"id": 2, "hand_type": "right"}, hand | {"hand_type": "interacting"}]
    path = tmp_path / "InterHand2.6M_val_data.json"
    path.write_text(json.dumps({"images": [image], "annotations": people}))
    (tmp_path / "InterHand2.6M_val_camera.json").write_text(json.dumps(camera))
    (tmp_path / "InterHand2.6M_val_joint_3d.json").write_text(json.dumps(moment))
    labelled = read_labelled("auto", path)
    left, right = labelled.records
    assert (left.label, right.label) == ("left", "right")
    np.testing.assert_allclose(left.keypoints[0], [10 / 200 * 50 + 20, 20 / 200 * 60 + 30])
    np.testing.assert_allclose(right.keypoints[0], [20, 30])
    (tmp_path / "InterHand2.6M_val_camera.json").unlink()
    with pytest.raises(InputError, match="camera"):
        read_labelled("interhand", path)


def test_every_kind_has_its_skeleton():
    for kind in KINDS.values():
        if kind.skeleton and kind.skeleton != "cofw29":
            assert len(load_skeleton(kind.skeleton)) > 0


def test_pictures_are_found_although_some_are_missing(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(1, 30):
        (tmp_path / "images" / f"{number}.jpg").touch()
    names = [f"train/{number}.jpg" for number in range(30)]  # the first one is not there
    assert find_images(tmp_path / "labels.json", None, names) == (tmp_path / "images", 1)
    assert find_images(tmp_path / "labels.json", None, ["gone.jpg"]) == (tmp_path, 0)
    assert find_images(tmp_path / "labels.json", None, []) == (tmp_path, 0)
