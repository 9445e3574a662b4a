"""One optimiser step: micro-batches, accumulation, clipping, and what happens when something gives way.

Distribution and mixed precision are those of Hugging Face Accelerate; here is only what it does not do: a batch that
does not fit in memory is cut smaller without changing what is learned (but for batch norms, which see smaller parts
then), and a loss that is not a number never reaches the weights.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitpose.core.errors import VitPoseError
from vitpose.data.batch import Batch
from vitpose.training.optim import trainable
from vitpose.training.processes import any_process


class BadLossError(VitPoseError):
    """The loss or its gradient is not a finite number."""

    def __init__(self, step: int, records: tuple[int, ...], what: str) -> None:
        super().__init__(f"step {step}: the {what} is not a finite number")
        self.step = step
        self.records = records
        self.what = what


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step gave.

    Attributes:
        loss: mean over the batch of this process.
        logs: the objective's own numbers, means over the micro-batches that had them.
        grad_norm: L2 norm of the gradient before clipping.
    """

    loss: float
    logs: dict[str, float]
    grad_norm: float


@dataclass
class Stepper:
    """Runs optimiser steps; ``micro_batch`` is the one thing about it that changes.

    Attributes:
        accelerator: a ``accelerate.Accelerator``.
        objective: prepared by it: batch to (loss, logs).
        optimizer: prepared by it.
        clip_norm: largest L2 norm of the gradient, 0 for none.
        seed: of the run.
        micro_batch: people at once; 0 for the whole batch of the process.
        notify: told in words when the micro-batch was halved.
    """

    accelerator: Any
    objective: nn.Module
    optimizer: Any
    clip_norm: float
    seed: int
    micro_batch: int
    notify: Callable[[str], None]
    _tried: set[int] = field(default_factory=set)

    def __call__(self, batch: Batch, step: int) -> StepResult:
        """Do one step with this process's share of the batch; after it the weights have moved.

        Raises:
            BadLossError: a loss or the gradient is not finite; the weights have not moved.
            VitPoseError: not even one person at a time fits in memory.
        """
        while True:
            size = min(self.micro_batch or len(batch.datasets), len(batch.datasets))
            try:
                self._rehearse(batch, step, size)
                parts = self._backward(batch, step, size)
                break
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            self._halve(size, len(batch.datasets))
        norm = self._finish(batch, step, parts)
        loss = float(torch.stack([part[0] for part in parts]).sum())
        return StepResult(loss, _mean_logs([part[1] for part in parts]), norm)

    def _backward(self, batch: Batch, step: int, size: int) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """Add up the gradients of all micro-batches; the last one also averages over the processes."""
        seed_step(self.seed, step, self.accelerator.process_index)
        self.optimizer.zero_grad(set_to_none=True)
        total = len(batch.datasets)
        parts = []
        for start in range(0, total, size):
            last = start + size >= total
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.objective):
                part = batch if size == total else cut(batch, start, start + size)
                loss, logs = self.objective(part)
                share = loss * (len(part.datasets) / total)
                self.accelerator.backward(share)
            parts.append((share.detach(), logs))
        return parts

    def _rehearse(self, batch: Batch, step: int, size: int) -> None:
        """With several processes, find out together whether a new size fits, before anyone waits for the others."""
        if self.accelerator.num_processes == 1 or size in self._tried:
            return
        failed = 0
        seed_step(self.seed, step, self.accelerator.process_index)
        try:
            with self.accelerator.no_sync(self.objective), _buffers_kept(self.objective):
                loss, _ = self.objective(cut(batch, 0, size))
                self.accelerator.backward(loss * 0.0)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            failed = 1
        if any_process(self.accelerator, failed > 0):
            raise torch.OutOfMemoryError("out of memory in one of the processes")
        self._tried.add(size)

    def _halve(self, size: int, total: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if size == 1:
            raise VitPoseError(
                "out of memory with one person at a time: set loop.checkpointing = true or loop.precision = 'bf16',"
                " or take a smaller model or input size"
            )
        self.micro_batch = -(-size // 2)
        self.notify(
            f"out of memory: micro-batch {size} -> {self.micro_batch}; the effective batch stays at"
            f" {total * self.accelerator.num_processes} by accumulating {-(-total // self.micro_batch)} times"
        )

    def _finish(self, batch: Batch, step: int, parts: list[tuple[Tensor, dict[str, Tensor]]]) -> float:
        """Check, clip and move the weights; return the gradient's norm."""
        size = min(self.micro_batch or len(batch.datasets), len(batch.datasets))
        losses = torch.stack([part[0] for part in parts])
        finite = torch.isfinite(losses).tolist()
        bad = tuple(
            record
            for index, good in enumerate(finite)
            if not good
            for record in batch.records[index * size : (index + 1) * size]
        )
        if any_process(self.accelerator, bool(bad)):
            self.optimizer.zero_grad(set_to_none=True)
            raise BadLossError(step, bad, "loss" if bad else "loss of another process")
        limit = self.clip_norm or float("inf")
        norm = float(self.accelerator.clip_grad_norm_(list(trainable(self.objective)), limit))
        if not np.isfinite(norm) and self.accelerator.scaler is None:
            self.optimizer.zero_grad(set_to_none=True)
            raise BadLossError(step, batch.records, "gradient")
        self.optimizer.step()
        return norm


def seed_step(seed: int, step: int, process: int) -> None:
    """Seed PyTorch from the run's seed, the step and the process.

    All of a step's randomness follows from these, so a resumed run, or a step that is done again with smaller
    micro-batches, needs no saved generator to draw the same numbers.
    """
    torch.manual_seed(
        int(np.random.SeedSequence((seed, step, process)).generate_state(1, np.uint64)[0] >> np.uint64(1))
    )


def is_out_of_memory(error: Exception) -> bool:
    """Tell a failed allocation, on any device, from other errors."""
    text = str(error)
    # The CPU's allocator speaks otherwise on Windows than elsewhere; cuBLAS has a word of its own.
    words = ("not enough memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(one in text for one in words)


def cut(batch: Batch, start: int, stop: int) -> Batch:
    """Return people ``start`` to ``stop`` of a batch."""
    return Batch(
        crops=batch.crops[start:stop],
        xy=batch.xy[start:stop],
        weights=batch.weights[start:stop],
        datasets=batch.datasets[start:stop],
        records=batch.records[start:stop],
    )


@contextlib.contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Put buffers, such as batch-norm statistics, back as they were."""
    kept = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(module.buffers(), kept, strict=True):
            buffer.copy_(value)


def _mean_logs(logs: list[dict[str, Tensor]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in logs for name in one)
    return {name: float(torch.stack([one[name] for one in logs if name in one]).mean()) for name in names}
