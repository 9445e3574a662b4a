"""Processes that train together: ``torchrun`` and ``accelerate launch`` start them, Accelerate joins them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from vitpose.core.errors import UsageError
from vitpose.core.extras import require

T = TypeVar("T")

_PATIENCE = timedelta(hours=12)
"""How long the others wait while the first evaluates: ten minutes, the usual limit, are too few for large sets."""


def join_processes(
    batch_size: int, *, precision: str = "no", cpu: bool = False, unused: bool = False, name: str = "batch_size"
) -> Any:
    """Return the ``Accelerator`` of this process; whoever launched it tells it about the others.

    Args:
        batch_size: of a step, shared by all processes.
        precision: as Accelerate calls it: ``no``, ``fp16``, ``bf16``.
        cpu: leave an accelerator alone.
        unused: some parameters may have no part in a step's loss.
        name: of the setting ``batch_size``, for messages.

    Raises:
        MissingExtraError: Accelerate is not installed.
        UsageError: the batch cannot be shared evenly.
    """
    require("accelerate", "train", "training")
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    # A second run in one process may have another precision; Accelerate keeps the first one's in a shared state.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=cpu,
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=unused, broadcast_buffers=False),
            InitProcessGroupKwargs(timeout=_PATIENCE),
        ],
    )
    if batch_size % accelerator.num_processes:
        raise UsageError(f"{name} {batch_size} cannot be shared evenly by {accelerator.num_processes} processes")
    return accelerator


def any_process(accelerator: Any, flag: bool) -> bool:
    """Say whether ``flag`` is true in any process."""
    if accelerator.num_processes == 1:
        return flag
    mine = torch.tensor([int(flag)], device=accelerator.device)
    return int(accelerator.reduce(mine, reduction="sum")) > 0


def told_by_first(accelerator: Any, make: Callable[[], T]) -> T:
    """Return what the first process makes, in all of them; the others wait and make nothing."""
    if accelerator.num_processes == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    found: list[T] = broadcast_object_list([make() if accelerator.is_main_process else None], from_process=0)
    return found[0]


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a number over all processes that train, without a gradient; alone, the number itself.

    What a loss is divided by has to be everybody's: a process that sees little would weigh it as much as one that sees
    more.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return value.detach()
    found = value.detach().clone()
    dist.all_reduce(found)
    return found / dist.get_world_size()
