"""Masked pre-training: hide most of a picture, encode the rest, draw what was hidden (He et al. 2022, MAE).

The encoder is the ordinary ``Backbone``: ``model.backbone.load_state_dict(mae.backbone.state_dict())`` starts a pose
model from it. Choices that the papers leave open or that differ from the original:

- **Targets are what each patch really reads.** The patch convolution pads by 2 pixels (see ``vit.py``), so patch
  windows lie 2 pixels off the plain grid. Targets are cut out with the same kernel, stride and padding. With plain
  targets, visible neighbours would give away two rows and columns of every hidden patch. The padding of the first row
  and column of patches is part of their target; the last 2 rows and columns of the picture are nobody's.
- **Positions**: a new backbone starts from 2-D sines and cosines, held fixed in pre-training as in MAE (they are
  trained later, with the pose); the decoder's are always fixed.
- There is no class token, neither here nor in the pose model, and the final norm is kept (the original release starts
  it afresh).
- Patches at stride 16 and full attention only: with stride 8 or convolutions visible patches overlap hidden ones, and
  windows need the whole grid.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.models.feedforward import FeedForward
from vitpose.models.variants import Attention, BackboneSpec
from vitpose.models.vit import Backbone, Block, initialize, patch_padding


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedSpec:
    """How a picture is hidden and drawn again.

    Attributes:
        mask_ratio: part of the patches that is hidden, above 0 and below 1; at least one patch is left either way.
        width: channels of the decoder, a multiple of 4 and of ``heads``.
        depth: blocks of the decoder.
        heads: attention heads of the decoder.
        norm_targets: give every target patch mean 0 and variance 1 (better features, He et al. 2022).
    """

    mask_ratio: float = 0.75
    width: int = 512
    depth: int = 8
    heads: int = 16
    norm_targets: bool = True

    def __post_init__(self) -> None:
        """Refuse a spec no decoder can be built from.

        Raises:
            UsageError: a ratio outside 0..1, or sizes that do not divide.
        """
        if not 0 < self.mask_ratio < 1:
            raise UsageError(f"mask_ratio must be above 0 and below 1, not {self.mask_ratio}")
        if self.width % 4 or self.width % self.heads:
            raise UsageError(f"decoder width {self.width} must be a multiple of 4 and of its heads, {self.heads}")


def masked_spec_for(backbone: BackboneSpec) -> MaskedSpec:
    """Return a decoder in proportion: 512 x 8 blocks x 16 heads (He et al. 2022) from B up, smaller for S and Ti."""
    if backbone.width >= 768:
        return MaskedSpec()
    return MaskedSpec(width=256, heads=8) if backbone.width >= 384 else MaskedSpec(width=128, depth=4, heads=4)


class MaskedOutput(NamedTuple):
    """What a masked autoencoder returns.

    Attributes:
        loss: mean squared error over the pixels of hidden patches, a scalar.
        predictions: ``(batch, patches, 3 * patch * patch)``, channel by channel, in the units of the targets.
        hidden: ``(batch, patches)`` bool, True where the encoder saw nothing.
    """

    loss: Tensor
    predictions: Tensor
    hidden: Tensor


class MaskedAutoencoder(nn.Module):
    """A backbone and a small decoder for its pre-training.

    Args:
        backbone: the encoder; its weights and positions are left as they are.
        spec: mask and decoder; ``masked_spec_for`` the backbone if not given.

    Raises:
        UsageError: experts, windowed attention or stride 8, none of which can be pre-trained this way.
    """

    decoder_positions: Tensor

    def __init__(self, backbone: Backbone, spec: MaskedSpec | None = None) -> None:
        super().__init__()
        _check_backbone(backbone.spec)
        spec = masked_spec_for(backbone.spec) if spec is None else spec
        eps = backbone.spec.norm_eps
        self.spec = spec
        self.backbone = backbone
        self.decoder_embed = nn.Linear(backbone.spec.width, spec.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, spec.width))
        self.register_buffer("decoder_positions", sine_positions(spec.width, backbone.grid))
        self.decoder_blocks = nn.ModuleList(
            Block(FeedForward(spec.width, 4 * spec.width), spec.heads, Attention(), eps, 0.0) for _ in range(spec.depth)
        )
        self.decoder_norm = nn.LayerNorm(spec.width, eps=eps)
        self.decoder_out = nn.Linear(spec.width, 3 * backbone.spec.patch**2)
        for part in (self.decoder_embed, self.decoder_blocks, self.decoder_norm, self.decoder_out):
            initialize(part)
        nn.init.normal_(self.mask_token, std=0.02)

    @property
    def visible_patches(self) -> int:
        """How many patches of a picture the encoder sees: never none and never all."""
        patches = self.backbone.grid.height * self.backbone.grid.width
        return min(max(int(patches * (1 - self.spec.mask_ratio) + 1e-6), 1), patches - 1)

    def forward(self, images: Tensor, noise: Tensor | None = None) -> MaskedOutput:
        """Hide, encode, draw, compare.

        Args:
            images: ``(batch, 3, height, width)``, normalised, of the backbone's input size.
            noise: ``(batch, patches)``; the patches with the smallest numbers are seen. Random if not given: every
                sample is hidden in its own way.

        Raises:
            UsageError: wrong image size.
        """
        tokens = self.backbone.embed(images)
        if noise is None:
            noise = torch.rand(tokens.shape[:2], device=tokens.device)
        order = torch.argsort(noise, dim=1)
        seen = order[:, : self.visible_patches]
        hidden = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device).scatter(1, seen, value=False)
        visible = tokens.gather(1, seen[..., None].expand(-1, -1, tokens.shape[2]))
        predictions = self._draw(self.backbone.run_blocks(visible), order)
        error = (predictions.float() - self.targets(images)).square().mean(dim=2)
        return MaskedOutput((error * hidden).sum() / hidden.sum(), predictions, hidden)

    def targets(self, images: Tensor) -> Tensor:
        """Return what should be drawn, the windows the patches read: ``(batch, patches, pixels)`` float32."""
        spec = self.backbone.spec
        patches = F.unfold(images.float(), spec.patch, padding=patch_padding(spec), stride=spec.stride).transpose(1, 2)
        if self.spec.norm_targets:
            variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
            patches = (patches - mean) / (variance + 1e-6).sqrt()
        return patches

    def _draw(self, encoded: Tensor, order: Tensor) -> Tensor:
        """Put encoded patches back in their places, mask tokens in the others, and decode to patches of pixels."""
        known = self.decoder_embed(encoded)
        unknown = self.mask_token.expand(order.shape[0], order.shape[1] - known.shape[1], -1).to(known.dtype)
        back = torch.argsort(order, dim=1)[..., None].expand(-1, -1, known.shape[2])
        tokens = torch.cat([known, unknown], dim=1).gather(1, back) + self.decoder_positions
        for block in self.decoder_blocks:
            tokens = block(tokens, self.backbone.grid, None, 0)
        return cast(Tensor, self.decoder_out(self.decoder_norm(tokens)))


def create_masked_autoencoder(
    backbone: BackboneSpec, input_size: Size, spec: MaskedSpec | None = None
) -> MaskedAutoencoder:
    """Return a new autoencoder with random weights, whose encoder positions are fixed sines and cosines.

    Args:
        backbone: the encoder to pre-train, with ``width`` a multiple of 4.
        input_size: crop size in pixels, a multiple of the patch.
        spec: mask and decoder; ``masked_spec_for`` the backbone if not given.

    Raises:
        UsageError: a backbone that cannot be pre-trained this way.
    """
    model = MaskedAutoencoder(Backbone(backbone, Size(*input_size)), spec)
    model.backbone.pos_embed = nn.Parameter(sine_positions(backbone.width, model.backbone.grid), requires_grad=False)
    return model


def sine_positions(width: int, grid: Size) -> Tensor:
    """Return fixed 2-D positions: sines and cosines of the column, then of the row (Vaswani et al. 2017; MAE).

    Args:
        width: channels, a multiple of 4.
        grid: token grid.

    Returns:
        ``(1, tokens, width)`` float32, tokens in row order.

    Raises:
        UsageError: the width is not a multiple of 4.
    """
    if width % 4:
        raise UsageError(f"sine positions need a width that is a multiple of 4, not {width}")
    # On the CPU even where a network is only sketched (device "meta"): sketching `arange` has PyTorch load its
    # reference implementations, which takes a second and more.
    with torch.device("cpu"):
        rates = 10_000 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
        rows, columns = torch.meshgrid(torch.arange(grid.height), torch.arange(grid.width), indexing="ij")
    angles = [place.flatten()[:, None] * rates for place in (columns, rows)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)[None].float()


def _check_backbone(spec: BackboneSpec) -> None:
    if spec.experts:
        raise UsageError("masked pre-training takes a dense backbone: experts are copied from it afterwards")
    if spec.stem != "patches":
        raise UsageError("masked pre-training needs a stem of patches: convolutions look into hidden ones")
    if spec.stride != spec.patch:
        raise UsageError("masked pre-training needs patches that do not overlap: pre-train with the larger stride")
    if any(entry.kind != "full" for entry in spec.attention):
        raise UsageError("masked pre-training needs full attention: hidden patches leave holes in every window")
