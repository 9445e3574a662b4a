"""A new model that starts from an old backbone: masked pre-training, or another pose model.

This is the one place where weights are loaded in part, and it returns in words what it left out.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from vitpose.core.errors import WeightsError
from vitpose.core.geometry import Size
from vitpose.models.moe import fold_expert
from vitpose.models.pose import VitPose
from vitpose.models.variants import ModelSpec
from vitpose.weights.adapt import (
    check_finite,
    check_fit,
    check_same,
    fit_backbone,
    fold_positions,
    leave_out,
    shapes_of,
)
from vitpose.weights.formats import RawWeights
from vitpose.weights.infer import token_grid
from vitpose.weights.keymaps import IGNORED, POSITION, Layout, depth_of, rows

_FRESH_AFTER_MAE = ("backbone.norm.weight", "backbone.norm.bias")
"""The original never renames pre-training's last norm, so fine-tuning starts it at 1 and 0 (``mmcv_custom``)."""


def initialize_from_pose(model: VitPose, source: VitPose, where: str, dataset: str | None = None) -> tuple[str, ...]:
    """Copy the backbone of one pose model into another, which may have other heads, input size or experts.

    Args:
        model: changed in place; its heads stay as they are.
        source: dense, or with experts; where the numbers of experts differ, one of them counts.
        where: what ``source`` was loaded from, for messages.
        dataset: the head of ``source`` whose expert that is; the first by default.

    Returns:
        what was adapted.

    Raises:
        WeightsError: the backbones have different sizes.
    """
    old, new = source.spec.backbone, model.spec.backbone
    notes = []
    experts = (old.experts, old.expert_width)
    if experts != (new.experts, new.expert_width) and old.experts:
        notes.append(f"kept the expert of {source.spec.head(dataset).dataset}")
        source = fold_expert(source, dataset)
    state = {name: value.detach().cpu() for name, value in source.state_dict().items() if name.startswith("backbone.")}
    same = source.spec.backbone.experts == new.experts
    target = replace(new, experts=0, expert_width=0) if same else new
    _copy(model, fit_backbone(state, source.backbone.grid, target, model.backbone.grid), (), where)
    if tuple(source.backbone.grid) != tuple(model.backbone.grid):
        notes.append("resized position embeddings")
    if new.experts and not same:
        notes.append(f"copied the last rows of every fc2 to {new.experts} experts")
    return tuple(notes)


def initialize_from_mae(model: VitPose, raw: RawWeights, layout: Layout) -> tuple[str, ...]:
    """Copy a backbone from masked pre-training into a pose model, as the original does before fine-tuning.

    Positions are resized bicubically from their square grid, a patch kernel of 14 pixels gets a border of zeros, the
    last rows of every ``fc2`` go to all experts, the last norm starts fresh.

    Args:
        model: changed in place; its heads stay as they are.
        raw: the file.
        layout: what its names are.

    Returns:
        what was left out.

    Raises:
        WeightsError: another size of backbone, or missing, unknown or not finite tensors.
    """
    where = str(raw.path)
    dense = replace(model.spec.backbone, experts=0, expert_width=0, depth=depth_of(raw.tensors))
    spec = ModelSpec(name="", backbone=dense, heads=model.spec.heads[:1], input_size=model.spec.input_size)
    spec = replace(spec, heads=(replace(spec.heads[0], expert=0),))
    table = {row.theirs[0]: row.ours for row in rows(layout, spec)}
    notes, dropped = leave_out(raw.tensors, set(table), IGNORED[layout])
    check_fit(
        missing=[name for name in table if name not in raw.tensors],
        unexpected=[name for name in raw.tensors if name not in table and name not in dropped],
        wrong=[],
        where=where,
    )
    state = {ours: raw.tensors[name].to(torch.float32) for name, ours in table.items()}
    check_finite(state, where)
    state[POSITION], grid = _positions(state, where)
    _copy(model, fit_backbone(state, grid, model.spec.backbone, model.backbone.grid), _FRESH_AFTER_MAE, where)
    return notes


def _positions(state: Mapping[str, Tensor], where: str) -> tuple[Tensor, Size]:
    """Return positions without the class token's row, and their grid."""
    positions = state[POSITION]
    found = token_grid(positions.shape[1]) if positions.ndim == 3 else None
    if found is None:
        raise WeightsError(
            f"{where} has position embeddings of shape {tuple(positions.shape)}, which fit no grid of tokens"
        )
    grid, extra = found
    return fold_positions(positions) if extra else positions, grid


def _copy(model: VitPose, state: Mapping[str, Tensor], fresh: tuple[str, ...], where: str) -> None:
    """Load the backbone, all of it but ``fresh``, or refuse."""
    mine = {name: value for name, value in model.state_dict().items() if name.startswith("backbone.")}
    kinds = {"backbone.patch_embed.weight" in names for names in (mine, state)}
    if len(kinds) > 1:
        raise WeightsError(
            f"the model and {where} differ in their stems, patches and convolutions: set model.backbone.stem to that of"
            " the weights, or start from others"
        )
    check_same(shapes_of(state), shapes_of(mine), where, fresh=fresh)
    with torch.no_grad():
        for name, value in state.items():
            mine[name].copy_(value)
