"""Pixels to numbers: the only place that knows the mean and the standard deviation the models were trained with.

A pixel outside the picture is black in the crop, so it becomes ``(0 - mean) / std`` and not 0.
"""

from typing import Final

import torch
from torch import Tensor

from vitpose.core.errors import UsageError

MEAN: Final = (0.485, 0.456, 0.406)
"""Mean of red, green and blue over ImageNet, for pixels in 0..1."""

STD: Final = (0.229, 0.224, 0.225)
"""Standard deviation of red, green and blue over ImageNet, for pixels in 0..1."""


def normalize(crops: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Turn RGB crops into what the models read; part of every engine's graph.

    Args:
        crops: ``(people, height, width, 3)`` uint8 RGB, on any device.
        dtype: type of the result; the arithmetic is float32 whatever it is.

    Returns:
        ``(people, 3, height, width)``, zero mean and unit variance over ImageNet.

    Raises:
        UsageError: not uint8, or another shape.
    """
    if crops.dtype != torch.uint8 or crops.ndim != 4 or crops.shape[-1] != 3:
        raise UsageError(
            f"crops must be uint8 RGB of shape (people, height, width, 3), not {crops.dtype} {tuple(crops.shape)}"
        )
    # Shuffling bytes first keeps the arithmetic on contiguous planes, which is several times faster on a CPU. Plain
    # numbers instead of two small tensors: no copy to the device on every call, no constants in exported graphs.
    images = crops.permute(0, 3, 1, 2).contiguous().to(torch.float32)
    planes = images.unbind(dim=1)
    channels = [(255 * mean, 1 / (255 * std)) for mean, std in zip(MEAN, STD, strict=True)]
    if torch.compiler.is_compiling():
        # Exported graphs have no writing in place; compilers fuse all this anyway.
        scaled = [plane.sub(low).mul(scale) for plane, (low, scale) in zip(planes, channels, strict=True)]
        return torch.stack(scaled, dim=1).to(dtype)
    for plane, (low, scale) in zip(planes, channels, strict=True):
        plane.sub_(low).mul_(scale)
    return images.to(dtype)
