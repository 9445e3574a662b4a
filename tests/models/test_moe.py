from dataclasses import replace

import pytest
import torch
from small_models import pictures, small_model, small_plus, small_spec

from vitpose.core.errors import UsageError
from vitpose.models.feedforward import FeedForward, sort_by_expert
from vitpose.models.moe import fold_expert
from vitpose.models.variants import PLUS_HEADS

DATASETS = [head.dataset for head in PLUS_HEADS]


@pytest.mark.parametrize("dataset", DATASETS)
def test_only_the_chosen_expert_is_computed(dataset: str) -> None:
    model = small_model(small_plus())
    chosen = model.spec.head(dataset).expert
    ran = []
    for block in model.backbone.blocks:
        for index, expert in enumerate(block.ffn.experts):
            expert.register_forward_hook(lambda *_, index=index: ran.append(index))
    before = model(pictures(), dataset)
    assert ran == [chosen] * 3
    with torch.no_grad():
        for block in model.backbone.blocks:
            for index, expert in enumerate(block.ffn.experts):
                if index != chosen:
                    expert.weight.fill_(torch.nan)
    assert torch.equal(model(pictures(), dataset), before)


def test_experts_matter() -> None:
    backbone = small_model(small_plus()).backbone
    features = [backbone(pictures(), expert).features for expert in range(6)]
    for first in range(6):
        for second in range(first):
            assert (features[first] - features[second]).abs().max() > 0.01


@pytest.mark.parametrize("dataset", DATASETS)
def test_folding_keeps_the_heatmaps(dataset: str) -> None:
    model = small_model(small_plus()).double()  # exact but for rounding, which double precision makes vanish
    dense = fold_expert(model, dataset)
    assert dense.spec.backbone.experts == 0
    assert [head.dataset for head in dense.spec.heads] == [dataset]
    assert dense.spec.heads[0].skeleton == model.spec.head(dataset).skeleton
    assert dense.backbone.blocks[0].ffn.fc2.weight.shape == (32, 128)
    images = pictures().double()
    wanted = model(images, dataset)
    assert wanted.abs().max() > 0.05
    torch.testing.assert_close(dense(images), wanted, atol=1e-12, rtol=0)
    single = dense.float()(pictures())
    torch.testing.assert_close(single, model.float()(pictures(), dataset), atol=5e-6, rtol=0)


def test_folding_copies_and_keeps_modes() -> None:
    model = small_model(small_plus()).train()
    model.backbone.pos_embed.requires_grad_(requires_grad=False)
    dense = fold_expert(model)
    assert dense.training
    assert not dense.backbone.pos_embed.requires_grad
    assert dense.backbone.norm.weight.requires_grad
    with torch.no_grad():
        dense.backbone.norm.weight.zero_()
    assert model.backbone.norm.weight.abs().min() > 0


def test_folding_a_dense_model_picks_a_head() -> None:
    heads = tuple(replace(head, expert=0, deconv_width=16) for head in PLUS_HEADS[:3])
    model = small_model(small_spec(heads=heads))
    torch.testing.assert_close(fold_expert(model, "mpii")(pictures()), model(pictures(), "mpii"))


def test_folding_an_unknown_dataset() -> None:
    with pytest.raises(UsageError, match="no head for dataset 'hands'"):
        fold_expert(small_model(small_plus()), "hands")


def test_mixed_batch_equals_samples_one_by_one() -> None:
    model = small_model(small_plus())
    datasets = ["wholebody", "coco", "mpii", "coco", "apt36k", "wholebody", "aic"]
    images = pictures(len(datasets))
    for row, (found, dataset) in enumerate(zip(model.forward_mixed(images, datasets), datasets, strict=True)):
        torch.testing.assert_close(found, model(images[row : row + 1], dataset)[0], atol=1e-6, rtol=1e-5)


def test_mixed_batch_runs_each_expert_once_on_its_rows() -> None:
    model = small_model(small_plus())
    ran: list[tuple[int, int]] = []
    for index, expert in enumerate(model.backbone.blocks[0].ffn.experts):
        expert.register_forward_hook(lambda _, given, __, index=index: ran.append((index, len(given[0]))))
    model.forward_mixed(pictures(5), ["aic", "wholebody", "aic", "coco", "aic"])
    assert ran == [(0, 1), (1, 3), (5, 1)]


def test_mixed_batch_of_one_dataset_and_of_nobody() -> None:
    model = small_model(small_plus())
    torch.testing.assert_close(torch.stack(model.forward_mixed(pictures(3), ["mpii"] * 3)), model(pictures(3), "mpii"))
    assert model.forward_mixed(pictures(0), []) == []


def test_mixed_batch_trains_the_experts_it_used() -> None:
    model = small_model(small_plus()).train()
    maps = model.forward_mixed(pictures(4), ["aic", "coco", "aic", "coco"])
    torch.stack([value.square().mean() for value in maps]).sum().backward()
    for block in model.backbone.blocks:
        touched = [expert.weight.grad is not None and bool(expert.weight.grad.any()) for expert in block.ffn.experts]
        assert touched == [True, True, False, False, False, False]
    assert model.heads["coco"].out.weight.grad is not None
    assert model.heads["mpii"].out.weight.grad is None


def test_a_dense_model_mixes_heads() -> None:
    heads = tuple(replace(head, expert=0, deconv_width=16) for head in PLUS_HEADS[:3])
    model = small_model(small_spec(heads=heads))
    found = model.forward_mixed(pictures(3), ["mpii", "coco", "mpii"])
    assert [len(value) for value in found] == [16, 17, 16]
    torch.testing.assert_close(found[2], model(pictures(3), "mpii")[2])


def test_sorting_by_expert_is_stable() -> None:
    order, rows = sort_by_expert(torch.tensor([3, 1, 3, 0, 1]), 4)
    assert order.tolist() == [3, 1, 4, 0, 2]
    assert rows == [(0, 1), (1, 2), (3, 2)]


def test_the_expert_has_the_last_channels() -> None:
    layer = FeedForward(8, 16, experts=2, expert_width=3)
    with torch.no_grad():
        layer.experts[1].weight.zero_()
        layer.experts[1].bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert layer(torch.randn(1, 2, 8), 1)[..., 5:].tolist() == [[[1.0, 2.0, 3.0]] * 2]


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        (6, "no expert 6: the backbone has 6 experts"),
        (-1, "no expert -1"),
        (torch.tensor([0, 7]), "no expert 7"),
        (torch.tensor([0, 1, 2]), "batch of 2"),
        (torch.tensor([0.0, 1.0]), "whole number"),
    ],
)
def test_wrong_experts_are_refused(expert: int | torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small_model(small_plus()).backbone(pictures(2), expert)


def test_a_dense_backbone_has_expert_0_only() -> None:
    backbone = small_model().backbone
    torch.testing.assert_close(backbone(pictures(2), torch.tensor([0, 0])).tokens, backbone(pictures(2)).tokens)
    with pytest.raises(UsageError, match="no expert 1: the backbone has no experts"):
        backbone(pictures(2), 1)


def test_mixed_needs_one_dataset_a_sample() -> None:
    with pytest.raises(UsageError, match="1 datasets for a batch of 2"):
        small_model(small_plus()).forward_mixed(pictures(2), ["coco"])
