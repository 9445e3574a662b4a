"""Half-precision storage: smaller files, exact to read back, lossy to write."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vitpose.core.errors import WeightsError

_LARGEST = torch.finfo(torch.float16).max
_STATISTICS = ("running_mean", "running_var")


def to_half(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Round floating tensors to float16; integers stay, and so do the running statistics of batch norms.

    Variances span more than float16 does at both ends, and take next to no room. Reading casts back to float32, which
    is exact, so a second round trip changes nothing.

    Raises:
        WeightsError: a value is too large for float16.
    """
    found = {}
    for name, value in tensors.items():
        if not value.is_floating_point() or name.endswith(_STATISTICS):
            found[name] = value
            continue
        if value.numel() and float(value.abs().max()) > _LARGEST:
            raise WeightsError(f"tensor {name} for {where} has values beyond float16's {_LARGEST:g}; leave half off")
        found[name] = value.to(torch.float16)
    return found
