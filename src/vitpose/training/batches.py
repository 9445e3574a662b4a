"""Batches for the loop: which people each step sees, drawn by threads ahead of time.

The people of a step and how each is varied follow from the run's seed and the step alone, so a run that is resumed in
the middle of an epoch goes on with exactly the batches it would have seen, and several processes together see what one
would.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from vitpose.data.batch import Batch
from vitpose.data.mixture import Source

AHEAD = 2
"""Batches that are prepared while one is trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatches:
    """Shuffled passes over a source, cut into this process's share of each step's batch.

    An epoch drops what does not fill a batch (another part each time); a source smaller than a batch is repeated.

    Attributes:
        source: the people.
        batch_size: people a step, over all processes.
        seed: of the run.
        process: number of this process.
        processes: how many there are.
        workers: threads that prepare parts of batches; 0 prepares them when they are asked for.
        device: where the batches go.
    """

    source: Source
    batch_size: int
    seed: int
    process: int = 0
    processes: int = 1
    workers: int = 0
    device: torch.device | str = "cpu"

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the data."""
        return max(len(self.source) // self.batch_size, 1)

    def name_of(self, record: int) -> str:
        """Say which picture and person a record is."""
        return self.source.name_of(record)

    def indices(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the people of this process in ``step`` and a seed for each."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(len(self.source), self.seed, epoch)
        share = self.batch_size // self.processes
        positions = place * self.batch_size + self.process * share + np.arange(share)
        seeds = np.random.SeedSequence((self.seed, epoch, place)).generate_state(self.batch_size, np.uint64)
        mine = seeds[self.process * share : (self.process + 1) * share]
        return order[positions % len(order)], (mine >> np.uint64(1)).astype(np.int64)

    def stream(self, first: int, last: int) -> Iterator[Batch]:
        """Yield this process's share of the batches of steps ``first`` to ``last - 1``, on ``device``."""
        if not self.workers:
            for step in range(first, last):
                yield self.source.draw(*self.indices(step)).to(self.device)
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="batches")
        waiting: deque[list[Future[Batch]]] = deque()
        try:
            for step in range(first, last):
                while len(waiting) <= AHEAD and step + len(waiting) < last:
                    waiting.append(self._submit(pool, step + len(waiting)))
                yield join([part.result() for part in waiting.popleft()]).to(self.device)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, pool: ThreadPoolExecutor, step: int) -> list[Future[Batch]]:
        """Split a step's people evenly over the threads: a batch is ready as soon as all of them are done."""
        indices, seeds = self.indices(step)
        parts = min(self.workers, len(indices))
        return [
            pool.submit(self.source.draw, *pair)
            for pair in zip(np.array_split(indices, parts), np.array_split(seeds, parts), strict=True)
        ]


def _order(people: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(people)


def join(parts: list[Batch]) -> Batch:
    """Put batches one after the other; fewer keypoints are padded with weight 0."""
    if len(parts) == 1:
        return parts[0]
    most = max(part.weights.shape[1] for part in parts)
    missing = [most - part.weights.shape[1] for part in parts]
    return Batch(
        crops=torch.cat([part.crops for part in parts]),
        xy=torch.cat([pad(part.xy, (0, 0, 0, more)) for part, more in zip(parts, missing, strict=True)]),
        weights=torch.cat([pad(part.weights, (0, more)) for part, more in zip(parts, missing, strict=True)]),
        datasets=tuple(name for part in parts for name in part.datasets),
        records=tuple(record for part in parts for record in part.records),
    )
