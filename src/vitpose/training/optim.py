"""Which parameters learn, how fast, and when: freezing, groups with layer-wise decay, optimisers and the schedule.

The layer-wise rule is the one of the ViTPose release (after BEiT, Bao et al. 2022): with ``n = depth + 2`` layers,
layer ``i`` learns at ``decay ** (n - 1 - i)``; the embeddings are layer 0, block ``b`` is layer ``b + 1``, and the last
norm and the heads are layer ``n - 1``.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from vitpose.core.errors import UsageError
from vitpose.training.config import OptimConfig, ScheduleConfig

_BLOCK = re.compile(r"(?:^|\.)backbone\.blocks\.(\d+)\.")
_EMBEDDING = re.compile(r"(?:^|\.)backbone\.(?:pos_embed|patch_embed|cls_token|mask_token)(?:\.|$)")
_ATTENTION = re.compile(r"(?:^|\.)backbone\.blocks\.\d+\.(?:norm1|qkv|proj)\.")
_FFN = re.compile(r"(?:^|\.)backbone\.blocks\.\d+\.(?:norm2|ffn)\.")


def layer_of(name: str, depth: int) -> int:
    """Return the layer number of a parameter for layer-wise decay.

    Args:
        name: the parameter's name in the model, with or without something in front of ``backbone.``.
        depth: number of blocks of the backbone.
    """
    block = _BLOCK.search(name)
    if block:
        return int(block.group(1)) + 1
    return 0 if _EMBEDDING.search(name) else depth + 1


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Say whether weight decay applies: not to vectors, biases and position embeddings."""
    return parameter.ndim > 1 and not name.endswith((".bias", "pos_embed"))


def is_frozen(name: str, config: OptimConfig) -> bool:
    """Say whether the configuration keeps a parameter as it is."""
    block = _BLOCK.search(name)
    embedding = _EMBEDDING.search(name) is not None
    return (
        (config.freeze_attention and _ATTENTION.search(name) is not None)
        or (config.freeze_ffn and (embedding or _FFN.search(name) is not None))
        or (
            config.freeze_blocks > 0
            and (embedding or (block is not None and int(block.group(1)) < config.freeze_blocks))
        )
    )


def freeze(model: nn.Module, config: OptimConfig) -> tuple[str, ...]:
    """Stop gradients to what the configuration freezes, and return the names.

    Raises:
        UsageError: nothing would be left to train, or more blocks are to be frozen than there are.
    """
    depth = 1 + max(
        (int(found.group(1)) for name, _ in model.named_parameters() if (found := _BLOCK.search(name))), default=-1
    )
    if config.freeze_blocks > depth:
        raise UsageError(f"optim.freeze_blocks is {config.freeze_blocks}, and the backbone has {depth} blocks")
    frozen = []
    for name, parameter in model.named_parameters():
        if is_frozen(name, config):
            parameter.requires_grad = False
            frozen.append(name)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError("optim freezes every parameter: nothing is left to train")
    return tuple(frozen)


def train_mode(model: nn.Module) -> None:
    """Put the model in training mode, except modules whose own parameters are all frozen: they stay as at inference."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=True))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def parameter_groups(model: nn.Module, config: OptimConfig, depth: int) -> list[dict[str, Any]]:
    """Return groups of parameters; each carries ``lr_scale``, its factor on the schedule's learning rate.

    Groups whose ``muon`` is true are the matrices that Muon trains, if the configuration asks for it.

    Args:
        model: what is trained; frozen parameters are left out.
        config: rates and decays.
        depth: number of blocks of the backbone.
    """
    groups: dict[tuple[int, bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer, decay = layer_of(name, depth), decays(name, parameter)
        muon = config.kind == "muon" and parameter.ndim == 2 and _BLOCK.search(name) is not None
        scale = config.layer_decay ** (depth + 1 - layer) * (config.muon_lr / config.lr if muon else 1.0)
        group = groups.setdefault(
            (layer, decay, muon),
            {
                "params": [],
                "names": [],
                "layer": layer,
                "muon": muon,
                "lr_scale": scale,
                "lr": config.lr * scale,
                "weight_decay": config.weight_decay if decay else 0.0,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return [groups[key] for key in sorted(groups)]


class Together(torch.optim.Optimizer):
    """Several optimisers that step as one; their groups are shared, so that one loop sets all learning rates.

    Args:
        parts: optimisers of different parameters.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override] # no closure is ever given
        """Let every part do its step."""
        for part in self.parts:
            part.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every part."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of every part; see ``state_dict``."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def make_optimizer(model: nn.Module, config: OptimConfig, depth: int) -> torch.optim.Optimizer:
    """Return the optimiser over the trainable parameters; AdamW's fused kernel where the device has one."""
    groups = parameter_groups(model, config, depth)
    matrices = [group for group in groups if group["muon"]]
    others = [group for group in groups if not group["muon"]]
    devices = {parameter.device.type for group in others for parameter in group["params"]}
    fused = devices <= {"cpu", "cuda"}
    adamw = torch.optim.AdamW(others, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused) if others else None
    # By "original" an update of unit spectral norm is scaled by sqrt(max(1, rows / columns)).
    muon = torch.optim.Muon(matrices, lr=config.muon_lr, adjust_lr_fn="original") if matrices else None
    parts = [part for part in (adamw, muon) if part is not None]
    return parts[0] if len(parts) == 1 else Together(*parts)


def lr_factor(step: int, steps_per_epoch: int, config: ScheduleConfig) -> float:
    """Return the schedule's factor for step number ``step`` (from 0): warm-up times the rest.

    A function of the step alone, so that nothing about it has to be saved.
    """
    if config.kind == "step":
        epoch = step // steps_per_epoch
        factor = config.gamma ** sum(epoch >= milestone for milestone in config.milestones)
    elif config.kind == "cosine":
        total = max(config.epochs * steps_per_epoch - config.warmup_steps, 1)
        progress = min(max(step - config.warmup_steps, 0) / total, 1.0)
        factor = config.floor + (1 - config.floor) * (1 + math.cos(math.pi * progress)) / 2
    else:
        factor = 1.0
    if step < config.warmup_steps:
        factor *= 1 - (1 - step / config.warmup_steps) * (1 - config.warmup_ratio)
    return factor


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group the learning rate ``lr`` times its layer's factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def trainable(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters that learn."""
    return (parameter for parameter in model.parameters() if parameter.requires_grad)
