import pytest
import torch

from vitpose.core.errors import UsageError
from vitpose.models.pixels import MEAN, STD, normalize


def test_agrees_with_the_formula_and_keeps_people_and_channels_apart() -> None:
    crops = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    found = normalize(crops)
    assert found.shape == (2, 3, 5, 7)
    assert found.dtype == torch.float32
    wanted = (crops.double() / 255 - torch.tensor(MEAN).double()) / torch.tensor(STD).double()
    torch.testing.assert_close(found.double(), wanted.permute(0, 3, 1, 2), atol=2e-6, rtol=0)


def test_black_is_not_zero() -> None:
    black = normalize(torch.zeros(1, 2, 2, 3, dtype=torch.uint8))
    assert black[0, :, 0, 0].tolist() == pytest.approx([-2.1179, -2.0357, -1.8044], abs=1e-4)


def test_half_precision_rounds_once() -> None:
    crops = torch.arange(256, dtype=torch.uint8).repeat(3, 1).T.reshape(1, 16, 16, 3).contiguous()
    assert torch.equal(normalize(crops, torch.bfloat16), normalize(crops).bfloat16())


def test_nobody() -> None:
    assert normalize(torch.zeros(0, 4, 4, 3, dtype=torch.uint8)).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    "crops", [torch.zeros(1, 4, 4, 3), torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.zeros(4, 4, 3).byte()]
)
def test_refuses_other_types_and_shapes(crops: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"uint8 RGB of shape \(people, height, width, 3\)"):
        normalize(crops)
