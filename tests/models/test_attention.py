import pytest
import torch
from small_models import pictures, small_model
from torch import Tensor

from vitpose.core.geometry import Size
from vitpose.models.attention import alternate, attend, window_layout, window_mask
from vitpose.models.variants import Attention, AttentionKind

HEADS, CHANNELS = 2, 8
WINDOWED: tuple[AttentionKind, ...] = ("window", "shifted", "pooled", "shifted+pooled")
CPU = torch.device("cpu")


def random_qkv(grid: Size, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, grid.height * grid.width, 3 * CHANNELS, generator=torch.Generator().manual_seed(seed))


def run(qkv: Tensor, attention: Attention, grid: Size) -> Tensor:
    return attend(qkv, HEADS, attention, grid, window_mask(attention, grid, qkv.device))


def seen_from_definition(attention: Attention, grid: Size, token: int) -> list[int]:
    """The tokens `token` sees, by coordinates: no padding, no cyclic shift, no reshaping."""
    window, _, shift = window_layout(attention, grid)

    def cell(index: int) -> tuple[int, int]:
        row, column = divmod(index, grid.width)
        # A window boundary lies at every shift + n * window; // puts what lies before the first boundary in cell -1.
        return (row - shift.height) // window.height, (column - shift.width) // window.width

    return [other for other in range(grid.height * grid.width) if cell(other) == cell(token)]


def attend_from_definition(qkv: Tensor, attention: Attention, grid: Size) -> Tensor:
    query, key, value = qkv.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    key_pools, value_pools = [], []
    if "pooled" in attention.kind:
        still = Attention(kind="window", window=attention.window)
        groups = {tuple(seen_from_definition(still, grid, token)) for token in range(qkv.shape[1])}
        for group in sorted(groups):
            key_pools.append(key[:, :, list(group)].mean(dim=2))
            value_pools.append(value[:, :, list(group)].mean(dim=2))
    rows = []
    for token in range(qkv.shape[1]):
        seen = seen_from_definition(attention, grid, token)
        keys = torch.stack([*key[:, :, seen].unbind(2), *key_pools], dim=2)
        values = torch.stack([*value[:, :, seen].unbind(2), *value_pools], dim=2)
        weights = torch.softmax(query[:, :, token : token + 1] @ keys.mT / keys.shape[-1] ** 0.5, dim=-1)
        rows.append((weights @ values)[:, :, 0])
    return torch.stack(rows, dim=1).flatten(2)


@pytest.mark.parametrize("kind", WINDOWED)
@pytest.mark.parametrize(
    ("grid", "window"),
    [
        (Size(8, 6), Size(4, 3)),  # a multiple of the window
        (Size(9, 7), Size(4, 3)),  # padded on both axes
        (Size(5, 12), Size(8, 4)),  # one window down
        (Size(7, 1), Size(2, 2)),  # one column
        (Size(3, 5), Size(1, 1)),  # every token alone
        (Size(5, 5), Size(3, 3)),  # an odd window, whose half is rounded down
    ],
)
def test_equals_the_definition_token_by_token(kind: AttentionKind, grid: Size, window: Size) -> None:
    attention, qkv = Attention(kind=kind, window=window), random_qkv(grid)
    torch.testing.assert_close(run(qkv, attention, grid), attend_from_definition(qkv, attention, grid))


@pytest.mark.parametrize("kind", ["window", "shifted"])
@pytest.mark.parametrize("window", [Size(5, 7), Size(8, 8), Size(100, 7)])
def test_a_window_as_large_as_the_grid_is_full_attention(kind: AttentionKind, window: Size) -> None:
    grid = Size(5, 7)
    qkv = random_qkv(grid)
    torch.testing.assert_close(run(qkv, Attention(kind=kind, window=window), grid), run(qkv, Attention(), grid))


@pytest.mark.parametrize("grid", [Size(8, 8), Size(9, 7)])
def test_shifting_does_not_leak_around_the_border(grid: Size) -> None:
    attention, qkv = Attention(kind="shifted", window=Size(4, 4)), random_qkv(grid)
    before, changed = run(qkv, attention, grid), qkv.clone()
    changed[:, 0] += 3.0
    moved = (run(changed, attention, grid) - before).abs().amax(dim=(0, 2)) > 1e-6
    # Without the mask the first token shares a window with the last rows and columns. Its own part is 2 x 2.
    assert moved.nonzero().flatten().tolist() == [0, 1, grid.width, grid.width + 1]


def test_padding_is_never_seen() -> None:
    grid, attention = Size(5, 3), Attention(kind="pooled", window=Size(4, 2))
    constant = random_qkv(grid, batch=1)
    constant[..., 2 * CHANNELS :] = 7.0  # every real value is 7, padding is 0: any share of it would lower the result
    torch.testing.assert_close(run(constant, attention, grid), torch.full((1, 15, CHANNELS), 7.0))


@pytest.mark.parametrize("kind", ["window", "pooled"])
def test_pooling_lets_far_tokens_be_felt(kind: AttentionKind) -> None:
    grid, attention = Size(8, 8), Attention(kind=kind, window=Size(4, 4))
    qkv = random_qkv(grid)
    changed = qkv.clone()
    changed[:, 0] += 3.0
    far = (run(changed, attention, grid) - run(qkv, attention, grid))[:, -1].abs().max()
    assert (far > 1e-4) == (kind == "pooled")


@pytest.mark.parametrize("kind", ["full", *WINDOWED])
def test_batch_equals_singles_and_gradients_are_finite(kind: AttentionKind) -> None:
    grid, attention = Size(5, 4), Attention(kind=kind, window=Size(3, 3))
    qkv = random_qkv(grid, batch=3).requires_grad_()
    together = run(qkv, attention, grid)
    torch.testing.assert_close(together, torch.cat([run(one[None], attention, grid) for one in qkv]))
    together.square().sum().backward()
    assert qkv.grad is not None
    assert qkv.grad.isfinite().all()
    assert (qkv.grad.abs().amax(dim=2) > 0).all()


@pytest.mark.parametrize("kind", WINDOWED)
def test_weights_fit_every_kind(kind: AttentionKind) -> None:
    full = small_model(stride=8)
    other = small_model(stride=8, attention=alternate(kind, Size(3, 2), 3), seed=1)
    other.load_state_dict(full.state_dict())
    assert not torch.allclose(other(pictures()), full(pictures()), atol=1e-3)
    wide = small_model(stride=8, attention=alternate("shifted", Size(99, 99), 3), seed=1)
    wide.load_state_dict(full.state_dict())
    torch.testing.assert_close(wide(pictures()), full(pictures()))


def test_every_second_block_shifts() -> None:
    assert [entry.kind for entry in alternate("shifted", Size(8, 8), 4)] == ["window", "shifted"] * 2
    assert [entry.kind for entry in alternate("shifted+pooled", Size(8, 8), 3)] == [
        "pooled",
        "shifted+pooled",
        "pooled",
    ]
    assert {entry.kind for entry in alternate("pooled", Size(8, 8), 3)} == {"pooled"}
    assert alternate("window", (16, 12), 1)[0].window == Size(16, 12)  # type: ignore[arg-type]


def test_no_mask_where_none_is_needed() -> None:
    assert window_mask(Attention(), Size(5, 5), CPU) is None
    assert window_mask(Attention(kind="window", window=Size(4, 4)), Size(8, 8), CPU) is None
    assert window_mask(Attention(kind="shifted", window=Size(4, 4)), Size(8, 8), CPU) is not None
    assert window_mask(Attention(kind="window", window=Size(4, 4)), Size(8, 7), CPU) is not None


@pytest.mark.parametrize("kind", ["full", *WINDOWED])
def test_training_in_bf16_on_a_cpu_gives_what_the_fused_kernel_gives(kind: AttentionKind) -> None:
    grid, attention = Size(5, 6), Attention(kind=kind, window=Size(2, 3))
    exact, rounded = (random_qkv(grid).to(dtype).requires_grad_() for dtype in (torch.float32, torch.bfloat16))
    outputs = [run(qkv, attention, grid) for qkv in (exact, rounded)]
    with torch.no_grad():
        fused = run(rounded, attention, grid)
    for output in outputs:
        output.float().square().sum().backward()
    assert outputs[1].dtype == torch.bfloat16
    torch.testing.assert_close(outputs[1].float(), outputs[0], atol=0.03, rtol=0.02)
    torch.testing.assert_close(outputs[1], fused, atol=0.03, rtol=0.02)
    assert exact.grad is not None
    assert rounded.grad is not None
    torch.testing.assert_close(rounded.grad.float(), exact.grad, atol=0.06, rtol=0.06)
