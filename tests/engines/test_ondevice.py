import cv2
import numpy as np
import pytest
import torch
from on_the_spot import OnTheSpot
from tiny_models import SPEC

from vitpose.codec.codec import Codec
from vitpose.core.geometry import CropTransform, Size
from vitpose.engines import ondevice
from vitpose.engines.captured import Recordings
from vitpose.engines.ondevice import DeviceLane, _grid, warp

BOXES = [[20, 30, 90, 160], [-40, -50, 60, 80], [150, 100, 260, 240], [300, 300, 310, 330]]


def smooth_picture(height: int = 200, width: int = 240) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def warped(image: np.ndarray, transform: CropTransform) -> np.ndarray:
    grid = torch.from_numpy(_grid(transform, Size(*image.shape[:2])))
    return warp(torch.from_numpy(image), grid, transform.size).numpy().astype(int)


def lane(model, image: np.ndarray) -> DeviceLane:
    codec = Codec.for_head(SPEC.head(), SPEC.heatmap_size)
    recordings = Recordings(lambda crops, run: codec.decode(run(crops), SPEC.input_size))
    return DeviceLane([image], OnTheSpot(model).resident(), recordings)


@pytest.mark.parametrize("convention", ["udp", "msra"])
@pytest.mark.parametrize("size", [Size(64, 48), Size(256, 192)])
def test_batched_warp_is_opencvs(size, convention):
    image = smooth_picture()
    transform = CropTransform.from_boxes(BOXES, size, convention=convention)
    expected, found = transform.warp(image).astype(int), warped(image, transform)
    assert found.shape == expected.shape
    apart = np.abs(found - expected)
    # With OpenCV 4, 1/32 of a pixel is up to 8 grey levels at the picture's rim, where bright pixels meet black.
    assert apart.max() <= (1 if cv2.__version__ >= "5" else 9)
    assert np.quantile(apart, 0.99) <= 2
    assert found[0].std() > 10
    assert (found[3] == 0).all()


def test_rotated_and_mirrored_regions():
    image = smooth_picture()
    transform = CropTransform.from_regions(
        [[100, 90]] * 3, [[90, 120]] * 3, Size(64, 48), rotations_deg=[0, 40, -75], mirror=[False, True, False]
    )
    assert np.quantile(np.abs(warped(image, transform) - transform.warp(image)), 0.99) <= 2


def test_keypoints_are_those_of_the_crops_it_makes(model):
    codec = Codec.for_head(SPEC.head(), SPEC.heatmap_size)
    image = smooth_picture()
    transform = CropTransform.from_boxes(BOXES, SPEC.input_size)
    way = lane(model, image)
    xy, scores = way.fetch(*way.points([(0, transform)]))()
    crops = torch.from_numpy(warped(image, transform).astype(np.uint8))
    with torch.inference_mode():
        expected_xy, expected_scores = codec.decode(OnTheSpot(model).deploy(crops), SPEC.input_size)
    np.testing.assert_array_equal(xy, expected_xy)
    np.testing.assert_array_equal(scores, expected_scores)


def test_a_picture_goes_up_once_and_may_be_read_only(model, monkeypatch):
    image = smooth_picture()
    image.flags.writeable = False
    sent: list[tuple[int, ...]] = []
    real = DeviceLane._upload
    monkeypatch.setattr(DeviceLane, "_upload", lambda self, values: sent.append(values.shape) or real(self, values))
    way = lane(model, image)
    transform = CropTransform.from_boxes(BOXES, SPEC.input_size)
    for people in (slice(0, 2), slice(2, 4)):
        way.points([(0, transform[people])])
    assert sent.count(image.shape) == 1
    assert sorted(sent) == sorted([image.shape, (2, 2, 3), (2, 2, 3)]), (
        "besides the picture, six numbers a person go up"
    )


def test_huge_pictures_are_cut_in_memory(model, monkeypatch):
    image = smooth_picture()
    transform = CropTransform.from_boxes(BOXES, SPEC.input_size)
    expected = lane(model, image).points([(0, transform)])
    monkeypatch.setattr(ondevice, "_LONG", 100)
    way = lane(model, image)
    found = way.points([(0, transform)])
    assert not way._pictures
    assert torch.allclose(found[1], expected[1], atol=0.01 * float(expected[1].abs().max()))


def test_nothing_is_recorded_where_it_cannot_be(model):
    recordings = Recordings(lambda crops, run: (run(crops)[..., 0, :2], run(crops)[..., 0, 0]))
    crops = torch.zeros((1, *SPEC.input_size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        points, scores = recordings(OnTheSpot(model).resident(), crops)
    assert (points.shape, scores.shape) == ((1, 17, 2), (1, 17))
    assert not recordings._known
