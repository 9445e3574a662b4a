"""Small models whose weights are large enough that a wrong one shows."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vitpose.core.geometry import Size
from vitpose.models.pose import VitPose
from vitpose.models.variants import PLUS_HEADS, BackboneSpec, HeadSpec, ModelSpec

BACKBONE = BackboneSpec(width=32, depth=3, heads=4)
HEAD = HeadSpec(dataset="coco", skeleton="coco17", keypoints=17, deconv_width=16)


def small_spec(*, heads: tuple[HeadSpec, ...] = (HEAD,), size: Size = Size(64, 48), **backbone: Any) -> ModelSpec:
    return ModelSpec(name="small", backbone=replace(BACKBONE, **backbone), heads=heads, input_size=size)


def small_plus() -> ModelSpec:
    heads = tuple(replace(head, deconv_width=16) for head in PLUS_HEADS)
    return small_spec(heads=heads, experts=6, expert_width=8)


def scatter(module: nn.Module, seed: int = 0) -> None:
    """Fill all parameters and statistics with numbers of ordinary size.

    New heads have weights of 0.001 and their outputs agree to 1e-6 whatever the backbone does.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * (value[0].numel() ** -0.5))
                if name.endswith("running_var"):
                    value.abs_().add_(0.5)


def small_model(spec: ModelSpec | None = None, *, seed: int = 0, **parts: Any) -> VitPose:
    """A model in evaluation mode with weights of ordinary size."""
    model = VitPose(small_spec(**parts) if spec is None else spec)
    scatter(model, seed)
    return model.eval()


def pictures(batch: int = 2, size: Size = Size(64, 48), seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))
