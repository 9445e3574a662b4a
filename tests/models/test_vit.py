from typing import Any

import pytest
import torch
from small_models import BACKBONE, HEAD, pictures, scatter, small_model, small_plus, small_spec
from torch import nn

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.models.attention import alternate
from vitpose.models.variants import BACKBONES
from vitpose.models.vit import Backbone, add_to_some, drop_path, resize_positions


def test_equals_a_transformer_written_out() -> None:
    """One block after another with plain matrix products; the patch windows are cut out by hand."""
    model, image = small_model().backbone, pictures(1)
    padded = nn.functional.pad(image, (2, 2, 2, 2))
    windows = [padded[0, :, 16 * r : 16 * r + 16, 16 * c : 16 * c + 16].flatten() for r in range(4) for c in range(3)]
    state = model.state_dict()
    tokens = torch.stack(windows) @ state["patch_embed.weight"].flatten(1).T + state["patch_embed.bias"]
    tokens = tokens + state["pos_embed"][0]

    def norm(values: torch.Tensor, name: str) -> torch.Tensor:
        centred = values - values.mean(dim=1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(values: torch.Tensor, name: str) -> torch.Tensor:
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    for block in (f"blocks.{index}" for index in range(3)):
        query, key, value = linear(norm(tokens, f"{block}.norm1"), f"{block}.qkv").split(32, dim=1)
        parts = [slice(8 * head, 8 * head + 8) for head in range(4)]
        heads = [torch.softmax(query[:, part] @ key[:, part].T / 8**0.5, dim=1) @ value[:, part] for part in parts]
        tokens = tokens + linear(torch.cat(heads, dim=1), f"{block}.proj")
        hidden = linear(norm(tokens, f"{block}.norm2"), f"{block}.ffn.fc1")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        tokens = tokens + linear(hidden, f"{block}.ffn.fc2")
    wanted = norm(tokens, "norm").T.reshape(1, 32, 4, 3)
    torch.testing.assert_close(model(image).features, wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("stride", "grid"), [(16, Size(4, 3)), (8, Size(8, 6))])
def test_grid_and_padding(stride: int, grid: Size) -> None:
    backbone = small_model(stride=stride).backbone
    assert backbone.grid == grid
    assert backbone.patch_embed.padding == ((2, 2) if stride == 16 else (4, 4))
    assert backbone(pictures()).features.shape == (2, 32, *grid)


@pytest.mark.parametrize("patch", [8, 14, 16, 32])
@pytest.mark.parametrize("halves", [1, 2])
def test_any_patch_covers_the_grid(patch: int, halves: int) -> None:
    size = Size(3 * patch, 2 * patch)
    backbone = small_model(small_spec(patch=patch, stride=patch // halves, size=size)).backbone
    assert backbone(pictures(1, size)).features.shape == (1, 32, 3 * halves, 2 * halves)


def test_the_last_two_rows_and_columns_are_never_read() -> None:
    backbone, image = small_model().backbone, pictures(1)
    other = image.clone()
    other[:, :, -2:], other[..., -2:] = 9.0, 9.0
    assert torch.equal(backbone(image).tokens, backbone(other).tokens)
    other[:, :, -3] = 9.0
    assert not torch.equal(backbone(image).tokens, backbone(other).tokens)


@pytest.mark.parametrize("size", [Size(16, 16), Size(16, 80), Size(112, 48)])
def test_odd_grids(size: Size) -> None:
    model = small_model(small_spec(size=size))
    assert model(pictures(1, size)).shape == (1, 17, size.height // 4, size.width // 4)


def test_batch_equals_singles() -> None:
    backbone, images = small_model().backbone, pictures(3)
    singles = torch.cat([backbone(image[None]).tokens for image in images])
    torch.testing.assert_close(backbone(images).tokens, singles)
    assert backbone(images[:0]).features.shape == (0, 32, 4, 3)


def test_wrong_image_size_names_both() -> None:
    with pytest.raises(UsageError, match=r"\(batch, 3, 64, 48\), not \(2, 3, 48, 64\)"):
        small_model().backbone(pictures(2, Size(48, 64)))


@pytest.mark.parametrize("mode", ["full", "mixed"])
def test_intermediates(mode: str) -> None:
    backbone, images = small_model(small_plus()).backbone, pictures(3)
    expert = torch.tensor([5, 0, 5]) if mode == "mixed" else 2
    names = ("embed", "block.0", "block.2", "norm")
    output = backbone(images, expert, intermediates=names)
    assert sorted(output.intermediates) == sorted(names)
    assert torch.equal(output.intermediates["norm"], output.tokens)
    torch.testing.assert_close(output.intermediates["embed"], backbone.embed(images))
    torch.testing.assert_close(output.tokens, backbone.norm(output.intermediates["block.2"]))
    assert torch.equal(output.features.flatten(2).transpose(1, 2), output.tokens)
    assert backbone(images).intermediates == {}


def test_unknown_intermediate_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'block.3'.*did you mean"):
        small_model().backbone(pictures(), intermediates=("block.3",))


def test_extra_tokens_join_the_conversation_and_come_last() -> None:
    backbone, images = small_model().backbone, pictures(2)
    extra = torch.randn(1, 2, 32)
    output = backbone(images, extra_tokens=extra, intermediates=("embed",))
    assert output.tokens.shape == (2, 14, 32)
    assert output.features.shape == (2, 32, 4, 3)
    assert torch.equal(output.intermediates["embed"][:, 12:], extra.expand(2, -1, -1))
    assert not torch.allclose(output.features, backbone(images).features, atol=1e-3)
    torch.testing.assert_close(backbone(images, extra_tokens=extra.repeat(2, 1, 1)).features, output.features)


def test_extra_tokens_follow_their_samples_through_mixed_experts() -> None:
    backbone, images = small_model(small_plus()).backbone, pictures(3)
    extra, experts = torch.randn(3, 1, 32), [4, 1, 4]
    mixed = backbone(images, torch.tensor(experts), extra_tokens=extra).tokens
    for row, expert in enumerate(experts):
        single = backbone(images[row : row + 1], expert, extra_tokens=extra[row : row + 1]).tokens
        torch.testing.assert_close(mixed[row : row + 1], single)


def test_extra_tokens_are_refused_where_they_cannot_work() -> None:
    windowed = small_model(attention=alternate("window", Size(2, 2), 3)).backbone
    with pytest.raises(UsageError, match="full attention"):
        windowed(pictures(), extra_tokens=torch.zeros(1, 1, 32))
    with pytest.raises(UsageError, match=r"must be \(2 or 1, any, 32\), not \(1, 1, 16\)"):
        small_model().backbone(pictures(), extra_tokens=torch.zeros(1, 1, 16))


@pytest.mark.parametrize("kind", ["full", "shifted+pooled"])
def test_checkpointing_gives_the_same_gradients(kind: str) -> None:
    gradients = []
    for enabled in (False, True):
        model = small_model(stride=8, drop_path=0.5, attention=alternate(kind, Size(3, 3), 3)).train()  # type: ignore[arg-type]
        model.backbone.set_checkpointing(enabled)
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        model.backbone.blocks[0].register_forward_pre_hook(count)
        torch.manual_seed(3)  # the same paths are dropped
        model(pictures(4)).square().sum().backward()
        assert calls == (2 if enabled else 1)
        gradients.append({name: value.grad.clone() for name, value in model.named_parameters()})
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, msg=name)


def test_drop_path_keeps_the_mean_and_drops_whole_samples() -> None:
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 2, 3), 0.3)
    assert set(dropped.unique().tolist()) == {0.0, dropped.max().item()}
    assert dropped.max().item() == pytest.approx(1 / 0.7)
    per_sample = dropped.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert dropped.mean().item() == pytest.approx(1.0, abs=4 * (0.3 / 0.7 / 4000) ** 0.5)


@pytest.mark.parametrize("rate", [0.01, 0.5, 0.999])
def test_samples_that_are_skipped_are_not_computed_and_the_rest_is_as_with_drop_path(rate: float) -> None:
    layer = torch.nn.Linear(3, 3)
    tokens = torch.randn(12, 2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    computed: list[int] = []

    def branch(some: torch.Tensor) -> torch.Tensor:
        computed.append(len(some))
        return layer(some)

    torch.manual_seed(5)
    kept = torch.rand(12) >= rate
    torch.manual_seed(5)
    added = add_to_some(tokens, branch, rate)
    expected = tokens + layer(tokens) * (kept / (1 - rate))[:, None, None]
    torch.testing.assert_close(added, expected)
    assert computed == [max(int(kept.sum()), 1)]
    ours, plain = (torch.autograd.grad(total.square().sum(), [tokens, layer.weight]) for total in (added, expected))
    torch.testing.assert_close(ours, plain)


def test_drop_path_grows_evenly_and_only_in_training() -> None:
    model = small_model(drop_path=0.5)
    assert [block.drop_rate for block in model.backbone.blocks] == [0.0, 0.25, 0.5]
    assert torch.equal(model(pictures()), model(pictures()))
    model.train()
    assert not torch.equal(model(pictures()), model(pictures()))
    with torch.device("meta"):
        published = Backbone(BACKBONES["H"], Size(256, 192))
    rates = [block.drop_rate for block in published.blocks]
    assert rates[-1] == 0.55
    assert rates[16] == pytest.approx(0.55 * 16 / 31)


def test_half_of_a_block_may_drop_while_the_other_stays() -> None:
    torch.manual_seed(0)
    block = small_model(drop_path=0.5).train().backbone.blocks[2]
    tokens = torch.randn(1, 12, 32).expand(400, -1, -1)
    results = block(tokens, Size(4, 3), None, 0)
    kinds = results.flatten(1).round(decimals=4).unique(dim=0)
    assert len(kinds) == 4  # neither, one, the other, both


def test_initial_weights() -> None:
    torch.manual_seed(0)
    backbone = Backbone(BACKBONE, Size(256, 192))
    for block in backbone.blocks:
        for part in (block.qkv, block.proj, block.ffn.fc1, block.ffn.fc2):
            assert part.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert part.weight.abs().max().item() <= 2.0
            assert not part.bias.any()
    assert backbone.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
    assert (backbone.norm.weight == 1).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["full", "shifted+pooled"])
def test_half_precision(dtype: torch.dtype, kind: str) -> None:
    model = small_model(stride=8, attention=alternate(kind, Size(3, 3), 3))  # type: ignore[arg-type]
    exact = model(pictures())
    rough = model.to(dtype)(pictures().to(dtype))
    assert rough.dtype == dtype
    assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_meta_device() -> None:
    with torch.device("meta"):
        backbone = Backbone(BACKBONES["B"], Size(256, 192))
    assert backbone(torch.empty(2, 3, 256, 192, device="meta")).features.shape == (2, 768, 16, 12)


@pytest.mark.parametrize(
    "parts",
    [
        {"stride": 8},
        {"stride": 8, "attention": alternate("shifted+pooled", Size(3, 3), 3)},
        {"stem": "convolutions", "stem_depths": (1, 0, 2)},
    ],
)
def test_compiles_and_exports_in_one_graph(parts: dict[str, Any]) -> None:
    model = small_model(**parts)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(pictures(3)), model(pictures(3)))
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (pictures(2),), dynamic_shapes=({0: batch},)).module()
    torch.testing.assert_close(exported(pictures(5)), model(pictures(5)))


def test_positions_resize() -> None:
    positions = torch.randn(1, 12, 8)
    assert resize_positions(positions, Size(4, 3), Size(4, 3)) is positions
    constant = resize_positions(torch.full((1, 12, 8), 3.0), Size(4, 3), Size(7, 9))
    torch.testing.assert_close(constant, torch.full((1, 63, 8), 3.0))
    # A ramp stays one (to the ripple of this kernel), at the places where pixel areas, not corners, meet.
    ramp = torch.arange(12.0).repeat(12).reshape(1, 144, 1)
    finer = resize_positions(ramp, Size(12, 12), Size(12, 24)).reshape(12, 24)
    assert finer[3, 6:18].tolist() == pytest.approx([(column + 0.5) / 2 - 0.5 for column in range(6, 18)], abs=0.05)
    assert resize_positions(positions.bfloat16(), Size(4, 3), Size(8, 6)).dtype == torch.bfloat16


def test_positions_of_another_grid_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(1, 13, 8\) do not fit a grid of 4 x 3, which has 12 tokens"):
        resize_positions(torch.zeros(1, 13, 8), Size(4, 3), Size(8, 6))


def test_scatter_changes_what_initialization_left() -> None:
    """The other tests lean on it: heads as they start would agree to 1e-6 whatever came before."""
    model = small_model()
    before = model(pictures()).abs().max()
    scatter(model, seed=5)
    assert before > 0.05
    assert (model.state_dict()[f"heads.{HEAD.dataset}.out.weight"].abs() > 0.01).any()
