"""Our crops against those of `transformers`' processor: the same region, the same pixels."""

import numpy as np
import pytest
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

from vitpose.core.geometry import CropTransform, Size, xyxy_to_xywh


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Smooth structure, so that a difference in position shows as a difference in grey."""
    rows, columns = np.mgrid[:480, :640]
    waves = [128 + 100 * np.sin(rows / 9 + channel) * np.cos(columns / 13 - channel) for channel in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size", [Size(256, 192), Size(384, 288), Size(128, 96)])
def test_crops_inside_the_picture_agree_to_one_grey_level(image: np.ndarray, size: Size) -> None:
    boxes = np.array([[200, 150, 260, 300], [300, 100, 420, 180], [250.3, 200.7, 281.9, 260.1]])
    processor = VitPoseImageProcessorPil(
        do_rescale=False, do_normalize=False, size={"height": size.height, "width": size.width}
    )
    theirs = processor(image, boxes=[xyxy_to_xywh(boxes).tolist()], return_tensors="np")["pixel_values"]
    ours = CropTransform.from_boxes(boxes, size).warp(image)
    difference = np.abs(ours.astype(float) - np.moveaxis(theirs, 1, -1))
    # OpenCV weighs pixels in steps of 1/32, so single pixels on steep slopes differ by a little more than rounding.
    assert np.percentile(difference, 99.5) <= 1
    assert difference.max() <= 4
    assert difference.mean() < 0.5
