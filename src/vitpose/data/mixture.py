"""Several sources as one: people of different sets, skeletons and heads in one batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.data.batch import Batch


class Source(Protocol):
    """People to train on, by position."""

    def __len__(self) -> int:
        """How many people there are."""

    def draw(self, indices: NDArray[np.int64], seeds: NDArray[np.int64]) -> Batch:
        """Return varied crops and labels of the people ``indices``; ``seeds`` decides how each is varied."""

    def name_of(self, index: int) -> str:
        """Say which picture and person an index is."""


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Positions of several sources, one behind the other.

    Without weights every person of every set is there once: shuffled, this is the concatenation that ViTPose+ trains
    on. With weights a set has its share of the positions, whatever its size: people of a small set are there several
    times, and a position of a large set stands for one of several of its people, chosen by the sample's seed.

    Which people a step sees follows from positions and seeds alone; both come from the caller, who may hand a part of
    them to each of several processes.

    Attributes:
        sources: at least one, with one crop size.
        shares: how many positions each has.
    """

    sources: tuple[Source, ...]
    shares: tuple[int, ...]

    @classmethod
    def of(cls, sources: Sequence[Source], weights: Sequence[float] | None = None) -> "Mixture":
        """Join sources.

        Args:
            sources: at least one.
            weights: share of each in what is seen, above 0, in any unit; None concatenates.

        Raises:
            UsageError: no sources, or weights that do not fit.
        """
        if not sources:
            raise UsageError("a mixture needs at least one source")
        sizes = [len(source) for source in sources]
        if weights is None:
            return cls(tuple(sources), tuple(sizes))
        if len(weights) != len(sources) or not all(weight > 0 for weight in weights):
            raise UsageError(f"a mixture of {len(sources)} sources needs as many weights above 0, not {list(weights)}")
        total = sum(weights)
        return cls(tuple(sources), tuple(max(round(sum(sizes) * weight / total), 1) for weight in weights))

    def __len__(self) -> int:
        return sum(self.shares)

    def name_of(self, index: int) -> str:
        """Say which picture and person a record is; ``index`` counts all people of all sources."""
        ends = np.cumsum([len(source) for source in self.sources])
        which = int(np.searchsorted(ends, index, side="right"))
        return self.sources[which].name_of(index - int(ends[which]) + len(self.sources[which]))

    def people(
        self, indices: NDArray[np.int64], seeds: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which source each position belongs to and which of its people it is, ``(samples,)`` both."""
        ends = np.cumsum(self.shares)
        which = np.searchsorted(ends, indices, side="right")
        places = indices - (ends - self.shares)[which]
        sizes = np.array([len(source) for source in self.sources])[which]
        share = np.array(self.shares)[which]
        # Position p of s stands for people p, p + s, p + 2 s … below the size, or for person p modulo the size.
        turns = -(-(sizes - places) // share)
        return which, np.where(share < sizes, places + share * (seeds % np.maximum(turns, 1)), places % sizes)

    def draw(self, indices: NDArray[np.int64], seeds: NDArray[np.int64]) -> Batch:
        """Return varied crops and labels, in the order of ``indices``; ``records`` counts all people of all sources.

        Raises:
            InputError: a picture is missing or damaged.
        """
        which, places = self.people(indices, seeds)
        starts = np.concatenate([[0], np.cumsum([len(source) for source in self.sources])])
        parts: list[Batch] = []
        rows: list[NDArray[np.int64]] = []
        for index, source in enumerate(self.sources):
            own = np.flatnonzero(which == index)
            if len(own):
                part = source.draw(places[own], seeds[own])
                records = tuple(int(starts[index]) + record for record in part.records)
                parts.append(Batch(part.crops, part.xy, part.weights, part.datasets, records))
                rows.append(own)
        return _interleaved(parts, np.concatenate(rows))


def _interleaved(parts: Sequence[Batch], rows: NDArray[np.int64]) -> Batch:
    """Put the samples of ``parts``, one after the other, at ``rows``; fewer keypoints are padded with weight 0."""
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(rows)
    most = max(part.xy.shape[1] for part in parts)
    missing = [most - part.xy.shape[1] for part in parts]
    pad = torch.nn.functional.pad
    index = torch.from_numpy(order).to(parts[0].crops.device)
    datasets = [name for part in parts for name in part.datasets]
    records = [record for part in parts for record in part.records]
    return Batch(
        torch.cat([part.crops for part in parts])[index],
        torch.cat([pad(part.xy, (0, 0, 0, more)) for part, more in zip(parts, missing, strict=True)])[index],
        torch.cat([pad(part.weights, (0, more)) for part, more in zip(parts, missing, strict=True)])[index],
        tuple(datasets[row] for row in order),
        tuple(records[row] for row in order),
    )
