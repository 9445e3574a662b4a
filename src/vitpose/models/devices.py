"""Which device a name stands for."""

import torch

from vitpose.core.errors import UsageError


def pick_device(name: str | torch.device) -> torch.device:
    """Return the device called ``name``; ``auto`` is CUDA, else Apple's MPS, else the CPU.

    Raises:
        UsageError: PyTorch has no such device, or it is not here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {str(name)!r}; known: auto, cpu, cuda, cuda:1, mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {str(name)!r} is not here: PyTorch sees {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not here")
    return device
