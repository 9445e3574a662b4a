"""Which device a name stands for."""

import re
from typing import Final

import torch

from vitpose.core.errors import UsageError, nearest

KNOWN: Final = ("auto", "cpu", "cuda", "cuda:1", "mps")
"""What can be written; of CUDA devices any number."""

_NAME: Final = re.compile(r"(cpu|cuda|mps)(?::(\d{1,9}))?")


def pick_device(name: str | torch.device) -> torch.device:
    """Return the device called ``name``; ``auto`` is CUDA, else Apple's MPS, else the CPU.

    PyTorch has names for more (``meta``, ``xpu`` …), on which these models were never run: they are no devices here.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``, or the device itself.

    Raises:
        UsageError: another device, with the nearest name; or one that is not here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    found = _NAME.fullmatch(str(name))
    if found is None:
        raise UsageError(f"unknown device {str(name)!r}{nearest(str(name), KNOWN)}")
    kind, number = found[1], int(found[2] or 0)  # PyTorch itself takes cuda:256 for cuda:0
    if kind == "cuda" and number >= torch.cuda.device_count():
        raise UsageError(f"device {str(name)!r} is not here: PyTorch sees {torch.cuda.device_count()} CUDA devices")
    if kind != "cuda" and number:
        raise UsageError(f"device {str(name)!r} is not here: of {kind} there is one, called {kind!r}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not here")
    return torch.device(name)
