"""The tables of the papers, to the printed digits. Nothing is allocated: all models live on the meta device."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.models.attention import alternate
from vitpose.models.cost import count_macs, count_parameters
from vitpose.models.pose import create_model
from vitpose.models.variants import Attention, AttentionKind, ModelSpec, published_spec

SIZES = ("s", "b", "l", "h")
WIDTHS = {"s": 384, "b": 768, "l": 1024, "h": 1280}


def by_size(*values: float) -> list[tuple[str, float]]:
    return list(zip(SIZES, values, strict=True))


@pytest.mark.parametrize(("size", "backbone"), by_size(21_663_744, 85_794_816, 303_296_512, 630_912_000))
def test_backbone_parameters(size: str, backbone: int) -> None:
    # The published counts hold the class token's position, which is folded into the others here.
    assert count_parameters(published_spec(f"vitpose-{size}")).backbone == backbone - WIDTHS[size]


@pytest.mark.parametrize(("size", "head"), by_size(2_626_833, 4_199_697, 5_248_273, 6_296_849))
def test_classic_head_parameters(size: str, head: int) -> None:
    assert count_parameters(published_spec(f"vitpose-{size}")).heads == head


@pytest.mark.parametrize(("size", "head"), by_size(58_769, 117_521, 156_689, 195_857))
def test_simple_head_parameters(size: str, head: int) -> None:
    assert count_parameters(published_spec(f"vitpose-{size}-simple")).heads == head


@pytest.mark.parametrize(("size", "total"), by_size(24_290_577, 89_994_513, 308_544_785, 637_208_849))
def test_total_with_classic_head(size: str, total: int) -> None:
    assert count_parameters(published_spec(f"vitpose-{size}")).total == total - WIDTHS[size]


@pytest.mark.parametrize(("size", "total"), by_size(21_722_513, 85_912_337, 303_453_201, 631_107_857))
def test_total_with_simple_head(size: str, total: int) -> None:
    assert count_parameters(published_spec(f"vitpose-{size}-simple")).total == total - WIDTHS[size]


@pytest.mark.parametrize(("size", "backbone"), by_size(30_516_864, 121_195_776, 429_156_352, 893_107_200))
def test_backbone_parameters_with_six_experts(size: str, backbone: int) -> None:
    spec = published_spec(f"vitpose-plus-{size}")
    counted = count_parameters(spec)
    assert counted.backbone == backbone - WIDTHS[size]
    heads = {"s": 2_626_833, "b": 4_199_697, "l": 5_248_273, "h": 6_296_849}[size]
    others = sum(257 * (keypoints - 17) for keypoints in (14, 16, 17, 17, 133))
    assert counted.heads == 6 * heads + others


@pytest.mark.parametrize(("size", "total"), by_size(33_143_697, 125_395_473, 434_404_625, 899_404_049))
def test_total_with_six_experts_and_one_head(size: str, total: int) -> None:
    spec = published_spec(f"vitpose-plus-{size}")
    assert count_parameters(replace(spec, heads=spec.heads[:1])).total == total - WIDTHS[size]


def test_sizes_that_were_not_published() -> None:
    tiny, giant = (count_parameters(published_spec(f"vitpose-{size}")).backbone for size in ("ti", "g"))
    assert tiny == 5_523_264
    assert giant == pytest.approx(1.0e9, rel=0.02)


@pytest.mark.parametrize(("size", "gmacs"), by_size(4.47, 17.10, 59.94, 124.0))
def test_backbone_macs(size: str, gmacs: float) -> None:
    digits = 1 if gmacs > 100 else 2
    assert round(count_macs(published_spec(f"vitpose-{size}")).backbone / 1e9, digits) == gmacs


@pytest.mark.parametrize(("size", "gmacs"), by_size(5.59, 18.52, 61.57, 125.83))
def test_macs_with_classic_head(size: str, gmacs: float) -> None:
    assert round(count_macs(published_spec(f"vitpose-{size}")).total / 1e9, 2) == gmacs


@pytest.mark.parametrize(("size", "gmacs"), by_size(4.65, 17.46, 60.43, 124.6))
def test_macs_with_simple_head(size: str, gmacs: float) -> None:
    digits = 1 if gmacs > 100 else 2
    assert round(count_macs(published_spec(f"vitpose-{size}-simple")).total / 1e9, digits) == gmacs


@pytest.mark.parametrize(
    ("size", "input_size", "gmacs"),
    [
        *((size, Size(384, 288), gmacs) for size, gmacs in by_size(11.02, 40.39, 139.97, 287.5)),
        *((size, Size(576, 432), gmacs) for size, gmacs in by_size(29.63, 100.54, 340.74, 689.9)),
    ],
)
def test_backbone_macs_at_higher_resolutions(size: str, input_size: Size, gmacs: float) -> None:
    digits = 1 if gmacs in (287.5, 689.9) else 2
    assert round(count_macs(published_spec(f"vitpose-{size}"), input_size=input_size).backbone / 1e9, digits) == gmacs


def test_macs_of_the_parts_that_partial_training_touches() -> None:
    macs = count_macs(published_spec("vitpose-b"))
    assert round(macs.feed_forward / 1e9, 2) == 10.87
    assert round((macs.projections + macs.attention + macs.patch_embed) / 1e9, 1) == 6.2


def fine(kind: AttentionKind, window: Size) -> ModelSpec:
    spec = published_spec("vitpose-b")
    return replace(spec, backbone=replace(spec.backbone, stride=8, attention=alternate(kind, window, 12)))


@pytest.mark.parametrize(
    ("kind", "window", "counted", "printed"),
    [
        ("full", Size(8, 8), 76.55, 76.59),
        ("window", Size(8, 8), 66.59, 66.31),
        ("shifted", Size(8, 8), 66.59, 66.31),
        ("pooled", Size(8, 8), 66.76, 66.39),
        ("shifted+pooled", Size(8, 8), 66.76, 66.39),
        ("shifted+pooled", Size(16, 12), 68.46, 68.52),
    ],
)
def test_attention_at_an_eighth_of_the_resolution(
    kind: AttentionKind, window: Size, counted: float, printed: float
) -> None:
    """The paper's table was counted with another tool and differs from the arithmetic by up to 0.6 %."""
    gmacs = count_macs(fine(kind, window)).backbone / 1e9
    assert round(gmacs, 2) == counted
    assert gmacs == pytest.approx(printed, rel=0.006)


@pytest.mark.parametrize("name", ["vitpose-s", "vitpose-b-simple", "vitpose-plus-s", "vitpose-ti"])
@pytest.mark.parametrize("size", [Size(256, 192), Size(80, 112)])
def test_agrees_with_pytorchs_counter(name: str, size: Size) -> None:
    measured_equals_counted(replace(published_spec(name), input_size=size))


@pytest.mark.parametrize("kind", ["window", "shifted", "pooled", "shifted+pooled"])
def test_agrees_with_pytorchs_counter_for_windows_and_padding(kind: AttentionKind) -> None:
    spec = published_spec("vitpose-ti")
    backbone = replace(spec.backbone, stride=8, attention=(Attention(kind=kind, window=Size(8, 5)),))
    measured_equals_counted(replace(spec, backbone=backbone, input_size=Size(80, 112)))


def measured_equals_counted(spec: ModelSpec) -> None:
    with torch.device("meta"):
        model = create_model(spec).eval()
        images = torch.empty(1, 3, *spec.input_size)
    for head in spec.heads:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(images, head.dataset)
        assert counter.get_total_flops() == 2 * count_macs(spec, dataset=head.dataset).total


def test_parts_add_up() -> None:
    spec = published_spec("vitpose-ti")
    with torch.device("meta"):
        model = create_model(spec)
    counted = count_parameters(model)
    assert counted.total == sum(parameter.numel() for parameter in model.parameters())
    assert counted.embedding == 3 * 256 * 192 + 192 + 192 * 192
    assert counted.attention == 12 * (4 * 192**2 + 4 * 192 + 2 * 192)


def test_unknown_head() -> None:
    with pytest.raises(UsageError, match="hands"):
        count_macs(published_spec("vitpose-b"), dataset="hands")
