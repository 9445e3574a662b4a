"""The package's own detector: shapes, batches, padding, clipping, and its file."""

import json

import numpy as np
import pytest
import torch

from vitpose.core.errors import UsageError, WeightsError
from vitpose.core.geometry import Size
from vitpose.detectors.embedded import (
    LOOKS,
    ONE_LOOK,
    EmbeddedDetector,
    Look,
    distinct,
    letterbox,
    merged,
    scaled_ratio,
)
from vitpose.models.detector import STRIDES, DetectorSpec, PersonNet, fused
from vitpose.weights.detector import is_detector, load_detector, packaged_detector, save_detector

TINY = DetectorSpec(side=96, widths=(8, 8, 16, 16), depths=(1, 0, 1, 0), blocks=1, heads=2, neck=8)


@pytest.fixture
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = PersonNet(TINY)
        # Random answers instead of "nobody anywhere", so that there is something to select.
        for score, sides in zip(net.score, net.sides, strict=True):
            torch.nn.init.normal_(score.weight, std=2.0)
            torch.nn.init.zeros_(score.bias)
            torch.nn.init.normal_(sides.weight, std=1.0)
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 1.5)
    return net.eval()


def pictures(rng):
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((48, 64), (120, 80), (48, 64), (97, 300))]


def test_every_cell_answers_and_lies_inside_its_box(net):
    with torch.no_grad():
        cells = net(torch.randn(2, 3, 64, 96))
    count = sum(64 // stride * (96 // stride) for stride in STRIDES)
    assert cells.logits.shape == (2, count)
    assert cells.boxes.shape == (2, count, 4)
    assert (cells.boxes[..., :2] < cells.centers).all()
    assert (cells.boxes[..., 2:] > cells.centers).all()
    with pytest.raises(UsageError, match="multiples of 32"):
        net(torch.randn(1, 3, 60, 96))


def test_batch_norms_inside_the_convolutions_change_nothing(net):
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        own, other = net(images), fused(net)(images)
    torch.testing.assert_close(own.logits, other.logits, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(own.boxes, other.boxes, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("looks", [ONE_LOOK, (Look(mirrored=True), Look(scale=1.5))])
def test_batch_finds_what_singles_find(net, rng, looks):
    detector = EmbeddedDetector(net, device="cpu", threshold=0.2, looks=looks)
    images = pictures(rng)
    together = detector(images)
    assert sum(len(boxes) for boxes in together) > 0
    for image, boxes in zip(images, together, strict=True):
        (alone,) = detector([image])
        assert len(alone) == len(boxes)
        np.testing.assert_allclose(boxes.xyxy, alone.xyxy, atol=0.05)
    assert detector([]) == []


def test_boxes_are_best_first_inside_the_picture_and_distinct(net, rng):
    detector = EmbeddedDetector(net, device="cpu", threshold=0.1, max_people=3)
    for image, boxes in zip(pictures(rng), detector(pictures(rng)), strict=True):
        height, width = image.shape[:2]
        assert len(boxes) <= 3
        assert (np.diff(boxes.scores) <= 0).all()
        assert (boxes.xyxy >= 0).all()
        assert (boxes.xyxy <= [width, height, width, height]).all()
    assert len(EmbeddedDetector(net, device="cpu", threshold=1.0)(pictures(rng))[0]) == 0


def test_looking_at_the_mirror_image_too_makes_left_and_right_equal(net, rng):
    detector = EmbeddedDetector(net, device="cpu", threshold=0.3, looks=(Look(), Look(mirrored=True)))
    image = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    own, other = detector([image])[0], detector([np.ascontiguousarray(image[:, ::-1])])[0]
    assert len(own) == len(other) > 0
    back = np.stack([96 - other.xyxy[:, 2], other.xyxy[:, 1], 96 - other.xyxy[:, 0], other.xyxy[:, 3]], axis=1)
    np.testing.assert_allclose(own.scores, other.scores, atol=1e-5)
    np.testing.assert_allclose(own.xyxy, back, atol=0.01)


def test_one_mirrored_look_is_a_look_at_the_mirror_image(net, rng):
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    plain = EmbeddedDetector(net, device="cpu", looks=ONE_LOOK)([np.ascontiguousarray(image[:, ::-1])])[0]
    turned = EmbeddedDetector(net, device="cpu", looks=(Look(mirrored=True),))([image])[0]
    assert len(plain) == len(turned) > 0
    np.testing.assert_allclose(turned.xyxy[:, [0, 2]], 64 - plain.xyxy[:, [2, 0]], atol=1e-4)
    np.testing.assert_array_equal(turned.scores, plain.scores)


def test_a_larger_look_sees_more_cells(net):
    sides = []
    detector = EmbeddedDetector(net, device="cpu", looks=(Look(), Look(scale=1.34), Look(scale=0.3)))
    detector._net.register_forward_pre_hook(lambda _, given: sides.append(tuple(given[0].shape[2:])))
    detector([np.zeros((50, 100, 3), np.uint8)])
    assert sides == [(64, 96), (64, 128), (32, 32)]


def test_looks_vote():
    first = np.array([[0, 0, 10, 10], [50, 0, 60, 10]], np.float64), np.array([0.8, 0.4], np.float32)
    second = np.array([[30, 0, 40, 10], [2, 0, 12, 10]], np.float64), np.array([0.6, 0.4], np.float32)
    boxes, scores = merged([first, second])
    # Seen by both, by the second alone, by the first alone.
    assert scores.tolist() == pytest.approx([0.6, 0.3, 0.2])
    np.testing.assert_allclose(boxes, [[2 / 3, 0, 10 + 2 / 3, 10], [30, 0, 40, 10], [50, 0, 60, 10]])
    nothing = np.zeros((0, 4)), np.zeros(0, np.float32)
    assert merged([nothing, first])[1].tolist() == pytest.approx([0.4, 0.2])
    assert [len(part) for part in merged([nothing, nothing])] == [0, 0]


def test_a_look_gives_a_person_one_box_only():
    """Of two boxes of one look that both overlap the best of another, the nearer one votes and the other goes."""
    first = np.array([[0, 0, 10, 10]], np.float64), np.array([0.9], np.float32)
    second = np.array([[2, 0, 12, 10], [0, 1, 10, 11]], np.float64), np.array([0.6, 0.5], np.float32)
    boxes, scores = merged([first, second])
    assert scores.tolist() == pytest.approx([0.7])
    np.testing.assert_allclose(boxes, [[0, 5 / 14, 10, 10 + 5 / 14]])


def test_two_people_whom_both_looks_see_stay_two():
    near = np.array([[0, 0, 100, 200], [26, 0, 126, 200]], np.float64), np.array([0.9, 0.8], np.float32)
    boxes, scores = merged([near, near])
    assert scores.tolist() == pytest.approx([0.9, 0.8])
    np.testing.assert_allclose(boxes, near[0])
    # The other person's box is surer in the second look, and still not taken for the first one's.
    turned = near[0][::-1], np.array([0.85, 0.8], np.float32)
    boxes, scores = merged([near, turned])
    assert scores.tolist() == pytest.approx([0.85, 0.825])
    np.testing.assert_allclose(boxes, near[0])


@pytest.mark.parametrize("looks", [ONE_LOOK, LOOKS])
def test_a_threshold_of_0_bears_scores_that_vanish(net, looks):
    for score in net.score:
        torch.nn.init.constant_(score.bias, -200.0)
    detector = EmbeddedDetector(net, device="cpu", threshold=0.0, looks=looks)
    assert len(detector([np.zeros((40, 40, 3), np.uint8)])[0]) == 0


def test_letterbox_keeps_shape_and_pads_with_black():
    white = np.full((30, 50, 3), 255, np.uint8)
    boxed = letterbox(white, 96)
    assert boxed.shape == (64, 96, 3)
    assert (boxed[:58] == 255).all()
    assert (boxed[58:] == 0).all()
    assert scaled_ratio(Size(30, 50), 96) == pytest.approx([96 / 50, 58 / 30])


def test_better_box_wins():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float64)
    assert distinct(boxes, 0.65).tolist() == [0, 2]
    assert distinct(boxes, 0.95).tolist() == [0, 1, 2]
    assert distinct(boxes[:0], 0.5).tolist() == []


def test_it_knows_people_only(net):
    with pytest.raises(UsageError, match="dog"):
        EmbeddedDetector(net, classes=("dog",))
    with pytest.raises(UsageError, match="threshold"):
        EmbeddedDetector(net, threshold=2)
    with pytest.raises(UsageError, match="scale must be above 0"):
        Look(scale=0)
    with pytest.raises(UsageError, match="at least one look"):
        EmbeddedDetector(net, looks=())


@pytest.mark.parametrize("half", [False, True])
def test_file_says_itself_what_it_is(net, tmp_path, half):
    path = tmp_path / "detector.safetensors"
    save_detector(path, net, {"recall": 0.5}, half=half)
    loaded = load_detector(path)
    assert is_detector(path)
    assert loaded.net.spec == TINY
    assert loaded.metadata == {"recall": 0.5}
    for name, value in net.state_dict().items():
        rounded = half and value.is_floating_point() and "running_" not in name
        expected = value.half().to(value.dtype) if rounded else value
        assert torch.equal(loaded.net.state_dict()[name], expected)
    again = tmp_path / "again.safetensors"
    save_detector(again, loaded.net, {"recall": 0.5}, half=half)
    assert again.read_bytes() == path.read_bytes()


def test_other_files_are_refused(net, tmp_path):
    from safetensors.torch import save_file

    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other, metadata={"vitpose": json.dumps({"schema": "vitpose-checkpoint"})})
    assert not is_detector(other)
    with pytest.raises(WeightsError, match="no detector"):
        load_detector(other)
    assert not is_detector(tmp_path / "missing.safetensors")
    path = tmp_path / "detector.safetensors"
    save_detector(path, net)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError):
        load_detector(path)


def test_the_full_size_fits_the_limit():
    parameters = sum(value.numel() for value in PersonNet(DetectorSpec()).state_dict().values())
    assert 2 * parameters < 15_000_000
    shipped = packaged_detector()
    assert shipped is None or shipped.stat().st_size < 15_000_000


def test_spec_survives_json_and_refuses_nonsense():
    assert DetectorSpec.from_dict(json.loads(json.dumps(TINY.to_dict()))) == TINY
    with pytest.raises(UsageError, match="side"):
        DetectorSpec(side=100)
