"""What one training step sees: crops, keypoints in them, and whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Sample(NamedTuple):
    """One person, cut out.

    Attributes:
        crop: ``(height, width, 3)`` uint8 RGB.
        xy: ``(keypoints, 2)`` float32 in crop pixels; 0, 0 where not labelled.
        weights: ``(keypoints,)`` float32, 1 where labelled and 0 elsewhere.
        dataset: which head learns from it.
        record: position in the source it came from.
    """

    crop: NDArray[np.uint8]
    xy: NDArray[np.float32]
    weights: NDArray[np.float32]
    dataset: str
    record: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops with labels.

    Attributes:
        crops: ``(batch, height, width, 3)`` uint8 RGB.
        xy: ``(batch, most keypoints, 2)`` float32 in crop pixels.
        weights: ``(batch, most keypoints)`` float32: 1 where labelled, 0 elsewhere and behind a skeleton's last
            keypoint. A labelled keypoint may lie outside the crop; the codec gives those no weight.
        datasets: one name a sample.
        records: position of each sample in the source it came from.
    """

    crops: Tensor
    xy: Tensor
    weights: Tensor
    datasets: tuple[str, ...]
    records: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.datasets)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on ``device``; copies from pinned memory do not wait."""
        crops, xy, weights = (part.to(device, non_blocking=True) for part in (self.crops, self.xy, self.weights))
        return Batch(crops, xy, weights, self.datasets, self.records)

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory; ``DataLoader(pin_memory=True)`` calls this."""
        crops, xy, weights = (part.pin_memory() for part in (self.crops, self.xy, self.weights))
        return Batch(crops, xy, weights, self.datasets, self.records)


def pad_keypoints(xy: NDArray[np.floating], weights: NDArray[np.floating], keypoints: int) -> tuple[Tensor, Tensor]:
    """Return ``(people, keypoints, 2)`` and ``(people, keypoints)`` float32 tensors with weightless rows appended."""
    padded_xy = torch.zeros(len(xy), keypoints, 2)
    padded_weights = torch.zeros(len(xy), keypoints)
    padded_xy[:, : xy.shape[1]] = torch.from_numpy(np.ascontiguousarray(xy, dtype=np.float32))
    padded_weights[:, : xy.shape[1]] = torch.from_numpy(np.ascontiguousarray(weights, dtype=np.float32))
    return padded_xy, padded_weights


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one crop size; skeletons with fewer keypoints are padded with weight 0."""
    most = max(len(sample.weights) for sample in samples)
    xy = torch.zeros(len(samples), most, 2)
    weights = torch.zeros(len(samples), most)
    for row, sample in enumerate(samples):
        count = len(sample.weights)
        xy[row, :count] = torch.from_numpy(sample.xy)
        weights[row, :count] = torch.from_numpy(sample.weights)
    crops = torch.from_numpy(np.stack([sample.crop for sample in samples]))
    return Batch(
        crops,
        xy,
        weights,
        tuple(sample.dataset for sample in samples),
        tuple(sample.record for sample in samples),
    )
