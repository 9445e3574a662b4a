"""How many threads an engine should use."""

import logging
import os

import torch

_log = logging.getLogger(__name__)


def usable_cores() -> int:
    """Return how many cores this process may use: those the scheduler grants, within a container's share.

    ``os.cpu_count`` counts the machine's cores, of which a container or a batch system often grants a few; one thread a
    core more than there are costs far more than one less.
    """
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    limits = [granted, _container_share() or granted]
    if wanted.isdigit() and int(wanted) > 0:
        limits.append(int(wanted))
    return max(1, min(limits))


def fit_torch_threads() -> None:
    """Let PyTorch start no more threads than there are cores for it: in a container it counts the machine's.

    Only ever lowers the number, so that what a user has set stays.
    """
    cores = usable_cores()
    if cores < torch.get_num_threads():
        torch.set_num_threads(cores)


def fit_forked_threads(process: int) -> int:
    """Let PyTorch work alone in a child process: its threads do not survive a fork, and it would wait for them forever.

    Args:
        process: in which the caller was last.

    Returns:
        the process it is in now.
    """
    here = os.getpid()
    if here != process and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        _log.warning("after a fork PyTorch runs in one thread: start processes with `spawn`, or load in the child")
    return here


def _container_share(path: str = "/sys/fs/cgroup/cpu.max") -> int | None:
    """Return the whole cores of a control group's quota, rounded up; None where there is no limit."""
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - a kernel file, read as it is
            quota, _, period = file.read().strip().partition(" ")
        return None if quota == "max" else max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return None
