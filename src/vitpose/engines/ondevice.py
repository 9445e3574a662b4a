"""From a picture to keypoints without leaving the device: one picture goes up, K x 3 numbers a person come back."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vitpose.codec.codec import Codec
from vitpose.core.geometry import CropTransform, Size
from vitpose.engines.eager import EagerEngine

_PICTURE_BYTES = 1 << 28
"""Bytes of float32 crops made at a time."""


@dataclass(frozen=True, slots=True)
class OnDevice:
    """Crops, runs and decodes the people of one picture on the engine's device.

    Attributes:
        engine: PyTorch; other runtimes take crops from memory.
        codec: reads its heatmaps.
    """

    engine: EagerEngine
    codec: Codec

    def __call__(
        self, image: NDArray[np.uint8], transform: CropTransform
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return keypoints of all people of a picture.

        Args:
            image: ``(height, width, 3)`` uint8 RGB.
            transform: where the crops are; its size must be the engine's.

        Returns:
            ``(people, keypoints, 2)`` x, y in crop pixels and ``(people, keypoints)`` scores.
        """
        picture = to_device(image, self.engine.device)
        size, keypoints = self.engine.input_size, self.engine.num_keypoints
        step = max(1, _PICTURE_BYTES // (12 * size.height * size.width))
        parts = [torch.zeros((0, keypoints, 3), device=self.engine.device)]
        for start in range(0, len(transform), step):
            crops = warp(picture, transform[start : start + step].inverse, size)
            xy, scores = self.codec.decode(self.engine(crops), size)
            parts.append(torch.cat([xy, scores[..., None]], dim=-1))
        found: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
        return found[..., :2], found[..., 2]


def to_device(image: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return a picture on a device as bytes; from page-locked memory the copy runs beside the computation."""
    host = torch.from_numpy(np.ascontiguousarray(image) if image.flags.writeable else np.array(image))
    if device.type != "cuda":
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)


def warp(picture: Tensor, inverse: NDArray[np.float64], size: Size) -> Tensor:
    """Cut all crops out of a picture in one batched operation: bilinear, black outside, as ``CropTransform.warp``.

    OpenCV rounds the place of every pixel to 1/32 of a pixel and interpolates in whole numbers, this does neither, so
    grey levels differ where neighbouring pixels do, by 1/32 of that difference at most and rounding.

    Args:
        picture: ``(height, width, 3)`` uint8 on any device.
        inverse: ``(people, 2, 3)`` maps from crop to picture pixels.
        size: of the crops.

    Returns:
        ``(people, height, width, 3)`` uint8 on the picture's device.
    """
    height, width = picture.shape[:2]
    # grid_sample calls the outer edges of the picture -1 and 1, so that pixel centres lie half a pixel inside.
    scale = np.array([2 / width, 2 / height])
    maps = np.array(inverse)
    maps[:, :, 2] += 0.5
    maps *= scale[:, None]
    maps[:, :, 2] -= 1
    place = torch.from_numpy(maps).to(picture.device, torch.float32)
    rows = torch.arange(size.height, device=picture.device, dtype=torch.float32)
    columns = torch.arange(size.width, device=picture.device, dtype=torch.float32)
    grid = (
        columns[None, None, :, None] * place[:, None, None, :, 0]
        + rows[None, :, None, None] * place[:, None, None, :, 1]
        + place[:, None, None, :, 2]
    )
    source = picture.permute(2, 0, 1)[None].to(torch.float32).expand(len(grid), -1, -1, -1)
    crops = F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return crops.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
