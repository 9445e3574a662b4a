"""Records: parts of a set, and keypoints of another skeleton by name."""

from pathlib import Path

import numpy as np
import pytest
from made_up_sets import make_set

from vitpose.core.errors import UsageError
from vitpose.core.geometry import CropTransform, Size
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.data.matching import positions_by_name, same_name
from vitpose.data.records import regions


def test_names_agree_whatever_the_spelling():
    assert same_name("L_Eye") == same_name("left_eye") == same_name("Left Eye") == same_name("eyeL")
    assert same_name("top_head") == same_name("head_top")
    assert same_name("left_eye") != same_name("right_eye")
    assert same_name("face-1") != same_name("face-10")
    assert same_name("upper_neck") != same_name("neck")


def test_names_that_become_alike_are_matched_letter_by_letter():
    assert positions_by_name(["head_top", "top_head"], ["top_head", "head_top"]).tolist() == [1, 0]
    assert positions_by_name(["TopHead"], ["top_head", "head_top"]).tolist() == [-1]


@pytest.mark.parametrize(("given", "wanted", "missing"), [("ap10k17", "animalpose20", 13), ("mpii16", "coco17", 5)])
def test_keypoints_of_another_skeleton_come_by_name(given, wanted, missing):
    labelled = make_set(load_skeleton(given), people=3)
    moved = labelled.with_keypoints_of(load_skeleton(wanted))
    positions = positions_by_name(moved.skeleton.keypoints, labelled.skeleton.keypoints)
    assert (positions < 0).sum() == missing
    for before, after in zip(labelled.records, moved.records, strict=True):
        assert (after.visibility[positions < 0] == 0).all()
        assert (after.keypoints[positions < 0] == 0).all()
        np.testing.assert_array_equal(after.keypoints[positions >= 0], before.keypoints[positions[positions >= 0]])
        np.testing.assert_array_equal(after.visibility[positions >= 0], before.visibility[positions[positions >= 0]])


def test_skeletons_without_a_common_name_are_refused():
    with pytest.raises(UsageError, match="no keypoint name in common"):
        make_set(load_skeleton("coco17")).with_keypoints_of(Skeleton("other", ("wing", "beak")))


def test_training_leaves_out_crowds_and_people_without_keypoints():
    labelled = make_set(load_skeleton("coco17"), people=6)
    kept = labelled.for_training()
    assert 0 < len(kept) < len(labelled)
    assert all(record.labelled and not record.crowd and record.area > 0 for record in kept.records)
    assert len(labelled.for_training(minimum=100)) == 0


def test_a_split_has_no_picture_on_both_sides():
    labelled = make_set(load_skeleton("coco17"), people=40)
    larger, smaller = labelled.split(0.25, seed=3)
    assert len(smaller.images) == 5
    assert {image.id for image in larger.images}.isdisjoint(image.id for image in smaller.images)
    assert len(larger) + len(smaller) == len(labelled)
    assert all(record.image_id in {image.id for image in smaller.images} for record in smaller.records)
    assert [r.annotation_id for r in labelled.split(0.25, seed=3)[1].records] == [
        record.annotation_id for record in smaller.records
    ]
    with pytest.raises(UsageError, match="empty"):
        labelled.split(0.0)
    assert len(labelled.split(0.001)[1].images) == 1, "a share that is asked for is never nothing"


def test_select_takes_positions_slices_and_tests():
    labelled = make_set(load_skeleton("coco17"), people=5)
    ids = [record.annotation_id for record in labelled.records]
    assert [record.annotation_id for record in labelled.select(slice(1, 3)).records] == ids[1:3]
    assert [record.annotation_id for record in labelled.select([4, 0]).records] == [ids[4], ids[0]]
    assert labelled.select(lambda record: record.annotation_id == ids[2]).records == (labelled.records[2],)


def test_records_cannot_be_changed_and_leave_the_callers_arrays_alone():
    record = make_set(load_skeleton("coco17")).records[0]
    with pytest.raises(ValueError, match="read-only"):
        record.keypoints[0] = 1


@pytest.mark.parametrize("square", [False, True])
def test_regions_are_what_a_transform_from_boxes_shows(square):
    labelled = make_set(load_skeleton("coco17"), people=4)
    size = Size(256, 192)
    boxes = np.stack([record.box for record in labelled.records])
    expected = CropTransform.from_boxes(boxes, size, square=square)
    np.testing.assert_allclose(
        CropTransform.from_regions(*regions(labelled.records, size, square=square), size).matrices, expected.matrices
    )


def test_nobody_has_no_regions():
    centers, extents = regions([], Size(64, 48))
    assert centers.shape == extents.shape == (0, 2)
    assert make_set(load_skeleton("coco17"), folder=Path("x")).images[0].path.parent == Path("x")
