"""Two ways to the same crops: read as needed, or resident on the device."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_sets import draw_pictures, make_set
from PIL import Image

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import CropTransform, Size
from vitpose.core.skeleton import load_skeleton
from vitpose.data.augment import MMPOSE, NONE, ORIGINAL
from vitpose.data.people import CropPlan, LabelArrays, shrunk
from vitpose.data.readers.read import read_labelled
from vitpose.data.resident import Resident
from vitpose.data.topdown import TopDown

SIZE = Size(64, 48)
STRONG = replace(MMPOSE, color=0.4, erase=0.5)


def plan(**changes):
    return replace(CropPlan(dataset="coco", size=SIZE, augmentation=STRONG), **changes)


@pytest.fixture
def labelled(tmp_path):
    made = make_set(load_skeleton("coco17"), people=9, folder=tmp_path)
    draw_pictures(made)
    return made


@pytest.mark.parametrize("convention", ["udp", "msra"])
@pytest.mark.parametrize("spec", [NONE, ORIGINAL, MMPOSE, STRONG])
def test_both_ways_give_the_same(labelled, spec, convention):
    chosen = plan(augmentation=spec, convention=convention)
    indices, seeds = np.arange(9).repeat(8), np.arange(72) * 7919
    read = TopDown.of(labelled, chosen).draw(indices, seeds)
    kept = Resident.of(labelled, chosen, "cpu").draw(indices, seeds)
    assert read.crops.dtype == kept.crops.dtype == torch.uint8
    assert read.crops.shape == (72, 64, 48, 3)
    difference = (read.crops.int() - kept.crops.int()).abs()
    assert difference.float().mean() < 0.1
    # A level of the contrast curve and of the colours may differ where a pixel was about to be rounded.
    assert (difference > 2).float().mean() < 1e-3
    torch.testing.assert_close(read.xy, kept.xy, rtol=0, atol=0)
    torch.testing.assert_close(read.weights, kept.weights, rtol=0, atol=0)
    assert read.datasets == kept.datasets == ("coco",) * 72
    assert read.records == kept.records == tuple(indices)


def test_both_ways_give_the_same_on_real_pictures(shared):
    people = read_labelled("coco", shared / "data/coco/person_keypoints_val.json").for_training().select(slice(24))
    chosen = plan(size=Size(128, 96))
    indices, seeds = np.arange(24), np.arange(24) + 5
    read, kept = TopDown.of(people, chosen), Resident.of(people, chosen, "cpu")
    difference = (read.draw(indices, seeds).crops.int() - kept.draw(indices, seeds).crops.int()).abs()
    assert difference.float().mean() < 0.1
    assert (difference > 2).float().mean() < 1e-3
    assert kept.store.pixels.dtype == torch.uint8


def test_without_laws_a_crop_is_what_evaluation_sees(labelled):
    batch = TopDown.of(labelled, plan(augmentation=NONE)).draw(np.arange(9), np.zeros(9, dtype=np.int64))
    for row, record in enumerate(labelled.records):
        transform = CropTransform.from_boxes(record.box[None], SIZE)
        image = np.asarray(Image.open(record.image))
        np.testing.assert_array_equal(batch.crops[row].numpy(), transform.warp(image)[0])
        expected = transform.to_crop(record.keypoints[None])[0] * (record.visibility[:, None] > 0)
        np.testing.assert_allclose(batch.xy[row].numpy(), expected, atol=1e-4)
        np.testing.assert_array_equal(batch.weights[row].numpy(), record.visibility > 0)


@pytest.mark.parametrize("way", ["read", "kept"])
def test_keypoints_go_where_the_pixels_go(tmp_path, way):
    """A white dot at each labelled keypoint is found again at the keypoint's place in the crop."""
    made = make_set(load_skeleton("coco17"), people=2, folder=tmp_path)
    image = np.zeros((120, 90, 3), dtype=np.uint8)
    record = replace(made.records[0], box=np.array([10.0, 10, 80, 110]), visibility=np.full(17, 2, dtype=np.int8))
    grid = np.array([[15 + 15 * (k % 4), 20 + 20 * (k // 4)] for k in range(17)], dtype=np.float32)
    record = replace(record, keypoints=grid)
    for x, y in grid.astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    Image.fromarray(image).save(record.image)
    chosen = plan(augmentation=replace(MMPOSE, half_body=0, scale=0.2), size=Size(128, 96))
    people = replace(made, records=(record,))
    source = TopDown.of(people, chosen) if way == "read" else Resident.of(people, chosen, "cpu")
    batch = source.draw(np.zeros(20, dtype=np.int64), np.arange(20))
    found = 0
    for crop, xy in zip(batch.crops.numpy(), batch.xy.numpy(), strict=True):
        for x, y in np.round(xy).astype(int):
            if 2 <= x < 94 and 2 <= y < 126:
                assert crop[y, x, 0] > 120
                found += 1
    assert found > 200


def test_mirrored_people_change_sides(labelled):
    flip = load_skeleton("coco17").flip_indices
    straight = TopDown.of(labelled, plan(augmentation=NONE))
    mirrored = TopDown.of(labelled, plan(augmentation=replace(NONE, flip=1.0)))
    indices, seeds = np.arange(9), np.zeros(9, dtype=np.int64)
    one, other = straight.draw(indices, seeds), mirrored.draw(indices, seeds)
    # UDP keeps pixel centres; OpenCV's rounding of positions differs at the other end of a row.
    difference = (other.crops.int() - one.crops.flip(2).int()).abs()
    assert difference.float().mean() < 1
    torch.testing.assert_close(other.weights, one.weights[:, flip])
    shown = one.weights[:, flip] > 0
    expected = one.xy[:, flip].clone()
    expected[..., 0] = SIZE.width - 1 - expected[..., 0]
    torch.testing.assert_close(other.xy[shown], expected[shown])


def test_a_batch_is_its_samples_one_by_one(labelled):
    for source in (TopDown.of(labelled, plan()), Resident.of(labelled, plan(), "cpu")):
        indices, seeds = np.array([3, 0, 3, 8]), np.array([5, 6, 7, 5])
        whole = source.draw(indices, seeds)
        for row in range(4):
            single = source.draw(indices[row : row + 1], seeds[row : row + 1])
            torch.testing.assert_close(single.crops[0], whole.crops[row], rtol=0, atol=0)
            torch.testing.assert_close(single.xy[0], whole.xy[row], rtol=0, atol=0)
        assert not torch.equal(whole.crops[0], whole.crops[2])


def test_more_crops_than_are_warped_at_once(labelled):
    source = Resident.of(labelled, plan(), "cpu")
    indices, seeds = np.arange(150) % 9, np.arange(150)
    batch = source.draw(indices, seeds)
    torch.testing.assert_close(batch.crops[140:], source.draw(indices[140:], seeds[140:]).crops, rtol=0, atol=0)


def test_shrunk_pictures_show_the_same_place(labelled):
    chosen = plan(augmentation=replace(NONE, scale=0.0), size=Size(32, 24))
    whole, small = Resident.of(labelled, chosen, "cpu"), Resident.of(labelled, chosen, "cpu", longest_side=60)
    indices, seeds = np.arange(9), np.zeros(9, dtype=np.int64)
    one, other = whole.draw(indices, seeds), small.draw(indices, seeds)
    assert small.store.pixels.numel() < 0.3 * whole.store.pixels.numel()
    torch.testing.assert_close(one.xy, other.xy)
    assert (one.crops.int() - other.crops.int()).abs().float().mean() < 6
    moved = torch.roll(other.crops, 1, dims=2)
    assert (one.crops.int() - moved.int()).abs().float().mean() > 8


def test_shrunk_transform_keeps_points():
    transform = CropTransform.from_regions([[40.0, 50.0]], [[60.0, 80.0]], SIZE, rotations_deg=20.0)
    ratios = np.array([[0.5, 0.25]])
    points = np.array([[[10.0, 20.0], [33.0, 7.0]]])
    np.testing.assert_allclose(
        shrunk(transform, ratios).to_crop((points + 0.5) * ratios - 0.5), transform.to_crop(points), atol=1e-9
    )


def test_square_regions_are_stretched(labelled):
    labels = LabelArrays.of(labelled, plan(square=True, augmentation=NONE))
    assert np.allclose(labels.people.extents[:, 0], labels.people.extents[:, 1])


def test_what_cannot_be_drawn_from(labelled, tmp_path):
    with pytest.raises(UsageError, match="no people"):
        TopDown.of(labelled.select([]), plan())
    with pytest.raises(UsageError, match="GiB"):
        Resident.of(labelled, plan(), "cpu", limit_gib=1e-6)
    labelled.records[0].image.unlink()
    with pytest.raises(InputError, match=r"000\.png does not exist"):
        TopDown.of(labelled, plan()).draw(np.array([0]), np.array([0]))
    assert TopDown.of(labelled, plan()).name_of(2) == "001.png, annotation 2 of made up"
