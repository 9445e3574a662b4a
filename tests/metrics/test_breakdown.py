import math

import numpy as np
import pytest

from vitpose.core.errors import UsageError
from vitpose.metrics.breakdown import CROWDING, OCCLUSION, SIZE, Slicing, break_down, crowding, occlusion


def test_occlusion_is_the_hidden_share_of_the_labelled() -> None:
    shares = occlusion([[2, 2, 0], [1, 2, 0], [1, 1, 1], [0, 0, 0]])
    np.testing.assert_allclose(shares[:3], [0, 0.5, 1])
    assert math.isnan(shares[3])


def test_crowding_looks_only_at_the_same_picture() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]]
    np.testing.assert_allclose(crowding(boxes, [0, 1, 0, 0]), [1 / 3, 0, 1 / 3, 0])
    assert crowding([], []).shape == (0,)


def test_every_person_is_in_exactly_one_group() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(500)
    for attribute, slicing in (
        (rng.random(500) * 1e5, SIZE),
        (rng.random(500), OCCLUSION),
        (rng.random(500), CROWDING),
    ):
        groups = break_down(values, attribute, slicing)
        assert sum(group.people for group in groups) == 500
        total = sum(group.mean * group.people for group in groups if group.people)
        assert total == pytest.approx(values.sum())


def test_edges_and_empty_groups() -> None:
    groups = break_down([0.1, 0.2, 0.3, 0.4, np.nan], [0.0, 0.25, 0.5, 1.0, 0.1], OCCLUSION)
    assert [group.people for group in groups] == [1, 0, 1, 2]
    assert groups[3].mean == pytest.approx(0.35)
    assert math.isnan(groups[1].mean)


def test_wrong_slicing() -> None:
    with pytest.raises(UsageError, match="rising edges"):
        Slicing("size", (0, 1), ("a", "b"))
    with pytest.raises(UsageError, match="rising edges"):
        Slicing("size", (0, 2, 1), ("a", "b"))
