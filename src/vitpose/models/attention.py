"""Five ways to attend over a grid of tokens, all with the same weights.

``full`` lets every token see every token. ``window`` cuts the grid into windows that see only themselves, ``shifted``
the same with the windows moved by half a window (Liu et al. 2021, Swin: cyclic shift and mask), ``pooled`` adds one
average token of every window to the keys and values of all windows (Xu et al. 2022, ViTPose, the ablation of attention
at 1/8 of the picture's resolution: full attention is costly, windows alone lose accuracy, shifting and pooling win most
of it back).

The original release holds no code for the last four, so these choices are ours:

- A grid that is no multiple of the window is padded below and on the right, after the projection; padding is never
  seen.
- A window longer than the grid is cut to it, and an axis with one window is not shifted: that is full attention.
- The averages are those of keys and values over real tokens. That equals projecting the average token, for the
  projection is linear. They are always taken over the *unshifted* windows: a shifted window that wraps around holds
  tokens from opposite borders, whose average means nothing.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vitpose.core.geometry import Size
from vitpose.models.variants import Attention, AttentionKind

_LONGEST_UNFUSED = 512
"""Tokens up to which attention is taken apart where that is faster, see ``_see``."""


def alternate(kind: AttentionKind, window: Size, depth: int) -> tuple[Attention, ...]:
    """Return the attention of every block of a model: with a shifted kind, every second block shifts.

    Args:
        kind: what the odd blocks do (0-based); the even blocks do the same without the shift.
        window: window size in tokens.
        depth: number of blocks.
    """
    still: dict[AttentionKind, AttentionKind] = {"shifted": "window", "shifted+pooled": "pooled"}
    pair = (still.get(kind, kind), kind)
    return tuple(Attention(kind=pair[block % 2], window=Size(*window)) for block in range(depth))


def window_layout(attention: Attention, grid: Size) -> tuple[Size, Size, Size]:
    """Return window, number of windows and shift in tokens that ``attention`` comes to on ``grid``.

    Returns:
        the window cut to the grid, how many windows cover the grid down and across, and the shift, which is 0 along an
        axis that one window covers.
    """
    window = Size(min(attention.window[0], grid.height), min(attention.window[1], grid.width))
    count = Size(-(-grid.height // window.height), -(-grid.width // window.width))
    moves = "shifted" in attention.kind
    shift = Size(
        window.height // 2 if moves and count.height > 1 else 0, window.width // 2 if moves and count.width > 1 else 0
    )
    return window, count, shift


def window_mask(attention: Attention, grid: Size, device: torch.device) -> Tensor | None:
    """Return who may see whom inside each window, or None where everybody may.

    Two tokens see each other if both are real and neither or both have wrapped around a border. Padding sees only
    padding, so that no row is empty.

    Returns:
        ``(windows, tokens, tokens)`` bool, tokens of one window, True where the second is visible to the first.
    """
    window, count, shift = window_layout(attention, grid)
    padded = Size(window.height * count.height, window.width * count.width)
    if attention.kind == "full" or (padded == grid and not any(shift)):
        return None
    down, across = (torch.arange(length, device=device) for length in padded)
    real = (down < grid.height)[:, None] & (across < grid.width)[None, :]
    wrapped = 2 * (down < shift.height).long()[:, None] + (across < shift.width).long()[None, :]
    region = torch.roll(torch.where(real, wrapped, -1), (-shift.height, -shift.width), dims=(0, 1))
    region = _partition(region[None, :, :, None], window, count)[0, :, :, 0]
    return region[:, :, None] == region[:, None, :]


def attend(qkv: Tensor, heads: int, attention: Attention, grid: Size, mask: Tensor | None) -> Tensor:
    """Let tokens look at each other.

    Args:
        qkv: ``(batch, tokens, 3 * channels)``: queries, keys and values. With ``full`` there may be more or fewer
            tokens than the grid has; the other kinds need exactly the grid, in row order.
        heads: number of heads.
        attention: who sees whom.
        grid: token grid.
        mask: what ``window_mask`` gave for this attention and grid.

    Returns:
        ``(batch, tokens, channels)``.
    """
    if attention.kind == "full":
        query, key, value = torch.unflatten(qkv, 2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        return _see(query, key, value, None).transpose(1, 2).flatten(2)
    window, count, shift = window_layout(attention, grid)
    below, right = (number * side - length for number, side, length in zip(count, window, grid, strict=True))
    picture = F.pad(torch.unflatten(qkv, 1, tuple(grid)), (0, 0, 0, right, 0, below))
    moved = torch.roll(picture, (-shift.height, -shift.width), dims=(1, 2)) if any(shift) else picture
    # Windows and heads share one axis: the fused kernels take four axes, and one mask does for the whole batch.
    windows = torch.unflatten(_partition(moved, window, count), 3, (3, heads, -1))
    query, key, value = windows.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
    if "pooled" in attention.kind:
        extra = _pool(picture, heads, window, count, grid)
        key, value = (torch.cat(pair, dim=2) for pair in zip((key, value), extra, strict=True))
        mask = None if mask is None else F.pad(mask, (0, count.height * count.width), value=True)
    if mask is not None:
        mask = mask.repeat_interleave(heads, dim=0)[None]
    seen = _see(query, key, value, mask)
    seen = torch.unflatten(seen, 1, (-1, heads)).transpose(2, 3).flatten(3)
    seen = _join(seen, window, count)
    seen = torch.roll(seen, tuple(shift), dims=(1, 2)) if any(shift) else seen
    return seen[:, : grid.height, : grid.width].flatten(1, 2)


def _see(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Return what ``(batch, heads, tokens, channels)`` queries see.

    The fused kernel, except in bf16 training on a CPU: backwards it takes there up to five times as long as the two
    matrix products it stands for. Their weights are kept for the backward pass, so longer sequences stay fused.
    """
    slow = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad
    if not slow or key.shape[-2] > _LONGEST_UNFUSED:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    scores = scores if mask is None else scores.masked_fill(~mask, float("-inf"))
    with torch.autocast("cpu", enabled=False):  # it would copy the scores to float32, which softmax adds up in anyway
        weights = scores.softmax(dim=-1)
    seen: Tensor = weights @ value
    return seen


def _partition(picture: Tensor, window: Size, count: Size) -> Tensor:
    """Cut ``(batch, rows, columns, channels)`` into ``(batch, windows, tokens, channels)``."""
    cut = torch.unflatten(picture, 2, (count.width, window.width))
    cut = torch.unflatten(cut, 1, (count.height, window.height))
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _join(windows: Tensor, window: Size, count: Size) -> Tensor:
    """Undo ``_partition``."""
    cut = torch.unflatten(torch.unflatten(windows, 2, tuple(window)), 1, tuple(count))
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _pool(picture: Tensor, heads: int, window: Size, count: Size, grid: Size) -> Tensor:
    """Return keys and values of the average tokens: ``(2, batch, windows * heads, windows, channels of a head)``."""
    total = _partition(picture, window, count).sum(dim=2)
    rows, columns = (
        (length - side * torch.arange(number, device=picture.device)).clamp(max=side)
        for length, side, number in zip(grid, window, count, strict=True)
    )
    real = (rows[:, None] * columns[None, :]).flatten()[:, None]
    average = torch.unflatten(total / real, 2, (3, heads, -1))[:, :, 1:].permute(2, 0, 3, 1, 4)
    windows = average.shape[3]
    return average[:, :, None].expand(-1, -1, windows, -1, -1, -1).flatten(2, 3)
