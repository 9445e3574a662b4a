"""The backbone: a plain vision transformer without a class token (Dosovitskiy et al. 2021; Xu et al. 2022).

Two oddities of the published weights are kept because they need them:

- The patch convolution pads by an eighth of the patch (2 pixels), so every patch lies 2 pixels up and left of the plain
  grid and the last 2 rows and columns of the crop are never read. The padding is 0 *after* normalisation: mean grey.
- Training added a class-token position to every token. Here that row is already part of ``pos_embed``.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vitpose.core.errors import UsageError, nearest
from vitpose.core.geometry import Size
from vitpose.models.attention import attend, window_mask
from vitpose.models.convolutions import ConvStem, initialize_convolutions
from vitpose.models.feedforward import FeedForward, Plan, check_expert, sort_by_expert
from vitpose.models.variants import Attention, BackboneSpec


class BackboneOutput(NamedTuple):
    """What a backbone returns (a named tuple, for compilers and exporters flatten those by themselves).

    Attributes:
        features: ``(batch, width, grid height, grid width)``, patch tokens after the final norm.
        tokens: ``(batch, tokens, width)`` after the final norm: the patches in row order, then any extra tokens.
        intermediates: the ``(batch, tokens, width)`` asked for by name.
    """

    features: Tensor
    tokens: Tensor
    intermediates: dict[str, Tensor]


def drop_path(update: Tensor, rate: float) -> Tensor:
    """Zero a residual update for whole samples with probability ``rate``, and scale the others to the same mean.

    Stochastic depth (Huang et al. 2016).

    Args:
        update: ``(batch, tokens, channels)``.
        rate: probability in 0..1, below 1.
    """
    keep = update.new_empty(update.shape[0], 1, 1).bernoulli_(1 - rate)
    return update * keep.div_(1 - rate)


def add_to_some(tokens: Tensor, branch: Callable[[Tensor], Tensor], rate: float) -> Tensor:
    """Add the residual update ``branch(tokens)`` with ``drop_path``'s law, computed for the samples that keep it only.

    With the rates of the large models that saves a quarter of a training step. Which samples keep it is drawn on the
    CPU, so that no device waits for an answer.

    Args:
        tokens: ``(batch, tokens, channels)``.
        branch: maps any samples to their updates, each by itself.
        rate: probability in 0..1, below 1.
    """
    kept, scale = torch.nonzero(torch.rand(tokens.shape[0]) >= rate).flatten(), 1 / (1 - rate)
    if len(kept) == len(tokens):
        return tokens + branch(tokens) * scale
    if not len(kept):
        # One sample is computed for nothing: processes that train together wait for every weight's gradient.
        kept, scale = kept.new_zeros(1), 0.0
    kept = kept.to(tokens.device)
    return tokens.index_add(0, kept, (branch(tokens[kept]) * scale).to(tokens.dtype))


class Block(nn.Module):
    """One pre-norm transformer block.

    Args:
        feed_forward: the second half; tells the width, too.
        heads: attention heads.
        attention: who sees whom.
        norm_eps: epsilon of both layer norms.
        drop_rate: probability that a half is skipped for a sample in training.
    """

    def __init__(
        self,
        feed_forward: FeedForward,
        heads: int,
        attention: Attention,
        norm_eps: float,
        drop_rate: float,
    ) -> None:
        super().__init__()
        width = feed_forward.fc1.in_features
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.ffn = feed_forward
        self.heads = heads
        self.attention = attention
        self.drop_rate = drop_rate

    def forward(self, tokens: Tensor, grid: Size, mask: Tensor | None, plan: Plan) -> Tensor:
        """Map ``(batch, tokens, width)`` to the same shape.

        Args:
            tokens: patches in row order; ``full`` attention takes any number of tokens.
            grid: token grid.
            mask: what ``window_mask`` gave for this block's attention.
            plan: which expert serves which rows.
        """

        def look(some: Tensor) -> Tensor:
            seen: Tensor = self.proj(attend(self.qkv(self.norm1(some)), self.heads, self.attention, grid, mask))
            return seen

        def think(some: Tensor) -> Tensor:
            done: Tensor = self.ffn(self.norm2(some), plan)
            return done

        # A compiler would compile every number of samples anew, and rows of several experts are counted for the batch.
        whole = torch.compiler.is_compiling() or not isinstance(plan, int)
        return self._add(self._add(tokens, look, whole=whole), think, whole=whole)

    def _add(self, tokens: Tensor, branch: Callable[[Tensor], Tensor], *, whole: bool) -> Tensor:
        if not self.training or self.drop_rate == 0:
            return tokens + branch(tokens)
        if whole:
            return tokens + drop_path(branch(tokens), self.drop_rate)
        return add_to_some(tokens, branch, self.drop_rate)


class Backbone(nn.Module):
    """The transformer: crops in, a feature map out.

    Args:
        spec: what it is made of.
        input_size: crop size in pixels.
    """

    def __init__(self, spec: BackboneSpec, input_size: Size) -> None:
        super().__init__()
        self.spec = spec
        self.input_size = Size(*input_size)
        self.grid = spec.grid(self.input_size)
        self.checkpointing = False
        self.patch_embed: nn.Conv2d | ConvStem = (
            ConvStem(spec.width, spec.stem_depths)
            if spec.stem == "convolutions"
            else nn.Conv2d(3, spec.width, spec.patch, spec.stride, padding=patch_padding(spec))
        )
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid.height * self.grid.width, spec.width))
        self.blocks = nn.ModuleList(
            Block(
                FeedForward.of(spec),
                spec.heads,
                spec.attention_of(index),
                spec.norm_eps,
                spec.drop_path * index / max(spec.depth - 1, 1),
            )
            for index in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.width, eps=spec.norm_eps)
        initialize(self)
        if isinstance(self.patch_embed, ConvStem):
            initialize_convolutions(self.patch_embed)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def set_checkpointing(self, enabled: bool) -> None:
        """Choose whether training keeps the blocks' activations or computes them again.

        Again is slower by a third and takes far less memory. Those of a stem of convolutions are kept either way: its
        batch norms would count what they see twice.
        """
        self.checkpointing = enabled

    def forward(
        self,
        images: Tensor,
        expert: int | Tensor = 0,
        extra_tokens: Tensor | None = None,
        intermediates: Collection[str] = (),
    ) -> BackboneOutput:
        """Compute features.

        Args:
            images: ``(batch, 3, height, width)``, normalised, of exactly ``input_size``.
            expert: the expert of all samples, or ``(batch,)`` integer, one a sample; a dense backbone has
                number 0 only.
            extra_tokens: ``(batch or 1, extra, width)``, appended after the patches (distillation tokens).
            intermediates: what else to return: ``embed``, ``block.0`` and so on, ``norm``.

        Raises:
            UsageError: wrong image size, an expert or a name that is not there, extra tokens with windowed attention.
        """
        self._check_names(intermediates)
        order, plan = self._plan(expert, images.shape[0])
        tokens = self.embed(images)
        if extra_tokens is not None:
            tokens = self._append(tokens, extra_tokens)
        tokens = tokens if order is None else tokens[order]
        back = None if order is None else torch.argsort(order)
        found: dict[str, Tensor] = {}
        tokens = self.run_blocks(tokens, plan, found, intermediates)
        if back is not None:
            tokens, found = tokens[back], {name: value[back] for name, value in found.items()}
        patches = tokens[:, : self.grid.height * self.grid.width]
        features = torch.unflatten(patches.transpose(1, 2), 2, tuple(self.grid))
        return BackboneOutput(features, tokens, found)

    def embed(self, images: Tensor) -> Tensor:
        """Return ``(batch, patches, width)`` tokens with positions of ``(batch, 3, height, width)`` normalised images.

        Raises:
            UsageError: the images are not of ``input_size``.
        """
        if images.ndim != 4 or (images.shape[2], images.shape[3]) != (self.input_size[0], self.input_size[1]):
            raise UsageError(
                f"the model takes images of shape (batch, 3, {self.input_size.height}, {self.input_size.width}), not "
                f"{tuple(images.shape)}: crop to that size, or get a model for yours with resized(input_size)"
            )
        return cast(Tensor, self.patch_embed(images)).flatten(2).transpose(1, 2) + self.pos_embed

    def run_blocks(
        self, tokens: Tensor, plan: Plan = 0, found: dict[str, Tensor] | None = None, wanted: Collection[str] = ()
    ) -> Tensor:
        """Run all blocks and the final norm on ``(batch, tokens, width)``.

        Args:
            tokens: embedded patches in row order; with full attention throughout, any subset or superset.
            plan: which expert serves which rows.
            found: receives the intermediates named in ``wanted``.
            wanted: ``embed``, ``block.0`` and so on, ``norm``.
        """
        found = {} if found is None else found
        masks = {entry: window_mask(entry, self.grid, tokens.device) for entry in self.spec.attention}
        again = self.checkpointing and self.training and torch.is_grad_enabled()
        if "embed" in wanted:
            found["embed"] = tokens
        for index, block in enumerate(self.blocks):
            mask = masks[self.spec.attention_of(index)]
            if again:
                tokens = checkpoint(block, tokens, self.grid, mask, plan, use_reentrant=False)
            else:
                tokens = block(tokens, self.grid, mask, plan)
            if f"block.{index}" in wanted:
                found[f"block.{index}"] = tokens
        tokens = self.norm(tokens)
        if "norm" in wanted:
            found["norm"] = tokens
        return tokens

    def _plan(self, expert: int | Tensor, batch: int) -> tuple[Tensor | None, Plan]:
        if isinstance(expert, int):
            return None, check_expert(expert, self.spec.experts)
        if expert.shape != (batch,):
            raise UsageError(f"expert has shape {tuple(expert.shape)} for a batch of {batch}: give one number a sample")
        order, rows = sort_by_expert(expert, self.spec.experts)
        return (None, rows[0][0]) if len(rows) == 1 else (order, rows)

    def _append(self, tokens: Tensor, extra: Tensor) -> Tensor:
        if any(entry.kind != "full" for entry in self.spec.attention):
            raise UsageError("extra tokens need full attention in every block: windows have no place for them")
        if extra.ndim != 3 or extra.shape[0] not in (1, tokens.shape[0]) or extra.shape[2] != tokens.shape[2]:
            raise UsageError(
                f"extra tokens must be ({tokens.shape[0]} or 1, any, {tokens.shape[2]}), not {tuple(extra.shape)}"
            )
        return torch.cat([tokens, extra.expand(tokens.shape[0], -1, -1).to(tokens.dtype)], dim=1)

    def _check_names(self, names: Collection[str]) -> None:
        known = ["embed", *(f"block.{index}" for index in range(len(self.blocks))), "norm"]
        for name in names:
            if name not in known:
                raise UsageError(f"the backbone has no intermediate {name!r}{nearest(name, known)}")


def patch_padding(spec: BackboneSpec) -> int:
    """Return the padding of the patch convolution in pixels.

    With stride 16 it is 2 and with stride 8 it is 4, as in the original release; other patches follow in proportion.
    Either way the grid is exactly the input divided by the stride.
    """
    return spec.patch // 8 if spec.stride == spec.patch else -(-spec.patch // 4)


def initialize(module: nn.Module) -> None:
    """Draw all weights inside: linear layers and convolutions normal with std 0.02, biases 0, norms 1 and 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def resize_positions(positions: Tensor, old_grid: Size, new_grid: Size) -> Tensor:
    """Fit position embeddings to another token grid, bicubic, as when the originals were fine-tuned from 224 x 224.

    Args:
        positions: ``(1, tokens, width)``, row order, no class token.
        old_grid: the grid they were made for.
        new_grid: the grid wanted.

    Returns:
        ``(1, new tokens, width)`` of the same type; the input itself if the grids are equal.

    Raises:
        UsageError: the number of tokens is not that of ``old_grid``.
    """
    tokens = old_grid[0] * old_grid[1]
    if positions.ndim != 3 or positions.shape[1] != tokens:
        raise UsageError(
            f"position embeddings of shape {tuple(positions.shape)} do not fit a grid of "
            f"{old_grid[0]} x {old_grid[1]}, which has {tokens} tokens (fold or drop the class token's row first)"
        )
    if tuple(old_grid) == tuple(new_grid):
        return positions
    picture = torch.unflatten(positions.float().transpose(1, 2), 2, tuple(old_grid))
    picture = F.interpolate(picture, size=tuple(new_grid), mode="bicubic", align_corners=False)
    return picture.flatten(2).transpose(1, 2).to(positions.dtype)
