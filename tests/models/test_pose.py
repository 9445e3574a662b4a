from dataclasses import replace

import pytest
import torch
from small_models import HEAD, pictures, small_model, small_plus, small_spec
from torch import nn

from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.models.attention import alternate
from vitpose.models.pose import ClassicHead, SimpleHead, build_from_state, create_model, places
from vitpose.models.variants import COCO_HEAD, HeadSpec

CLASSIC = {
    "deconv1.weight": (32, 16, 4, 4),
    **{f"bn1.{name}": (16,) for name in ("weight", "bias", "running_mean", "running_var")},
    "bn1.num_batches_tracked": (),
    "deconv2.weight": (16, 16, 4, 4),
    **{f"bn2.{name}": (16,) for name in ("weight", "bias", "running_mean", "running_var")},
    "bn2.num_batches_tracked": (),
    "out.weight": (17, 16, 1, 1),
    "out.bias": (17,),
}


def block_shapes(*, experts: bool) -> dict[str, tuple[int, ...]]:
    shapes = {
        "norm1.weight": (32,),
        "norm1.bias": (32,),
        "qkv.weight": (96, 32),
        "qkv.bias": (96,),
        "proj.weight": (32, 32),
        "proj.bias": (32,),
        "norm2.weight": (32,),
        "norm2.bias": (32,),
        "ffn.fc1.weight": (128, 32),
        "ffn.fc1.bias": (128,),
        "ffn.fc2.weight": (24 if experts else 32, 128),
        "ffn.fc2.bias": (24 if experts else 32,),
    }
    for index in range(6 if experts else 0):
        shapes |= {f"ffn.experts.{index}.weight": (8, 128), f"ffn.experts.{index}.bias": (8,)}
    return shapes


@pytest.mark.parametrize("experts", [False, True])
def test_names_and_shapes_of_weights_are_frozen(experts: bool) -> None:
    """Files hold these names: a change here makes every saved checkpoint unreadable."""
    spec = replace(small_plus(), heads=(HEAD,)) if experts else small_spec()
    wanted = {
        "backbone.patch_embed.weight": (32, 3, 16, 16),
        "backbone.patch_embed.bias": (32,),
        "backbone.pos_embed": (1, 12, 32),
        "backbone.norm.weight": (32,),
        "backbone.norm.bias": (32,),
        **{f"heads.coco.{name}": shape for name, shape in CLASSIC.items()},
    }
    for index in range(3):
        wanted |= {f"backbone.blocks.{index}.{name}": shape for name, shape in block_shapes(experts=experts).items()}
    found = {name: tuple(value.shape) for name, value in small_model(spec).state_dict().items()}
    assert found == wanted


def test_simple_head_names() -> None:
    model = small_model(heads=(replace(HEAD, kind="simple"),))
    found = {name: tuple(value.shape) for name, value in model.heads.state_dict().items()}
    assert found == {"coco.out.weight": (17, 32, 3, 3), "coco.out.bias": (17,)}


def test_classic_head_by_hand() -> None:
    """A deconvolution with kernel 4, stride 2, padding 1 spreads input pixel i over output pixels 2i - 1 … 2i + 2."""
    head = ClassicHead(1, replace(HEAD, keypoints=1, deconv_width=1)).eval()
    with torch.no_grad():
        for part in (head.deconv1, head.deconv2):
            part.weight.fill_(1.0)
        head.bn1.running_mean.fill_(0.25)
        head.out.weight.fill_(-2.0)
        head.out.bias.fill_(0.5)
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 1.0
    maps = head(point)[0, 0]
    scale = (1 + 1e-5) ** -0.5
    assert maps.shape == (20, 20)
    assert maps[0, 0].item() == pytest.approx(0.5)  # relu(0 - 0.25) = 0
    assert maps[10, 10].item() == pytest.approx(0.5 - 2 * 4 * 0.75 * scale * scale, abs=1e-5)
    spread = (maps != maps[0, 0]).nonzero()
    assert spread.min().item() == 5  # 2 -> 3 … 6 -> 5 … 14
    assert spread.max().item() == 14


def test_simple_head_by_hand() -> None:
    head = SimpleHead(2, replace(HEAD, keypoints=1, kind="simple"))
    features = torch.randn(1, 2, 3, 4)
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.weight[0, 1, 1, 1] = 1.0
        head.out.bias.fill_(0.5)
    positive = features[:, 1:].clamp(min=0)  # the ReLU comes before the enlargement
    wanted = nn.functional.interpolate(positive, size=(12, 16), mode="bilinear", align_corners=False) + 0.5
    torch.testing.assert_close(head(features), wanted)


@pytest.mark.parametrize("kind", ["classic", "simple"])
@pytest.mark.parametrize("keypoints", [1, 133])
def test_number_of_keypoints_and_people(kind: str, keypoints: int) -> None:
    model = small_model(heads=(replace(HEAD, kind=kind, keypoints=keypoints),))
    assert model(pictures(1)).shape == (1, keypoints, 16, 12)
    assert model(pictures(0)).shape == (0, keypoints, 16, 12)
    batch = model(pictures(3))
    torch.testing.assert_close(batch, torch.cat([model(image[None]) for image in pictures(3)]))


def test_heatmaps_have_the_size_the_spec_says() -> None:
    for stride in (16, 8):
        model = small_model(stride=stride)
        assert model(pictures()).shape[2:] == model.spec.heatmap_size


def test_six_heads_in_one_model() -> None:
    model = small_model(small_plus())
    shapes = {head.dataset: model(pictures(1), head.dataset).shape[1] for head in model.spec.heads}
    assert shapes == {"coco": 17, "aic": 14, "mpii": 16, "ap10k": 17, "apt36k": 17, "wholebody": 133}
    torch.testing.assert_close(model(pictures(1)), model(pictures(1), "coco"))
    with pytest.raises(UsageError, match="no head for dataset 'cocoo'"):
        model(pictures(1), "cocoo")


def test_initial_head_is_small() -> None:
    model = create_model(small_spec(), seed=0)
    for part in (model.heads["coco"].deconv1, model.heads["coco"].deconv2, model.heads["coco"].out):
        assert part.weight.std().item() == pytest.approx(0.001, rel=0.15)
    assert not model.heads["coco"].out.bias.any()
    assert model.training


def test_seed_repeats_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = create_model(small_spec(), seed=4)
    assert torch.equal(torch.rand(3), expected)
    second, third = create_model(small_spec(), seed=4), create_model(small_spec(), seed=5)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert not torch.equal(first.backbone.pos_embed, third.backbone.pos_embed)


def test_create_changes_parts_of_a_spec() -> None:
    heads = (HeadSpec(dataset="mine", skeleton="mine", keypoints=3, kind="simple"),)
    with torch.device("meta"):
        model = create_model(
            "vitpose-ti",
            input_size=(384, 288),
            stride=8,
            attention=alternate("shifted+pooled", Size(16, 12), 12),
            heads=heads,
            drop_path=0.0,
        )
    assert model.spec.input_size == Size(384, 288)
    assert model.backbone.grid == Size(48, 36)
    assert model.backbone.blocks[1].attention.kind == "shifted+pooled"
    assert model.backbone.blocks[11].drop_rate == 0.0
    assert model(torch.empty(1, 3, 384, 288, device="meta")).shape == (1, 3, 192, 144)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (250, 192)}, "250, 192"),
        ({"stride": 4}, "stride must be 16 or half of it, not 4"),
        ({"attention": alternate("window", Size(8, 8), 5)}, "5 entries for 3 blocks"),
        ({"heads": ()}, "one head a dataset"),
        ({"heads": (COCO_HEAD, COCO_HEAD)}, "one head a dataset"),
        ({"heads": (replace(COCO_HEAD, dataset="a.b"),)}, "'a.b'"),
        ({"heads": (replace(COCO_HEAD, dataset="train"),)}, "'train'"),
        ({"heads": (replace(COCO_HEAD, dataset=""),)}, "''"),
    ],
)
def test_create_refuses_what_does_not_go_together(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create_model(small_spec(), **changes)  # type: ignore[arg-type]


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'vitpose-b'"):
        create_model("vitpose_b")


def test_resized_copy() -> None:
    model = small_model(drop_path=0.4).train()
    model.backbone.set_checkpointing(True)
    model.heads["coco"].out.bias.requires_grad_(requires_grad=False)
    larger = model.resized(Size(96, 80))
    assert larger.training
    assert larger.backbone.checkpointing
    assert not larger.heads["coco"].out.bias.requires_grad
    assert larger.backbone.pos_embed.requires_grad
    assert larger.backbone.pos_embed.shape == (1, 30, 32)
    assert larger.eval()(pictures(1, Size(96, 80))).shape == (1, 17, 24, 20)
    assert model.backbone.pos_embed.shape == (1, 12, 32)
    with torch.no_grad():
        larger.backbone.norm.bias.zero_()
    assert model.backbone.norm.bias.abs().min() > 0


def test_resizing_to_the_same_size_changes_nothing() -> None:
    model = small_model()
    torch.testing.assert_close(model.resized(Size(64, 48))(pictures()), model(pictures()), atol=0, rtol=0)
    assert model.bfloat16().resized(Size(80, 64)).backbone.pos_embed.dtype == torch.bfloat16
    with pytest.raises(UsageError, match="multiple of the patch"):
        model.resized(Size(65, 48))


def test_wrong_image_size_names_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"64, 48\), not \(1, 3, 256, 192\): crop to that size, or .* resized"):
        small_model()(pictures(1, Size(256, 192)))


def test_build_from_state_is_strict_and_copies() -> None:
    model = small_model(small_plus())
    state = model.state_dict()
    twin = build_from_state(model.spec, state)
    assert not twin.training
    torch.testing.assert_close(twin(pictures(), "aic"), model(pictures(), "aic"), atol=0, rtol=0)
    state["backbone.norm.bias"].zero_()
    assert twin.backbone.norm.bias.abs().min() > 0
    state.pop("backbone.norm.bias")
    with pytest.raises(RuntimeError, match=r"backbone.norm.bias"):
        build_from_state(model.spec, state)


@pytest.mark.parametrize("size", [Size(16, 12), Size(64, 48), Size(96, 72)])
def test_who_is_as_sure_as_a_target_reaches_its_height(size: Size) -> None:
    points = torch.tensor([[[0.4, 0.6], [0.55, 0.3]]]) * torch.tensor([4.0 * size.width, 4.0 * size.height])
    codec = Codec.for_head(HEAD, size)
    targets, _ = codec.encode(points, torch.ones(1, 2), Size(4 * size.height, 4 * size.width), size)
    maps = places(targets.clamp(min=1e-9).log() / 10)
    torch.testing.assert_close(maps, targets.sqrt(), atol=2e-3, rtol=0.02)  # a target is cut off at three sigma
    # Who wavers between two places gives each half of the probability.
    both = places((targets[:, :1] + targets[:, 1:]).clamp(min=1e-9).log() / 10)
    assert both.amax().item() ** 2 == pytest.approx(targets.amax().item() / 2, rel=0.05)


def test_heads_of_places_give_probabilities_alone_and_mixed() -> None:
    heads = (HEAD, replace(HEAD, dataset="sure", maps="places", kind="simple"))
    model = small_model(small_spec(heads=heads))
    images = pictures(3)
    maps = model(images, "sure")
    sums = maps.square().sum(dim=(2, 3))
    torch.testing.assert_close(sums, sums[:1, :1].expand_as(sums))
    assert bool((maps > 0).all())
    mixed = model.forward_mixed(images, ["sure", "coco", "sure"])
    torch.testing.assert_close(torch.stack([mixed[0], mixed[2]]), maps[[0, 2]])
    torch.testing.assert_close(mixed[1], model(images, "coco")[1])
    with pytest.raises(UsageError, match=r"kind of maps 'place'.*places"):
        replace(HEAD, maps="place")  # type: ignore[arg-type]
