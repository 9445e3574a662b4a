"""Pictures varied by OpenCV: on a CPU ten times as fast as the same done by gathers and powers of tensors."""

import cv2
import numpy as np
import torch
from torch import Tensor

from vitpose.core.geometry import Size
from vitpose.data.resident import PictureStore


def warped(store: PictureStore, pictures: Tensor, inverse: Tensor, size: Size) -> Tensor:
    """Cut tiles out as ``PictureStore.warp`` does; positions are rounded to what OpenCV resolves.

    Args:
        store: on the CPU.
        pictures: ``(tiles,)`` which picture each is of.
        inverse: ``(tiles, 2, 3)`` float32 tile pixels to picture pixels.
        size: of the tiles.

    Returns:
        ``(tiles, height, width, 3)`` uint8, black outside the picture.
    """
    pixels = store.pixels.numpy()
    found = np.empty((len(pictures), *size, 3), np.uint8)
    for row, (picture, matrix) in enumerate(zip(pictures.tolist(), inverse.numpy(), strict=True)):
        start, height, width = (int(part[picture]) for part in (store.starts, store.heights, store.widths))
        view = pixels[start : start + height * width].reshape(height, width, 3)
        way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(view, matrix.astype(np.float64), (size.width, size.height), dst=found[row], flags=way)
    return torch.from_numpy(found)


def recolored(images: Tensor, changes: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Tensor:
    """Change saturation, gains and gamma of each picture; black stays black.

    Args:
        images: ``(batch, height, width, 3)`` uint8 RGB on the CPU.
        changes: ``(batch, 5)`` of the three gains, of saturation, and the logarithm of gamma; 0 changes nothing.

    Returns:
        the same shape, uint8.
    """
    found = np.empty(tuple(images.shape), np.uint8)
    ramp = np.arange(256) / 255
    for row, (image, change) in enumerate(zip(images.numpy(), changes.astype(np.float64), strict=True)):
        stronger = 1 + change[3]
        # Grey plus the stronger difference from grey, then the gains: one matrix on red, green, blue.
        mixing = (1 + change[:3, None]) * (np.eye(3) * stronger + (1 - stronger) / 3)
        curve = np.round(255 * ramp ** np.exp(change[4])).astype(np.uint8)
        found[row] = cv2.LUT(cv2.transform(image, mixing), curve)
    return torch.from_numpy(found)
