"""People cut out of pictures as they are read: the source for sets that do not fit on the accelerator."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.data.augment import Variation
from vitpose.data.batch import Batch
from vitpose.data.people import CropPlan, LabelArrays
from vitpose.data.records import LabelledSet
from vitpose.media.images import read_image


@dataclass(frozen=True, slots=True, eq=False)
class TopDown:
    """Varied crops of labelled people; decoding and warping release Python's lock, so threads run side by side."""

    labels: LabelArrays

    @classmethod
    def of(cls, labelled: LabelledSet, plan: CropPlan) -> "TopDown":
        """Make a source of the people of ``labelled``.

        Raises:
            UsageError: the set has nobody in it.
        """
        return cls(LabelArrays.of(labelled, plan))

    def __len__(self) -> int:
        return len(self.labels)

    def name_of(self, index: int) -> str:
        """Say which picture and person an index is."""
        return self.labels.name_of(index)

    def draw(self, indices: NDArray[np.int64], seeds: NDArray[np.int64]) -> Batch:
        """Return varied crops and labels.

        Args:
            indices: ``(samples,)`` positions in the set.
            seeds: ``(samples,)`` what decides how each is varied.

        Raises:
            InputError: a picture is missing or damaged.
        """
        transform, variation = self.labels.vary(indices, seeds)
        crops = np.empty((len(indices), *self.labels.plan.size, 3), dtype=np.uint8)
        for row, index in enumerate(indices):
            image = read_image(self.labels.labelled.records[index].image)
            crops[row] = recolored(transform[row : row + 1].warp(image)[0], variation, row)
        xy, weights = self.labels.targets(indices, transform, variation.mirror)
        names = (self.labels.plan.dataset,) * len(indices)
        return Batch(torch.from_numpy(crops), xy, weights, names, tuple(int(index) for index in indices))


def recolored(crop: NDArray[np.uint8], variation: Variation, row: int) -> NDArray[np.uint8]:
    """Return a crop in the colours of sample ``row``, with its cover."""
    if variation.colors is not None and variation.curves is not None:
        crop = np.asarray(cv2.transform(cv2.LUT(crop, variation.curves[row]), variation.colors[row]), dtype=np.uint8)
    if variation.erased is not None and variation.covers is not None:
        x1, y1, x2, y2 = variation.erased[row]
        crop = crop.copy()
        crop[y1:y2, x1:x2] = variation.covers[row]
    return crop
