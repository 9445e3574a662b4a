"""Convolutional parts that pose models and the person detector share."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvUnit(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, inside: int, outside: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outside, eps=1e-3)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(batch, inside, height, width)`` to ``(batch, outside, …)``."""
        return F.silu(self.norm(self.conv(features)))


class Residual(nn.Module):
    """Two convolutions through half the channels, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = ConvUnit(width, width // 2)
        self.expand = ConvUnit(width // 2, width)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(batch, width, height, width)`` to the same shape."""
        return features + cast(Tensor, self.expand(self.squeeze(features)))


def stage(inside: int, outside: int, depth: int) -> nn.Sequential:
    """Return a step to half the resolution and ``depth`` residual units there."""
    return nn.Sequential(ConvUnit(inside, outside, stride=2), *(Residual(outside) for _ in range(depth)))


class ConvStem(nn.Module):
    """A pyramid of convolutions in place of the patch projection (Xiao et al. 2021, "Early Convolutions Help").

    Four steps halve the picture; at each resolution but the first some residual units follow. What is learned at one
    place holds at all places from the start, which a projection of patches has to learn from more people.

    Args:
        width: channels of a token, a multiple of 16: the steps have an eighth, a quarter, half and all of it.
        depths: residual units at strides 4, 8 and 16.
    """

    def __init__(self, width: int, depths: tuple[int, int, int]) -> None:
        super().__init__()
        widths = (width // 8, width // 4, width // 2, width)
        self.first = ConvUnit(3, widths[0], stride=2)
        self.stages = nn.Sequential(*map(stage, widths[:-1], widths[1:], depths))
        # Linear at the end: tokens may be negative like projected patches.
        self.last = nn.Conv2d(width, width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(batch, 3, height, width)`` to ``(batch, width, height / 16, width / 16)``."""
        # Channels last is what convolutions are computed in; from the input on, all that follows takes it over.
        images = images.contiguous(memory_format=torch.channels_last)
        return cast(Tensor, self.last(self.stages(self.first(images))))


def initialize_convolutions(module: nn.Module) -> None:
    """Draw the weights of all convolutions inside as suits their activations (He et al. 2015)."""
    for part in module.modules():
        # Nothing to fill on the meta device, where PyTorch would import its compiler for it: nearly a second.
        if isinstance(part, nn.Conv2d) and not part.weight.is_meta:
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
