"""Mixtures: who is seen how often, and samples of different skeletons side by side."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_sets import draw_pictures, make_set

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.data.augment import MMPOSE
from vitpose.data.mixture import Mixture
from vitpose.data.people import CropPlan
from vitpose.data.topdown import TopDown

SIZES = (7, 3, 12)


@pytest.fixture
def sources(tmp_path):
    made = []
    for name, count, skeleton in zip("abc", SIZES, ("coco17", "aic14", "ap10k17"), strict=True):
        labelled = replace(make_set(load_skeleton(skeleton), people=count, folder=tmp_path / name), name=name)
        draw_pictures(labelled, seed=count)
        convention = "udp" if name == "a" else "msra"
        plan = CropPlan(dataset=name, size=Size(32, 24), convention=convention, augmentation=MMPOSE)
        made.append(TopDown.of(labelled, plan))
    return made


def test_concatenation_has_everybody_once(sources):
    mixture = Mixture.of(sources)
    assert len(mixture) == sum(SIZES)
    which, places = mixture.people(np.arange(len(mixture)), np.arange(len(mixture)))
    assert Counter(zip(which, places, strict=True)) == Counter((s, p) for s, n in enumerate(SIZES) for p in range(n))


def test_weights_give_shares(sources):
    mixture = Mixture.of(sources, [1, 1, 2])
    which, places = mixture.people(np.arange(len(mixture)), np.arange(len(mixture)))
    counts = Counter(which.tolist())
    assert counts[0] == counts[1] == 6
    assert counts[2] == 11
    assert set(places[which == 1]) == {0, 1, 2}
    seen = set()
    for seed in range(200):
        which, places = mixture.people(np.arange(len(mixture)), np.full(len(mixture), seed))
        of_last = places[which == 2]
        assert len(set(of_last)) == len(of_last)
        assert of_last.max() < 12
        seen |= set(of_last.tolist())
    assert seen == set(range(12))


def test_samples_stand_in_the_order_asked_for(sources):
    mixture = Mixture.of(sources)
    indices, seeds = np.array([20, 0, 8, 7, 21, 6, 1]), np.arange(7) + 100
    batch = mixture.draw(indices, seeds)
    assert batch.datasets == ("c", "a", "b", "b", "c", "a", "a")
    assert batch.records == tuple(indices)
    assert batch.xy.shape == (7, 17, 2)
    assert batch.weights.shape == (7, 17)
    for row, (index, seed) in enumerate(zip(indices, seeds, strict=True)):
        single = mixture.draw(np.array([index]), np.array([seed]))
        count = single.xy.shape[1]
        torch.testing.assert_close(single.crops[0], batch.crops[row], rtol=0, atol=0)
        torch.testing.assert_close(single.xy[0], batch.xy[row, :count], rtol=0, atol=0)
        torch.testing.assert_close(single.weights[0], batch.weights[row, :count], rtol=0, atol=0)
        assert not batch.weights[row, count:].any()
    assert mixture.name_of(8) == "000.png, annotation 1 of b"


def test_two_processes_see_together_what_one_sees(sources):
    mixture = Mixture.of(sources, [3, 1, 1])
    indices, seeds = np.random.default_rng(0).permutation(len(mixture))[:12], np.arange(12)
    whole = mixture.draw(indices, seeds)
    halves = [mixture.draw(indices[part], seeds[part]) for part in (slice(6), slice(6, 12))]
    torch.testing.assert_close(torch.cat([half.crops for half in halves]), whole.crops, rtol=0, atol=0)
    assert halves[0].datasets + halves[1].datasets == whole.datasets
    assert halves[0].records + halves[1].records == whole.records


def test_what_is_no_mixture(sources):
    with pytest.raises(UsageError, match="at least one"):
        Mixture.of([])
    with pytest.raises(UsageError, match="3 sources"):
        Mixture.of(sources, [1, 2])
    with pytest.raises(UsageError, match="above 0"):
        Mixture.of(sources, [1, 0, 1])
