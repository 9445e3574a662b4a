"""What one training step sees: crops, keypoints in them, and whose they are."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops with labels.

    Attributes:
        crops: ``(batch, height, width, 3)`` uint8 RGB.
        xy: ``(batch, most keypoints, 2)`` float32 in crop pixels; 0, 0 where not labelled.
        weights: ``(batch, most keypoints)`` float32: 1 where labelled, 0 elsewhere and behind a skeleton's last
            keypoint. A labelled keypoint may lie outside the crop; the codec gives those no weight.
        datasets: one name a sample: the head that learns from it.
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
        """Return the batch on ``device``; copies from page-locked memory do not wait."""
        crops, xy, weights = (part.to(device, non_blocking=True) for part in (self.crops, self.xy, self.weights))
        return Batch(crops, xy, weights, self.datasets, self.records)
