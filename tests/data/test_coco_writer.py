"""What is written is read back the same."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_up_sets import make_set

from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.data.coco_writer import write_coco
from vitpose.data.readers.read import read_labelled

FILES = [
    ("coco", "coco/test_coco.json"),
    ("wholebody", "coco/test_coco_wholebody.json"),
    ("crowdpose", "crowdpose/test_crowdpose.json"),
    ("mpii", "mpii/test_mpii.json"),
    ("posetrack18", "posetrack18/annotations/test_posetrack18_val.json"),
    ("ap10k", "ap10k/test_ap10k.json"),
    ("wflw", "wflw/test_wflw.json"),
    ("cofw", "cofw/test_cofw.json"),
    ("ochuman", "ochuman/test_ochuman.json"),
    ("coco", "ak/test_animalkingdom.json"),
]


def assert_same(one, other):
    assert one.skeleton == replace(other.skeleton, title=one.skeleton.title, source=one.skeleton.source)
    assert one.images == other.images
    for a, b in zip(one.records, other.records, strict=True):
        np.testing.assert_array_equal(a.box, b.box)
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
        np.testing.assert_array_equal(a.visibility, b.visibility)
        np.testing.assert_array_equal(a.region, b.region)
        for name in ("image", "image_id", "annotation_id", "area", "crowd", "label", "head_size", "crowd_index"):
            assert getattr(a, name) == getattr(b, name), name
        assert a.track_id == b.track_id


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_real_files_come_back_whole(shared, tmp_path, kind, name):
    labelled = read_labelled(kind, shared / "data/formats" / name)
    write_coco(labelled, tmp_path / "out.json")
    assert_same(labelled, read_labelled("coco", tmp_path / "out.json", labelled.images_dir))


def test_any_numbers_come_back(tmp_path, rng):
    names = tuple(f"point {index}" for index in range(5))
    skeleton = Skeleton("any", names, edges=((names[0], names[3]),), flip_pairs=((names[1], names[4]),))
    skeleton = replace(skeleton, upper_body=frozenset(names[:2]), sigmas=(0.1, 0.2, 0.3, 0.4, 0.5))
    labelled = make_set(skeleton, people=20, folder=tmp_path)
    records = tuple(
        replace(record, box=record.box * rng.uniform(0.1, 1000), keypoints=record.keypoints * np.float32(rng.normal()))
        for record in labelled.records
    )
    labelled = replace(labelled, records=records)
    write_coco(labelled, tmp_path / "out.json")
    assert_same(labelled, read_labelled("coco", tmp_path / "out.json"))


def test_nobody_can_be_written(tmp_path):
    labelled = make_set(load_skeleton("coco17"), folder=tmp_path).select([])
    write_coco(labelled, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["annotations"] == []
    assert len(read_labelled("coco", tmp_path / "out.json").images) == 1


def test_pictures_elsewhere_keep_their_whole_path(tmp_path):
    labelled = replace(make_set(load_skeleton("coco17"), folder=tmp_path / "here"), images_dir=tmp_path / "there")
    write_coco(labelled, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())["images"][0]["file_name"]
    assert written == str(tmp_path / "here/000.png")
