import cv2
import numpy as np
import pytest
import torch
from tiny_models import SPEC

from vitpose.codec.codec import Codec
from vitpose.core.geometry import CropTransform, Size
from vitpose.engines.eager import EagerEngine
from vitpose.engines.ondevice import OnDevice, to_device, warp

BOXES = [[20, 30, 90, 160], [-40, -50, 60, 80], [150, 100, 260, 240], [300, 300, 310, 330]]


def smooth_picture(height: int = 200, width: int = 240) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("convention", ["udp", "msra"])
@pytest.mark.parametrize("size", [Size(64, 48), Size(256, 192)])
def test_batched_warp_is_opencvs(size, convention):
    image = smooth_picture()
    transform = CropTransform.from_boxes(BOXES, size, convention=convention)
    expected = transform.warp(image).astype(int)
    found = warp(torch.from_numpy(image), transform.inverse, size).numpy().astype(int)
    assert found.shape == expected.shape
    apart = np.abs(found - expected)
    # At the picture's rim bright pixels meet black, where 1/32 of a pixel is up to 8 grey levels.
    assert apart.max() <= 9
    assert np.quantile(apart, 0.99) <= 2
    assert found[0].std() > 10
    assert (found[3] == 0).all()


def test_rotated_and_mirrored_regions(rng):
    image = smooth_picture()
    transform = CropTransform.from_regions(
        [[100, 90]] * 3, [[90, 120]] * 3, Size(64, 48), rotations_deg=[0, 40, -75], mirror=[False, True, False]
    )
    apart = np.abs(
        warp(torch.from_numpy(image), transform.inverse, Size(64, 48)).numpy().astype(int) - transform.warp(image)
    )
    assert np.quantile(apart, 0.99) <= 2


def test_keypoints_are_those_of_the_crops_it_makes(model):
    engine = EagerEngine(model, device="cpu")
    codec = Codec.for_head(SPEC.head(), SPEC.heatmap_size)
    image = smooth_picture()
    transform = CropTransform.from_boxes(BOXES, SPEC.input_size)
    xy, scores = OnDevice(engine, codec)(image, transform)
    crops = warp(torch.from_numpy(image), transform.inverse, SPEC.input_size).numpy()
    expected_xy, expected_scores = codec.decode(engine(crops), SPEC.input_size)
    assert np.allclose(xy, expected_xy, atol=1e-4)
    assert np.allclose(scores, expected_scores, atol=1e-6)
    none = OnDevice(engine, codec)(image, transform[:0])
    assert none[0].shape == (0, 17, 2)
    assert none[1].shape == (0, 17)


def test_read_only_pictures_are_taken():
    image = smooth_picture()
    image.flags.writeable = False
    assert np.array_equal(to_device(image, torch.device("cpu")).numpy(), image)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_finds_what_the_cpu_finds(model):
    codec = Codec.for_head(SPEC.head(), SPEC.heatmap_size)
    image = smooth_picture()
    transform = CropTransform.from_boxes(BOXES, SPEC.input_size)
    expected = OnDevice(EagerEngine(model, device="cpu"), codec)(image, transform)
    found = OnDevice(EagerEngine(model, device="cuda", dtype="fp32"), codec)(image, transform)
    assert np.abs(found[1] - expected[1]).max() < 0.01 * np.abs(expected[1]).max()
