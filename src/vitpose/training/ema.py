"""An exponential moving average of the weights, in float32, for evaluation and for the checkpoints that are kept."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class Ema:
    """Averages what learns in a model: trainable parameters and batch-norm statistics.

    The decay warms up as ``min(decay, (1 + n) / (10 + n))`` with the number of updates ``n``, so that a short run is
    not held back by its random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the model's weights.

        Args:
            model: the module that is trained.
            decay: how much of the average stays at each update, in 0..1.
        """
        self._model = model
        self._decay = decay
        self._updates = 0
        self._average = {name: value.detach().float().clone() for name, value in _averaged(model)}

    @property
    def updates(self) -> int:
        """How many times ``update`` was called."""
        return self._updates

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model's weights."""
        self._updates += 1
        keep = min(self._decay, (1 + self._updates) / (10 + self._updates))
        current = [value.detach().float() for _, value in _averaged(self._model)]
        torch._foreach_lerp_(list(self._average.values()), current, 1 - keep)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model for the time of a ``with`` block."""
        own = {name: value.detach().clone() for name, value in _averaged(self._model)}
        self._copy(self._average)
        try:
            yield
        finally:
            self._copy(own)

    def state(self) -> dict[str, object]:
        """Return what ``load`` needs to go on exactly."""
        return {"updates": self._updates, "average": self._average}

    def load(self, state: Mapping[str, object]) -> None:
        """Go on from what ``state`` returned."""
        average = state["average"]
        updates = state["updates"]
        assert isinstance(average, dict)
        assert isinstance(updates, int)
        for name, tensor in self._average.items():
            tensor.copy_(average[name])
        self._updates = updates

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, value in _averaged(self._model):
            value.copy_(values[name])


def _averaged(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what changes in training; what is frozen needs no average."""
    yield from ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    yield from ((name, buffer) for name, buffer in model.named_buffers() if "running_" in name)
