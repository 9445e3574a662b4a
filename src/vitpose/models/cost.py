"""What a model costs: parameters, and multiply-accumulates by part.

One multiply-accumulate is one "FLOP" in the papers' tables. Counted are convolutions, linear layers and the two matrix
products of attention; norms, activations, additions and the bilinear enlargement of the simple head are not, as is
usual. Checked against the tables of Xu et al. 2022 (backbone at 256 x 192, attention at 1/8 resolution) and against
PyTorch's own counter.
"""

from dataclasses import dataclass
from math import prod

import torch

from vitpose.core.geometry import Size
from vitpose.models.attention import window_layout
from vitpose.models.pose import VitPose
from vitpose.models.variants import Attention, BackboneSpec, HeadSpec, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Number of parameters by part.

    Attributes:
        embedding: patch embedding, or the stem of convolutions, and positions. The class token's position, which other
            implementations keep although they have no class token, is folded away here, so this is ``width`` less than
            theirs.
        attention: query, key, value and output projections and the norm before them, all blocks.
        feed_forward: both layers, shared part and all experts, and the norm before them, all blocks; the final norm.
        heads: all heads.
    """

    embedding: int
    attention: int
    feed_forward: int
    heads: int

    @property
    def backbone(self) -> int:
        """All but the heads."""
        return self.embedding + self.attention + self.feed_forward

    @property
    def total(self) -> int:
        """Everything."""
        return self.backbone + self.heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Macs:
    """Multiply-accumulates for one crop by part.

    Attributes:
        patch_embed: the patch convolution, or the stem of convolutions.
        projections: query, key, value and output projections, all blocks.
        attention: scores and weighted sums, all blocks; the only part that grows with the square of the tokens.
        feed_forward: all blocks; experts cost nothing extra because one is computed.
        head: one head.
    """

    patch_embed: int
    projections: int
    attention: int
    feed_forward: int
    head: int

    @property
    def backbone(self) -> int:
        """All but the head."""
        return self.patch_embed + self.projections + self.attention + self.feed_forward

    @property
    def total(self) -> int:
        """Everything."""
        return self.backbone + self.head


def count_parameters(model: VitPose | ModelSpec) -> Parameters:
    """Count the parameters of a model, or of the model a spec describes (nothing is allocated for it)."""
    if isinstance(model, ModelSpec):
        with torch.device("meta"):
            model = VitPose(model)
    found = {"embedding": 0, "attention": 0, "feed_forward": 0, "heads": 0}
    for name, parameter in model.named_parameters():
        found[_part(name)] += parameter.numel()
    return Parameters(**found)


def _part(name: str) -> str:
    if name.startswith("heads."):
        return "heads"
    if name.startswith(("backbone.patch_embed.", "backbone.pos_embed")):
        return "embedding"
    return "attention" if any(part in name for part in (".qkv.", ".proj.", ".norm1.")) else "feed_forward"


def count_macs(spec: ModelSpec, *, input_size: Size | None = None, dataset: str | None = None) -> Macs:
    """Count the multiply-accumulates of one crop.

    Args:
        spec: the model.
        input_size: crop size in pixels; the spec's own if not given.
        dataset: whose head; the first if not given.

    Raises:
        UsageError: the model has no head for that dataset.
    """
    backbone = spec.backbone
    grid = backbone.grid(spec.input_size if input_size is None else input_size)
    tokens = prod(grid)
    return Macs(
        patch_embed=_stem_macs(backbone, tokens),
        projections=backbone.depth * tokens * 4 * backbone.width**2,
        attention=sum(_attention_macs(backbone, backbone.attention_of(block), grid) for block in range(backbone.depth)),
        feed_forward=backbone.depth * tokens * 2 * backbone.width * backbone.hidden_width,
        head=_head_macs(spec.head(dataset), backbone.width, tokens),
    )


def _stem_macs(backbone: BackboneSpec, tokens: int) -> int:
    if backbone.stem == "patches":
        return tokens * 3 * backbone.patch**2 * backbone.width
    inside, pixels = backbone.width // 8, 64 * tokens
    total = pixels * 27 * inside + tokens * backbone.width**2
    for depth in backbone.stem_depths:
        # A step doubles the channels and quarters the pixels; a unit is two convolutions through half the channels.
        pixels, outside = pixels // 4, 2 * inside
        total += pixels * 9 * (inside * outside + depth * outside**2)
        inside = outside
    return total


def _attention_macs(backbone: BackboneSpec, attention: Attention, grid: Size) -> int:
    """Scores and weighted sums of one block, padding included because it is computed."""
    if attention.kind == "full":
        return 2 * prod(grid) ** 2 * backbone.width
    window, count, _ = window_layout(attention, grid)
    seen = prod(window) + (prod(count) if "pooled" in attention.kind else 0)
    return 2 * prod(count) * prod(window) * seen * backbone.width


def _head_macs(head: HeadSpec, width: int, tokens: int) -> int:
    if head.kind == "simple":
        return 16 * tokens * width * 9 * head.keypoints
    middle = head.deconv_width
    return tokens * 16 * width * middle + 4 * tokens * 16 * middle**2 + 16 * tokens * middle * head.keypoints
