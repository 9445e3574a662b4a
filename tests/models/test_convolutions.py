"""The stem of convolutions: what it promises in place of the patch projection."""

import json
from typing import Any

import pytest
import torch
from small_models import pictures, small_model, small_spec
from torch.utils.flop_counter import FlopCounterMode

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.models.convolutions import ConvStem
from vitpose.models.cost import count_macs, count_parameters
from vitpose.models.pose import VitPose, create_model
from vitpose.models.variants import ModelSpec

STEM: dict[str, Any] = {"stem": "convolutions", "stem_depths": (1, 0, 2)}


@pytest.mark.parametrize("size", [Size(64, 48), Size(80, 112), Size(16, 16)])
def test_tokens_lie_on_the_grid_of_patches(size: Size) -> None:
    model = small_model(small_spec(size=size, **STEM))
    features = model.backbone(pictures(2, size)).features
    assert features.shape == (2, 32, size.height // 16, size.width // 16)
    assert model(pictures(2, size)).shape == (2, 17, size.height // 4, size.width // 4)


def test_batch_equals_singles() -> None:
    model = small_model(**STEM)
    together = model(pictures(3))
    torch.testing.assert_close(together, torch.cat([model(one[None]) for one in pictures(3)]))


def test_what_is_learned_at_one_place_holds_at_all() -> None:
    """A picture moved by a token moves the tokens; the frame of zeros reaches some way in."""
    torch.manual_seed(0)
    stem = ConvStem(32, (0, 1, 0)).eval()
    image = torch.randn(1, 3, 256, 256)
    moved = torch.roll(image, (16, 32), dims=(2, 3))
    before, after = stem(image), stem(moved)
    torch.testing.assert_close(after[:, :, 6:-4, 7:-4], before[:, :, 5:-5, 5:-6], rtol=1e-4, atol=1e-5)
    assert (after[:, :, 6:-4, 7:-4] - before[:, :, 6:-4, 7:-4]).abs().max() > 0.01


def test_parts_that_have_no_depth_have_no_units() -> None:
    stem = ConvStem(32, (1, 0, 2))
    assert [len(stage) for stage in stem.stages] == [2, 1, 3]


@pytest.mark.parametrize("depths", [(0, 0, 0), (1, 2, 3)])
def test_macs_agree_with_pytorchs_counter(depths: tuple[int, int, int]) -> None:
    spec = small_spec(size=Size(80, 112), stem="convolutions", stem_depths=depths)
    with torch.device("meta"):
        model = VitPose(spec).eval()
        images = torch.empty(1, 3, 80, 112)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    assert counter.get_total_flops() == 2 * count_macs(spec).total
    parameters = count_parameters(model)
    assert parameters.total == sum(one.numel() for one in model.parameters())
    assert parameters.embedding == sum(one.numel() for one in model.backbone.patch_embed.parameters()) + 35 * 32


def test_the_spec_survives_json() -> None:
    spec = small_spec(**STEM)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_specs_from_before_stems_mean_patches() -> None:
    plain = json.loads(json.dumps(small_spec().to_dict()))
    del plain["backbone"]["stem"], plain["backbone"]["stem_depths"]
    assert ModelSpec.from_dict(plain) == small_spec()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"stem": "convolution"}, "unknown stem 'convolution'; did you mean 'convolutions'"),
        ({**STEM, "stride": 8}, "needs patches of 16 pixels, stride 16"),
        ({**STEM, "width": 40}, "a multiple of 16, not 16, 16 and 40"),
        *(
            ({**STEM, "stem_depths": depths}, "a tuple of three numbers of residual units")
            for depths in ((1, 2), (1, -1, 2), (1.0, 2, 2), [1, 2, 2], 3)
        ),
    ],
)
def test_stems_that_cannot_be_built(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small_spec(**parts)


def test_gradients_reach_every_part() -> None:
    model = create_model(small_spec(**STEM), seed=0)
    model(pictures(4)).square().sum().backward()
    assert all(one.grad is not None and bool(torch.isfinite(one.grad).all()) for one in model.parameters())


def test_another_crop_size() -> None:
    model = small_model(**STEM)
    larger = model.resized(Size(96, 64))
    assert larger(pictures(1, Size(96, 64))).shape == (1, 17, 24, 16)
