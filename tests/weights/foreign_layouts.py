"""Checkpoints in other people's layouts, written out of our models by rules of their own.

Independent of ``vitpose.weights.keymaps`` on purpose: what is written here by string replacement has to come back
through the table there.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vitpose.core.geometry import Size
from vitpose.models.pose import VitPose
from vitpose.models.variants import PLUS_HEADS, BackboneSpec, HeadSpec, ModelSpec

SIZE = Size(64, 48)
TINY = BackboneSpec(width=192, depth=2, heads=3, drop_path=0.1)
COCO = HeadSpec(dataset="coco", skeleton="coco17", keypoints=17)
SIMPLE = replace(COCO, kind="simple")

State = dict[str, Tensor]


def tiny_spec(*heads: HeadSpec, size: Size = SIZE, experts: int = 0) -> ModelSpec:
    backbone = replace(TINY, experts=experts, expert_width=48 if experts else 0)
    return ModelSpec(name="tiny", backbone=backbone, heads=heads or (COCO,), input_size=size)


def tiny_plus() -> ModelSpec:
    return tiny_spec(*PLUS_HEADS, experts=6)


def random_model(spec: ModelSpec, seed: int = 0) -> VitPose:
    """A model none of whose numbers is trivial: batch norm statistics and biases included."""
    model = VitPose(spec).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.is_floating_point():
                spread = 0.3 if value.ndim < 2 else value[0].numel() ** -0.5
                value.copy_(torch.randn(value.shape, generator=generator) * spread)
            else:
                value.fill_(7)
    return model


def pictures(size: Size = SIZE, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def heatmaps(model: VitPose, dataset: str | None = None, images: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return model(pictures(model.spec.input_size) if images is None else images, dataset)


_HEAD = {
    "deconv1": "deconv_layers.0",
    "bn1": "deconv_layers.1",
    "deconv2": "deconv_layers.3",
    "bn2": "deconv_layers.4",
    "out": "final_layer",
}


def _with_row(positions: Tensor, seed: int = 5) -> Tensor:
    """Take a random vector out of all positions and put it where the original keeps it: in row 0."""
    row = torch.randn(1, 1, positions.shape[2], generator=torch.Generator().manual_seed(seed))
    return torch.cat([row, positions - row], dim=1)


def original(model: VitPose) -> State:
    """mmpose 0.x: also ViTPose+ unsplit, and several heads without experts."""
    order = [head.dataset for head in model.spec.heads]
    found = {"backbone.cls_token": torch.zeros(1, 1, model.spec.backbone.width)}
    for name, value in model.state_dict().items():
        if name.startswith("heads."):
            _, dataset, part, kind = name.split(".")
            slot = order.index(dataset)
            head = "keypoint_head" if slot == 0 else f"associate_keypoint_heads.{slot - 1}"
            found[f"{head}.{_HEAD[part]}.{kind}"] = value
            continue
        new = name.replace(".ffn.", ".mlp.").replace(".qkv.", ".attn.qkv.").replace(".proj.", ".attn.proj.")
        new = new.replace("patch_embed.", "patch_embed.proj.").replace("backbone.norm.", "backbone.last_norm.")
        found[new] = _with_row(value) if new == "backbone.pos_embed" else value
    return {name: value.clone() for name, value in found.items()}


def split(state: Mapping[str, Tensor], target: int, *, forgetful: bool) -> State:
    """What the original's splitter makes of an unsplit ViTPose+ file for dataset number ``target``."""
    found = dict(state)
    for name in state:
        if ".mlp.fc2." in name:
            expert = state[name.replace("fc2.", f"experts.{target}.")]
            found[name] = torch.cat([state[name], expert])
    if target:
        for name in state:
            if name.startswith("keypoint_head."):
                found[name] = state[name.replace("keypoint_head", f"associate_keypoint_heads.{target - 1}")]
    if forgetful:
        return found
    return {name: value for name, value in found.items() if "associate" not in name and "experts" not in name}


def mmpose(model: VitPose, *, unconverted: bool = False) -> State:
    """mmpose 1.x: dense, one head."""
    found = {}
    for name, value in model.state_dict().items():
        if name.startswith("heads."):
            _, _, part, kind = name.split(".")
            found[f"head.{_HEAD[part]}.{kind}"] = value
            continue
        new = name.replace(".blocks.", ".layers.").replace(".norm1.", ".ln1.").replace(".norm2.", ".ln2.")
        new = (
            new.replace(".qkv.", ".attn.qkv.")
            .replace(".proj.", ".attn.proj.")
            .replace("backbone.norm.", "backbone.ln1.")
        )
        new = new.replace(".ffn.fc1.", ".ffn.layers.0.0.").replace(".ffn.fc2.", ".ffn.layers.1.")
        new = new.replace("patch_embed.", "patch_embed.projection.")
        found[new] = _with_row(value) if unconverted and new == "backbone.pos_embed" else value
    return {name: value.clone() for name, value in found.items()}


def pre_trained(model: VitPose, *, side: int = 14, patch: int = 16) -> State:
    """A backbone from masked pre-training with that of ``model``, but another grid and patch, and a decoder."""
    backbone = {n.removeprefix("backbone."): v for n, v in original(model).items() if n.startswith("backbone.")}
    found = {re.sub("^last_norm", "norm", name): value for name, value in backbone.items()}
    generator = torch.Generator().manual_seed(9)
    width = model.spec.backbone.width
    found["pos_embed"] = torch.randn(1, side * side + 1, width, generator=generator)
    found["pos_embed"][:, 0] = 0
    border = (16 - patch) // 2
    kernel = found["patch_embed.proj.weight"]
    found["patch_embed.proj.weight"] = kernel[..., border : 16 - border, border : 16 - border].contiguous()
    extra = {"mask_token": (1, 1, 8), "decoder_embed.weight": (8, width), "decoder_blocks.0.norm1.weight": (8,)}
    return found | {name: torch.zeros(shape) for name, shape in extra.items()}


def write(path: Path, state: Mapping[str, Tensor], wrapper: str | None = "state_dict") -> Path:
    content = dict(state) if wrapper is None else {wrapper: dict(state), "meta": {"epoch": 210}}
    torch.save(content, path)
    return path
