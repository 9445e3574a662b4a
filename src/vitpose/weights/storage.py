"""Half-precision storage: smaller files, exact to read back, lossy to write."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vitpose.core.errors import WeightsError

_LARGEST = torch.finfo(torch.float16).max


def to_half(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Round floating tensors to float16; integers stay.

    Reading casts back to float32, which is exact, so a second round trip changes nothing.

    Raises:
        WeightsError: a value is too large for float16.
    """
    found = {}
    for name, value in tensors.items():
        if value.is_floating_point() and value.numel() and float(value.abs().max()) > _LARGEST:
            raise WeightsError(f"tensor {name} for {where} has values beyond float16's {_LARGEST:g}; leave half off")
        found[name] = value.to(torch.float16) if value.is_floating_point() else value
    return found
