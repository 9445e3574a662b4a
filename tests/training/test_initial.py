"""The structured start: what it promises about patches, places and attention."""

import numpy as np
import pytest
import torch
from tiny_runs import Dots, tiny

from vitpose.core.geometry import Size
from vitpose.models.mae import sine_positions
from vitpose.models.pixels import normalize
from vitpose.models.pose import create_model
from vitpose.training.initial import structure


@pytest.fixture(scope="module")
def crops():
    """Noise that is smooth, as pictures are, so that raw patches vary along few directions."""
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(400, 3, 64, 48)).astype(np.float32))
    smooth = torch.nn.functional.avg_pool2d(noise, 9, stride=1, padding=4)
    return (128 + 300 * smooth).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)


@pytest.fixture
def model(crops):
    torch.manual_seed(0)
    found = create_model(tiny("model.backbone.drop_path=0.0").model.spec(), seed=0)
    assert "400 crops" in structure(found, crops)
    return found


def test_patches_become_uncorrelated_and_of_like_size(model, crops):
    embed = model.backbone.patch_embed
    values = torch.nn.functional.conv2d(normalize(crops, torch.float32), embed.weight, embed.bias, embed.stride)
    covariance = values.detach().transpose(0, 1).flatten(1).cov()
    spread = covariance.diagonal()
    assert spread.max() / spread.min() < 3
    assert (covariance - spread.diag()).abs().max() < 0.35 * spread.mean()
    assert values.mean(dim=(0, 2, 3)).abs().max() < 0.05 * spread.mean().sqrt()


def test_near_places_are_alike(model):
    positions = model.backbone.pos_embed[0].detach()
    assert torch.allclose(positions, 0.5 * sine_positions(32, Size(4, 3))[0])
    alike = positions @ positions.T
    middle = 4  # row 1, column 1 of 3 columns
    assert alike[middle, middle] > alike[middle, middle + 3] > alike[middle, 11]


def test_a_token_looks_at_tokens_like_itself_and_takes_some_of_them_away(model):
    for block in model.backbone.blocks:
        query, key, value = block.qkv.weight.detach().view(3, 32, 32)
        for head in range(2):
            rows = slice(16 * head, 16 * head + 16)
            product = query[rows].T @ key[rows]
            assert product.trace() > 0.3 * 16
        assert (block.proj.weight.detach() @ value).trace() == pytest.approx(-0.4 * 32, abs=4.0)


def test_the_model_sees_and_learns(model, crops):
    images = normalize(crops[:4], torch.float32)
    maps = model(images)
    assert bool(torch.isfinite(maps).all())
    maps.square().sum().backward()
    assert all(bool(torch.isfinite(one.grad).all()) for one in model.parameters())


def test_a_stem_of_convolutions_keeps_its_own_start(crops):
    spec = tiny("model.backbone.stem=convolutions").model.spec()
    found, untouched = create_model(spec, seed=0), create_model(spec, seed=0)
    assert structure(found, crops) == "positions as sines, attention that looks near"
    before = untouched.backbone.patch_embed.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in found.backbone.patch_embed.state_dict().items())
    assert not torch.equal(found.backbone.pos_embed, untouched.backbone.pos_embed)


def test_a_run_says_that_it_began_so_and_begins_the_same_each_time(tmp_path):
    from vitpose.training.material import Material
    from vitpose.training.run import train

    said = []

    class Listening:
        def say(self, text):
            said.append(text)

        def __getattr__(self, name):
            return lambda *_, **__: None

    source = Dots()
    material = Material(train=source, people={"body": len(source)}, unlabelled=Dots(people=4))
    config = tiny("model.init=structured", "schedule.epochs=1")
    for name in ("one", "two"):
        train(config, tmp_path / name, material=material, cpu=True, display=Listening())
    assert any("patches whitened on 512 crops" in text for text in said)
    assert (tmp_path / "one" / "last.safetensors").read_bytes()[-4000:] == (
        tmp_path / "two" / "last.safetensors"
    ).read_bytes()[-4000:]
