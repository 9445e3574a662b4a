"""A tiny model of two heads and experts whose answers are large enough to compare, and pictures for it."""

import numpy as np
import torch

from vitpose.core.geometry import Size
from vitpose.engines.gate import Limits
from vitpose.models.pose import VitPose, create_model
from vitpose.models.variants import BackboneSpec, HeadSpec, ModelSpec

SPEC = ModelSpec(
    name="tiny",
    backbone=BackboneSpec(width=32, depth=2, heads=2, experts=2, expert_width=8),
    heads=(
        HeadSpec(dataset="coco", skeleton="coco17", keypoints=17, deconv_width=16),
        HeadSpec(dataset="aic", skeleton="aic14", keypoints=14, codec="msra", maps="places", expert=1, kind="simple"),
    ),
    input_size=Size(64, 48),
)

FREE = Limits(p50=1e9, p99=1e9, keypoint_p50=1e9, oks=1e9)
"""Random weights answer with noise, whose maximum may move anywhere when it is rounded."""


def tiny_model(spec: ModelSpec = SPEC) -> VitPose:
    model = create_model(spec, seed=0).eval()
    with torch.no_grad():
        for parameter in model.heads.parameters():
            # Fresh heads answer almost nothing; differences would drown below any tolerance.
            parameter.mul_(30 if parameter.ndim > 1 else 1)
    return model


def tiny_crops(people: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures."""
    coarse = np.random.default_rng(seed).integers(0, 256, (people, 8, 6, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)
