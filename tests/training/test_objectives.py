"""Losses against their definitions, by hand and by symmetry."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_runs import Dots, tiny

from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.data.batch import Batch
from vitpose.models.pixels import normalize
from vitpose.models.pose import SHARPNESS, create_model, places
from vitpose.training.distill import Distill, KnowledgeToken, as_targets
from vitpose.training.masked import Masked
from vitpose.training.step import cut, seed_step
from vitpose.training.supervised import HeatmapLoss, Supervised, balance_factors, map_distance

TWO = (
    'model.heads=[{dataset="body", skeleton="body14"}, {dataset="coco", skeleton="coco17"}]',
    "model.heads.0.kind=simple",
    "model.heads.1.kind=simple",
)


def batch_of(count: int, dots: Dots | None = None) -> Batch:
    return (dots or Dots()).draw(np.arange(count), np.arange(count))


def model_of(*changes: str, seed: int = 0):
    return create_model(tiny("model.backbone.drop_path=0.0", *changes).model.spec(), seed=seed)


def descend(objective, optimizer, batch, *, steps):
    """Take some steps and return each one's loss and logs as numbers."""
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss, logs = objective(batch)
        loss.backward()
        optimizer.step()
        found.append({name: value.item() for name, value in {"loss": loss, **logs}.items()})
    return found


def test_loss_is_the_mean_over_everything_as_the_paper_has_it():
    model, batch = model_of(), batch_of(3)
    weights = batch.weights.clone()
    weights[0, :5] = 0
    batch = replace(batch, weights=weights)
    loss, logs = Supervised(model, HeatmapLoss(model.spec))(batch)
    codec = Codec.for_head(model.spec.heads[0], model.spec.heatmap_size)
    targets, seen = codec.encode(batch.xy, batch.weights, Size(64, 48), Size(16, 12))
    wanted = ((model(normalize(batch.crops)) - targets) * seen[..., None, None]).square().mean()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert logs == {}


PLACES = "model.heads.0.maps=places"


def test_places_are_measured_by_their_cross_entropy():
    model, batch = model_of(PLACES), batch_of(2)
    raw = torch.randn(2, 14, 16, 12)
    loss, _ = HeatmapLoss(model.spec)({"body": ([0, 1], raw)}, batch)
    targets, seen = Codec.for_head(model.spec.heads[0], model.spec.heatmap_size).encode(
        batch.xy, batch.weights, Size(64, 48), Size(16, 12)
    )
    wanted = targets.flatten(2) / targets.flatten(2).sum(dim=2, keepdim=True).clamp(min=1e-6)
    predicted = places(raw).flatten(2).square()
    predicted = predicted / predicted.sum(dim=2, keepdim=True)
    assert loss.item() == pytest.approx(-((wanted * predicted.log()).sum(dim=2) * seen).mean().item(), rel=1e-4)
    # Gibbs: nothing is below the target's own entropy, and the target reaches it.
    head = model.spec.heads[0]
    perfect = wanted.clamp(min=1e-12).log().reshape(targets.shape) / 10
    assert bool((map_distance(perfect, targets, head) <= map_distance(raw, targets, head)).all())


def test_a_places_loss_does_not_underflow_where_a_model_is_wrong_and_sure():
    model, batch = model_of(PLACES), batch_of(1)
    raw = torch.zeros(1, 14, 16, 12)
    raw[..., 0, 0] = 100.0
    raw.requires_grad = True
    loss, _ = HeatmapLoss(model.spec)({"body": ([0], raw)}, batch)
    loss.backward()
    assert raw.grad is not None
    assert bool(loss.isfinite())
    assert bool(raw.grad.isfinite().all())


@pytest.mark.parametrize("changes", [(), (PLACES,)])
def test_unlabelled_keypoints_get_no_gradient(changes):
    model = model_of(*changes)
    heatmaps = torch.randn(2, 14, 16, 12, requires_grad=True)
    batch = batch_of(2)
    weights = batch.weights.clone()
    weights[:, 3] = 0
    loss, _ = HeatmapLoss(model.spec)({"body": ([0, 1], heatmaps)}, replace(batch, weights=weights))
    loss.backward()
    assert heatmaps.grad is not None
    touched = heatmaps.grad.abs().sum(dim=(0, 2, 3)) > 0
    assert touched.tolist() == [number != 3 for number in range(14)]


def test_loss_of_a_batch_is_the_mean_of_its_parts():
    model = model_of(*TWO)
    objective = Supervised(model, HeatmapLoss(model.spec, factors={"body": 0.5, "coco": 2.0}))
    batch = batch_of(5, Dots(keypoints=17, datasets=("body", "coco")))
    whole, _ = objective(batch)
    parts = [objective(cut(batch, row, row + 1))[0] for row in range(5)]
    assert whole.item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-5)


def test_each_head_learns_from_its_own_people_only():
    model = model_of(*TWO)
    loss, logs = Supervised(model, HeatmapLoss(model.spec))(batch_of(4, Dots(keypoints=17, datasets=("coco",))))
    loss.backward()
    assert set(logs) == {"loss/coco"}
    assert all(parameter.grad is None for parameter in model.heads["body"].parameters())
    assert all(parameter.grad is not None for parameter in model.heads["coco"].parameters())


def test_balance_evens_out_sets_without_changing_the_mean_weight():
    people = {"big": 900, "rare": 100}
    for balance in (0.0, 0.5, 1.0):
        factors = balance_factors(people, balance)
        assert 0.9 * factors["big"] + 0.1 * factors["rare"] == pytest.approx(1.0)
    assert balance_factors(people, 0.0) == {"big": 1.0, "rare": 1.0}
    even = balance_factors(people, 1.0)
    assert 900 * even["big"] == pytest.approx(100 * even["rare"])


def test_keypoint_weights_come_from_the_skeleton():
    model = model_of("model.heads.0.skeleton=coco17")
    batch = batch_of(2, Dots(keypoints=17))
    skeleton = replace(load_skeleton("coco17"), weights=tuple(0.5 + 0.1 * k for k in range(17)))
    plain = HeatmapLoss(model.spec)
    weighed = HeatmapLoss(model.spec, {"body": skeleton})
    heatmaps = torch.zeros(2, 17, 16, 12)
    single = torch.stack([plain.distances(heatmaps, _only(batch, k), "body", [0, 1]) for k in range(17)], dim=1)
    wanted = (single * torch.tensor(skeleton.weights) ** 2).sum(dim=1)
    assert torch.allclose(weighed.distances(heatmaps, batch, "body", [0, 1]), wanted, rtol=1e-5)


def _only(batch: Batch, keypoint: int) -> Batch:
    weights = torch.zeros_like(batch.weights)
    weights[:, keypoint] = 1
    return replace(batch, weights=weights)


def test_knowledge_token_is_all_that_learns_and_it_lowers_the_teachers_loss():
    teacher = model_of(seed=1)
    objective = KnowledgeToken(teacher, HeatmapLoss(teacher.spec))
    assert [name for name, value in objective.named_parameters() if value.requires_grad] == ["token"]
    objective.train()
    assert not teacher.training
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    logs = descend(objective, torch.optim.Adam([objective.token], lr=0.05), batch_of(6), steps=20)
    assert logs[-1]["loss"] < logs[0]["loss"]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_distilling_a_copy_costs_nothing_and_a_stranger_something():
    student, copy, stranger = model_of(seed=1), model_of(seed=1), model_of(seed=2)
    batch = batch_of(4)
    loss = HeatmapLoss(student.spec)
    same = Distill(student, loss, teacher=copy)(batch)[1]["loss/teacher"]
    other = Distill(student, loss, teacher=stranger)(batch)[1]["loss/teacher"]
    assert same.item() == 0.0
    assert other.item() > 0.0


@pytest.mark.parametrize("teachers", ["places", "heatmaps"])
def test_a_student_of_places_learns_the_teachers_places(teachers):
    student, teacher = model_of(PLACES, seed=1), model_of(f"model.heads.0.maps={teachers}", seed=2)
    batch = replace(batch_of(4), weights=torch.zeros(4, 14))
    objective = Distill(student, HeatmapLoss(student.spec), teacher=teacher)
    logs = descend(objective, torch.optim.SGD(student.parameters(), lr=0.02), batch, steps=8)
    assert logs[-1]["loss/teacher"] < logs[0]["loss/teacher"]
    images = normalize(batch.crops)
    maps = teacher(images).detach().flatten(2)
    peaks = maps.amax(dim=2, keepdim=True)
    wanted, weights = maps.square(), 1.0
    if teachers == "heatmaps":
        wanted, weights = torch.where(maps < 0.1 * peaks, 0.0, maps).clamp(min=0), peaks[..., 0].clamp(0, 1)
    wanted = wanted / wanted.sum(dim=2, keepdim=True).clamp(min=1e-6)
    predicted = student(images).flatten(2).square()
    entropy = -(wanted * (predicted / predicted.sum(dim=2, keepdim=True)).log()).sum(dim=2)
    assert objective(batch)[1]["loss/teacher"].item() == pytest.approx((weights * entropy).mean().item(), rel=1e-4)


@pytest.mark.parametrize("teachers", ["places", "heatmaps"])
@pytest.mark.parametrize("students", ["places", "heatmaps"])
def test_a_teacher_that_answers_as_labelled_asks_for_what_labels_ask(teachers, students):
    """Whatever the maps of the two are, the least distance is where the student answers as labelled, too."""
    head = model_of().spec.heads[0]
    theirs, mine = replace(head, maps=teachers), replace(head, maps=students)
    batch = batch_of(3)
    labels, seen = Codec.for_head(head, Size(16, 12)).encode(batch.xy, batch.weights, Size(64, 48), Size(16, 12))
    there = seen > 0
    raw = labels.clamp(min=1e-30).log() / SHARPNESS if teachers == "places" else labels
    wanted, weights = as_targets(raw, theirs, mine)
    torch.testing.assert_close(weights[there], torch.ones_like(weights[there]), atol=0.25, rtol=0)
    if students == "heatmaps":
        torch.testing.assert_close(wanted[there], labels[there], atol=0.15, rtol=0)
    else:
        shares, expected = (part / part.sum(dim=(2, 3), keepdim=True) for part in (wanted, labels))
        assert (shares - expected)[there].abs().sum(dim=(1, 2)).max() < 0.25, "the tail may be cut"


def test_noise_of_a_teacher_is_not_taken_for_places():
    """A heatmap is hundreds of pixels of noise around one peak, and of a keypoint that is not there nothing else."""
    head = model_of().spec.heads[0]
    raw = 0.003 * torch.randn(1, 14, 16, 12)
    raw[0, 0, 5, 5] = 1.0
    wanted, weights = as_targets(raw, head, replace(head, maps="places"))
    assert wanted[0, 0].sum() == wanted[0, 0, 5, 5]
    assert weights[0, 0] == 1.0
    assert weights[0, 1:].max() < 0.02


def test_distillation_adds_both_losses_and_teaches_unlabelled_keypoints():
    student, teacher = model_of(seed=1), model_of(seed=2)
    batch = replace(batch_of(4), weights=torch.zeros(4, 14))
    objective = Distill(student, HeatmapLoss(student.spec), teacher=teacher, output_weight=3.0)
    total, logs = objective(batch)
    assert logs["loss/labels"].item() == 0.0
    assert total.item() == pytest.approx(3.0 * logs["loss/teacher"].item())
    total.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert student.heads["body"].out.weight.grad.abs().sum() > 0


def test_token_of_a_wider_teacher_reaches_the_share_of_the_batch_it_should():
    student = model_of()
    token = torch.randn(1, 1, 64)
    told = []
    batch = batch_of(4)
    plain, _ = Supervised(student, HeatmapLoss(student.spec))(batch)
    for share, same in ((0.0, True), (0.5, False), (1.0, False)):
        objective = Distill(student, HeatmapLoss(student.spec), token=token, token_share=share)
        loss, _ = objective(batch)
        assert (loss.item() == pytest.approx(plain.item(), rel=1e-6)) is same
        loss.backward()
        told.append(objective.carry.weight.grad is not None)
    assert told == [False, True, True]


def test_token_share_holds_on_average_for_single_people():
    student = model_of()
    objective = Distill(student, HeatmapLoss(student.spec), token=torch.randn(1, 1, 32), token_share=0.25)
    assert isinstance(objective.carry, torch.nn.Identity)
    batch = batch_of(1)
    plain, _ = Supervised(student, HeatmapLoss(student.spec))(batch)
    told = 0
    for step in range(200):
        seed_step(0, step, 0)
        told += abs(objective(batch)[0].item() - plain.item()) > 1e-9
    assert 30 <= told <= 70


def test_distillation_refuses_parts_that_do_not_fit():
    student = model_of()
    loss = HeatmapLoss(student.spec)
    with pytest.raises(UsageError, match="needs a teacher"):
        Distill(student, loss)
    with pytest.raises(UsageError, match="no head for dataset 'body'"):
        Distill(student, loss, teacher=model_of("model.heads.0.dataset=coco", "data.train.0.dataset=coco"))
    with pytest.raises(UsageError, match="disagree"):
        Distill(student, loss, teacher=model_of("model.heads.0.codec=msra"))
    windowed = model_of("model.backbone.attention=window", "model.backbone.window=[2,2]")
    with pytest.raises(UsageError, match="full attention"):
        Distill(windowed, HeatmapLoss(windowed.spec), token=torch.zeros(1, 1, 32))


def test_masked_pretraining_learns_the_backbone_and_leaves_the_heads():
    config = tiny(
        "objective.masked.decoder_width=32", "objective.masked.decoder_depth=1", "objective.masked.decoder_heads=2"
    )
    model = create_model(config.model.spec(), seed=0)
    objective = Masked(model, config.objective.masked, fresh=True)
    assert not any(name.startswith("model") for name in objective.state_dict())
    batch = batch_of(4)
    optimizer = torch.optim.Adam([value for value in objective.parameters() if value.requires_grad], lr=3e-3)
    heads = {name: value.clone() for name, value in model.heads.state_dict().items()}
    qkv = model.backbone.blocks[0].qkv.weight.clone()
    losses = []
    for step in range(30):
        seed_step(0, step % 3, 0)
        optimizer.zero_grad()
        loss, _ = objective(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert not torch.equal(model.backbone.blocks[0].qkv.weight, qkv)
    assert all(torch.equal(value, heads[name]) for name, value in model.heads.state_dict().items())
