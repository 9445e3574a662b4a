"""The average of the weights against its formula."""

import pytest
import torch
from torch import nn

from vitpose.training.ema import Ema


def test_average_follows_the_warmed_up_decay():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    ema = Ema(model, 0.5)
    expected = 0.0
    for update, value in enumerate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        ema.update()
        keep = min(0.5, (1 + update) / (10 + update))
        expected = keep * expected + (1 - keep) * value
    with ema.applied():
        assert model.weight.item() == pytest.approx(expected, rel=1e-6)
    assert model.weight.item() == 10.0


def test_batch_norm_statistics_are_averaged_and_frozen_weights_left_alone():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    model[1].weight.requires_grad = False
    ema = Ema(model, 0.9)
    model(torch.full((4, 2), 3.0) + torch.randn(4, 2))
    own = model[0].running_mean.clone()
    ema.update()
    with ema.applied():
        assert (model[0].running_mean - own).abs().min() > 0
    assert torch.equal(model[0].running_mean, own)
    assert "1.weight" not in ema.state()["average"]


def test_state_goes_on_exactly():
    model = nn.Linear(3, 3)
    first = Ema(model, 0.9)
    for _ in range(3):
        with torch.no_grad():
            model.weight.add_(1.0)
        first.update()
    second = Ema(model, 0.9)
    second.load(first.state())
    for ema in (first, second):
        ema.update()
    assert second.updates == 4
    with first.applied():
        one = model.weight.clone()
    with second.applied():
        assert torch.equal(one, model.weight)
