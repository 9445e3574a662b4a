"""A start that knows what a transformer otherwise has to find out: for training from nothing on small data.

Weights drawn at random leave three things to gradient descent that are known beforehand, and on a few thousand people
it spends most of its steps on them:

- *Patches.* Neighbouring pixels are alike, so the raw patches vary by orders of magnitude more along a few directions
  than along the rest. The patch projection begins as a random rotation of the whitened principal components of real
  patches (whitening as in Coates, Ng and Lee 2011, "An Analysis of Single-Layer Networks in Unsupervised Feature
  Learning").
- *Places.* Position embeddings begin as two-dimensional sines and cosines (as in the decoder of He et al. 2022), so
  that near tokens have like positions.
- *Attention.* Query and key begin such that a token looks at tokens like itself, which are near ones, and value and
  projection such that it takes away a part of what it finds (Trockman and Kolter 2023, "Mimetic Initialization of
  Self-Attention Layers").

What it is good for, and with which optimiser it is not, is in ``docs/decisions/006-from-nothing-on-small-data.md``.
"""

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from vitpose.core.errors import UsageError
from vitpose.models.mae import sine_positions
from vitpose.models.pixels import normalize
from vitpose.models.pose import VitPose
from vitpose.models.vit import Block

_POSITIONS = 0.5
"""Amplitude of the sines, and size of a whitened patch's components beside them."""

_ALIKE, _NOISE = 0.7, 0.7
"""Query-key product: multiple of the identity and of a random matrix (Trockman and Kolter, section 3)."""

_TAKEN, _STIRRED = 0.4, 0.4
"""Value-projection product: multiple of the identity that is taken away, and of a random matrix."""

_FLOOR = 0.01
"""Variance added to every component before whitening, as a part of the mean of the leading ones: tames the noise."""


@torch.no_grad()
def structure(model: VitPose, crops: Tensor, *, seed: int = 0) -> str:
    """Replace the random start of a backbone, and say what was done.

    Args:
        model: changed in place: patch projection, positions, and attention of every block.
        crops: ``(samples, height, width, 3)`` uint8 RGB, what the model will be trained on.
        seed: what the random parts are drawn from.

    Raises:
        UsageError: a width that is not a multiple of 4, or crops without any content.
    """
    backbone, generator = model.backbone, torch.Generator().manual_seed(seed)
    whitened = ""
    if isinstance(backbone.patch_embed, torch.nn.Conv2d):
        _whiten(backbone.patch_embed, normalize(crops, torch.float32), generator)
        whitened = f"patches whitened on {len(crops)} crops, "
    backbone.pos_embed.copy_(_POSITIONS * sine_positions(backbone.spec.width, backbone.grid))
    for block in backbone.blocks:
        _mimic(cast(Block, block), generator)
    return f"{whitened}positions as sines, attention that looks near"


def _whiten(embed: torch.nn.Conv2d, images: Tensor, generator: torch.Generator) -> None:
    """Set the patch projection to rotated, whitened principal components of the patches of ``images``."""
    width, sides = embed.out_channels, (embed.kernel_size[0], embed.kernel_size[1])
    patches = F.unfold(images, sides, stride=sides).transpose(1, 2).flatten(0, 1).double()
    mean = patches.mean(dim=0)
    variances, directions = torch.linalg.eigh((patches - mean).T.cov())
    variances, directions = variances.flip(0)[:width].clamp(min=0.0), directions.flip(1)[:, :width]
    if not variances[0] > 0:
        raise UsageError("model.init = 'structured' looks at the people to train on, and all crops of theirs are blank")
    scale = (variances + _FLOOR * variances[: max(width // 5, 1)].mean()).rsqrt()
    rotation = torch.linalg.qr(torch.randn(width, directions.shape[1], dtype=torch.float64, generator=generator))[0]
    filters = _POSITIONS * rotation @ (directions * scale).T
    embed.weight.copy_(filters.reshape(embed.weight.shape))
    if embed.bias is not None:
        embed.bias.copy_(-filters @ mean)


def _mimic(block: Block, generator: torch.Generator) -> None:
    """Draw one block's attention so that ``query key'`` and ``projection value`` are near multiples of the identity."""
    width = block.proj.in_features
    each = width // block.heads
    query, key, value = block.qkv.weight.view(3, width, width).unbind(0)
    for head in range(block.heads):
        rows = slice(head * each, (head + 1) * each)
        left, right = _factors(_ALIKE, _NOISE, width, each, generator)
        query[rows].copy_(left.T)
        key[rows].copy_(right.T)
    out, inward = _factors(-_TAKEN, _STIRRED, width, width, generator)
    block.proj.weight.copy_(out)
    value.copy_(inward.T)


def _factors(identity: float, noise: float, width: int, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return two ``(width, rank)`` matrices whose product ``a b'`` is nearest to ``identity I + noise Z``."""
    wanted = identity * torch.eye(width) + noise * torch.randn(width, width, generator=generator) / math.sqrt(width)
    left, strengths, right = torch.linalg.svd(wanted)
    roots = strengths[:rank].sqrt()
    return left[:, :rank] * roots, right[:rank].T * roots
