import math

import numpy as np
import pytest
import torch

from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size

CROP, HEATMAP = Size(256, 192), Size(64, 48)
UNIT = Size(64, 48)  # crop and heatmap of one size: crop pixels are heatmap pixels


def one(x: float, y: float, convention: str = "udp", crop: Size = UNIT) -> tuple[torch.Tensor, float]:
    maps, weights = Codec(convention).encode(torch.tensor([[[x, y]]]), torch.ones(1, 1), crop, HEATMAP)
    return maps[0, 0], float(weights[0, 0])


def test_udp_target_is_the_subpixel_gaussian_cut_at_three_sigma():
    target, weight = one(20.3, 30.6)
    for row in range(64):
        for column in range(48):
            inside = abs(column - 20) <= 6 and abs(row - 31) <= 6
            value = math.exp(-((column - 20.3) ** 2 + (row - 30.6) ** 2) / 8) if inside else 0.0
            assert target[row, column] == pytest.approx(value, abs=1e-6)
    assert weight == 1
    assert target.max() < 1


def test_udp_mean_scales_by_size_minus_one():
    target, _ = one(191.0, 255.0, crop=CROP)
    assert target.argmax() == 64 * 48 - 1
    assert target.max() == 1


def test_msra_target_is_the_same_template_at_a_whole_pixel():
    # 81 / 4 + 0.5 = 20.75 and 122 / 4 + 0.5 = 31.0
    target, weight = one(81.0, 122.0, "msra", CROP)
    assert weight == 1
    assert target[31, 20] == 1
    assert target[31, 22] == pytest.approx(math.exp(-0.5), abs=1e-6)
    assert torch.equal(target[25:38, 14:27], target[25:38, 14:27].flip(0).flip(1))
    assert target.count_nonzero() == 13 * 13


@pytest.mark.parametrize(("convention", "beyond"), [("udp", -7.0), ("msra", -7.5)])
def test_weight_is_zero_only_when_the_patch_lies_wholly_outside(convention, beyond):
    touching = [(-6.0, 9.0), (53.0, 9.0), (9.0, -6.0), (9.0, 69.0)]
    outside = [(beyond, 9.0), (54.0, 9.0), (9.0, beyond), (9.0, 70.0)]
    for weight, places in ((1, touching), (0, outside)):
        for x, y in places:
            target, given = one(x, y, convention)
            assert given == weight, (x, y)
            assert (target.count_nonzero() > 0) == (weight == 1)


def test_only_visible_finite_points_are_drawn():
    xy = torch.tensor(
        [[[10.0, 10.0], [10.0, 10.0], [10.0, 10.0], [math.nan, 3.0], [math.inf, 3.0], [math.nan, math.nan]]]
    )
    visible = torch.tensor([[0, 1, 2, 0, 1, 2]])
    maps, weights = Codec().encode(xy, visible, UNIT, HEATMAP)
    assert weights.tolist() == [[0, 1, 1, 0, 0, 0]]
    assert maps.amax(dim=(2, 3)).tolist() == [[0, 1, 1, 0, 0, 0]]


@pytest.mark.parametrize("people", [0, 1, 3])
@pytest.mark.parametrize("keypoints", [1, 17])
def test_shapes_types_and_people_are_independent(people, keypoints):
    generator = torch.Generator().manual_seed(0)
    xy = torch.rand((people, keypoints, 2), generator=generator) * 190
    visible = torch.randint(0, 3, (people, keypoints), generator=generator)
    maps, weights = Codec().encode(xy, visible, CROP, HEATMAP)
    assert maps.shape == (people, keypoints, 64, 48)
    assert maps.dtype == weights.dtype == torch.float32
    assert torch.equal(weights, (visible > 0).float())
    for person in range(people):
        alone, _ = Codec().encode(xy[person : person + 1], visible[person : person + 1], CROP, HEATMAP)
        assert torch.equal(alone[0], maps[person])


def test_numpy_in_is_the_same():
    xy = np.array([[[33.3, 44.4]]])
    maps, weights = Codec().encode(xy, np.array([[True]]), CROP, HEATMAP)
    again, _ = Codec().encode(torch.tensor(xy), torch.tensor([[2.0]]), CROP, HEATMAP)
    assert torch.equal(maps, again)
    assert weights.tolist() == [[1.0]]


def test_arguments_are_not_changed():
    xy, visible = torch.tensor([[[math.nan, 5.0]]]), torch.zeros(1, 1)
    Codec().encode(xy, visible, CROP, HEATMAP)
    assert math.isnan(xy[0, 0, 0])
    assert xy[0, 0, 1] == 5


def test_wrong_shapes_are_refused():
    with pytest.raises(UsageError, match=r"\(people, keypoints, 2\)"):
        Codec().encode(torch.zeros(2, 17, 3), torch.zeros(2, 17), CROP, HEATMAP)
    with pytest.raises(UsageError, match="visible"):
        Codec().encode(torch.zeros(2, 17, 2), torch.zeros(2, 16), CROP, HEATMAP)
