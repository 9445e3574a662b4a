"""Groups, freezing and schedules against the rule, name by name."""

import itertools
import math

import pytest
import torch
from tiny_runs import tiny

from vitpose.core.errors import UsageError
from vitpose.models.pose import create_model
from vitpose.training.config import ScheduleConfig
from vitpose.training.optim import (
    decays,
    freeze,
    layer_of,
    lr_factor,
    make_optimizer,
    parameter_groups,
    set_lr,
    train_mode,
)

PLUS = (
    "model.backbone.experts=2",
    "model.backbone.expert_width=8",
    'model.heads=[{dataset="body", skeleton="body14"}, {dataset="coco", skeleton="coco17", expert=1}]',
)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.backbone.pos_embed", 0),
        ("model.backbone.patch_embed.weight", 0),
        ("backbone.blocks.0.norm1.weight", 1),
        ("model.backbone.blocks.11.ffn.experts.3.weight", 12),
        ("autoencoder.backbone.blocks.5.qkv.bias", 6),
        ("model.backbone.norm.weight", 13),
        ("model.heads.coco.deconv1.weight", 13),
        ("autoencoder.decoder_blocks.0.qkv.weight", 13),
        ("autoencoder.mask_token", 13),
        ("carry.weight", 13),
    ],
)
def test_layer_numbers_of_twelve_blocks(name, layer):
    assert layer_of(name, 12) == layer


def test_groups_hold_every_parameter_once_at_the_rate_of_the_rule():
    config = tiny(*PLUS, "optim.layer_decay=0.5", "optim.weight_decay=0.1")
    model = create_model(config.model.spec())
    groups = parameter_groups(model, config.optim, depth=2)
    named = dict(model.named_parameters())
    assert sorted(name for group in groups for name in group["names"]) == sorted(named)
    for group in groups:
        for name in group["names"]:
            # n = depth + 2 = 4 layers: the last one, number 3, learns at the full rate
            assert group["lr_scale"] == 0.5 ** (3 - layer_of(name, 2))
            bare = named[name].ndim == 1 or name.endswith((".bias", "pos_embed"))
            assert group["weight_decay"] == (0.0 if bare else 0.1)


def test_position_embedding_has_no_weight_decay_though_it_is_no_vector():
    assert not decays("model.backbone.pos_embed", torch.zeros(1, 4, 8))
    assert decays("model.backbone.patch_embed.weight", torch.zeros(4, 3, 2, 2))


def test_rates_follow_the_schedule_and_keep_their_layer_factor():
    config = tiny()
    optimizer = make_optimizer(create_model(config.model.spec()), config.optim, depth=2)
    set_lr(optimizer, 2.0)
    rates = {group["layer"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {layer: 2.0 * 0.75 ** (3 - layer) for layer in range(4)}


def test_muon_trains_the_matrices_of_the_blocks_and_adamw_the_rest():
    config = tiny("optim.kind=muon", "optim.muon_lr=0.02", "optim.layer_decay=0.5", "optim.weight_decay=0.0")
    model = create_model(config.model.spec(), seed=0)
    optimizer = make_optimizer(model, config.optim, depth=2)
    assert sorted(name for group in optimizer.param_groups for name in group["names"]) == sorted(
        name for name, _ in model.named_parameters()
    )
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            assert group["muon"] is (".blocks." in name and parameter.ndim == 2)
    set_lr(optimizer, config.optim.lr / 10)
    before = {name: value.clone() for name, value in model.named_parameters()}
    model(torch.randn(2, 3, 64, 48)).square().sum().backward()
    optimizer.step()
    # An orthogonal update: singular values are about 1 or 0, times the layer's rate and the matrix's shape.
    for name, rate in (
        ("backbone.blocks.0.proj.weight", 0.002 * 0.25),
        ("backbone.blocks.1.ffn.fc1.weight", 0.002 * 0.5),
    ):
        largest = torch.linalg.matrix_norm(dict(model.named_parameters())[name] - before[name], 2)
        shape = before[name].shape
        assert largest.item() == pytest.approx(rate * max(1, shape[0] / shape[1]) ** 0.5, rel=0.4)


@pytest.mark.parametrize(
    ("change", "frozen"),
    [
        ("optim.freeze_attention=true", ("norm1", "qkv", "proj")),
        ("optim.freeze_ffn=true", ("norm2", "ffn", "pos_embed", "patch_embed")),
        ("optim.freeze_blocks=1", ("blocks.0.", "pos_embed", "patch_embed")),
    ],
)
def test_freezing_keeps_exactly_the_parts_named(change, frozen):
    config = tiny(change)
    model = create_model(config.model.spec())
    names = freeze(model, config.optim)
    for name, parameter in model.named_parameters():
        expected = any(part in name for part in frozen)
        assert parameter.requires_grad is not expected, name
        assert (name in names) is expected


def test_frozen_parts_do_not_move_and_stay_as_at_inference():
    config = tiny("optim.freeze_blocks=1", "optim.weight_decay=1.0")
    model = create_model(config.model.spec(), seed=0)
    freeze(model, config.optim)
    train_mode(model)
    assert not model.backbone.blocks[0].training
    assert model.backbone.blocks[1].training
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = make_optimizer(model, config.optim, depth=2)
    model(torch.randn(2, 3, 64, 48)).square().sum().backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) is (not parameter.requires_grad), name


def test_freezing_everything_or_too_many_blocks_is_refused():
    config = tiny("optim.freeze_blocks=3")
    with pytest.raises(UsageError, match="has 2 blocks"):
        freeze(create_model(config.model.spec()), config.optim)


def test_step_schedule_with_warm_up_has_the_published_rates():
    schedule = ScheduleConfig()  # 210 epochs, 170 and 200, 500 steps from 0.001
    factors = [lr_factor(step, 293, schedule) for step in (0, 250, 500, 293 * 170 - 1, 293 * 170, 293 * 200)]
    assert factors == pytest.approx([0.001, 0.5005, 1.0, 1.0, 0.1, 0.01])


def test_cosine_schedule_ends_at_its_floor_and_falls_all_the_way():
    schedule = ScheduleConfig(kind="cosine", epochs=10, warmup_steps=10, warmup_ratio=0.0, floor=0.1)
    factors = [lr_factor(step, 10, schedule) for step in range(101)]
    assert factors[0] == 0.0
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)
    assert factors[100] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[10:]))
