"""The labels of a set as arrays, and the one way from them to varied regions and keypoints in crops.

``topdown`` and ``resident`` differ in how they warp pixels and share everything here.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Convention, CropTransform, Size
from vitpose.data.augment import Augmentation, People, Variation, vary
from vitpose.data.records import LabelledSet, regions


@dataclass(frozen=True, slots=True, kw_only=True)
class CropPlan:
    """How people are cut out for one head.

    Attributes:
        dataset: the head that learns from them.
        size: of the crops.
        convention: how the head's crops and heatmaps relate.
        square: stretch square regions into the crop.
        augmentation: how crops are varied.
    """

    dataset: str
    size: Size
    convention: Convention = "udp"
    square: bool = False
    augmentation: Augmentation


@dataclass(frozen=True, slots=True, eq=False)
class LabelArrays:
    """The people of a labelled set, ready to be drawn from by index.

    Attributes:
        labelled: the set.
        plan: how its people are cut out.
        people: arrays in the order of the records.
    """

    labelled: LabelledSet
    plan: CropPlan
    people: People

    @classmethod
    def of(cls, labelled: LabelledSet, plan: CropPlan) -> "LabelArrays":
        """Collect the arrays.

        Raises:
            UsageError: the set has nobody in it.
        """
        records = labelled.records
        if not records:
            raise UsageError(f"{labelled.name} has no people to train on")
        centers, extents = regions(records, plan.size, square=plan.square)
        boxes = np.stack([record.box for record in records])
        people = People(
            centers,
            extents,
            boxes[:, 2:] - boxes[:, :2],
            np.stack([record.keypoints for record in records]).astype(np.float64),
            np.stack([record.visibility for record in records]) > 0,
        )
        return cls(labelled, plan, people)

    def __len__(self) -> int:
        return len(self.labelled.records)

    def name_of(self, index: int) -> str:
        """Say which picture and person an index is."""
        record = self.labelled.records[index]
        return f"{record.image.name}, annotation {record.annotation_id} of {self.labelled.name}"

    def vary(self, indices: NDArray[np.int64], seeds: NDArray[np.int64]) -> tuple[CropTransform, Variation]:
        """Draw how the people ``indices`` are shown; ``(samples,)`` both."""
        skeleton = self.labelled.skeleton
        upper = np.array([name in skeleton.upper_body for name in skeleton.keypoints])
        chosen = self.people.select(indices)
        variation = vary(chosen, self.plan.augmentation, seeds, self.plan.size, upper)
        transform = CropTransform.from_regions(
            variation.centers,
            variation.extents,
            self.plan.size,
            rotations_deg=variation.rotations_deg,
            mirror=variation.mirror,
            convention=self.plan.convention,
        )
        return transform, variation

    def targets(
        self, indices: NDArray[np.int64], transform: CropTransform, mirror: NDArray[np.bool_]
    ) -> tuple[Tensor, Tensor]:
        """Return ``(samples, keypoints, 2)`` float32 points in the crops and ``(samples, keypoints)`` weights."""
        xy = transform.to_crop(self.people.keypoints[indices])
        visible = self.people.visible[indices]
        flip = self.labelled.skeleton.flip_indices
        xy[mirror], visible[mirror] = xy[mirror][:, flip], visible[mirror][:, flip]
        xy[~visible] = 0
        return torch.from_numpy(xy.astype(np.float32)), torch.from_numpy(visible.astype(np.float32))


def shrunk(transform: CropTransform, ratios: NDArray[np.float64]) -> CropTransform:
    """Return the transform for pictures whose pixels ``x`` became ``(x + 0.5) * ratio - 0.5``.

    Args:
        transform: for the pictures as labelled.
        ratios: ``(people, 2)`` new over old width and height.
    """
    matrices = transform.matrices.copy()
    # Old pixel = (new + 0.5) / ratio - 0.5, put into the affine map.
    matrices[:, :, 2] += np.einsum("pij,pj->pi", matrices[:, :, :2], 0.5 / ratios - 0.5)
    matrices[:, :, :2] /= ratios[:, None, :]
    return replace(transform, matrices=matrices)
