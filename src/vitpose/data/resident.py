"""People cut out on the accelerator: all pictures are kept there, and no step waits for a disk or a decoder.

The laws are those of ``topdown``: the same seed gives the same region, and the crops agree to within a grey level
(OpenCV before version 5 rounds positions to 1/32 pixel and differs by a few levels at sharp edges).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.data.augment import Variation
from vitpose.data.batch import Batch
from vitpose.data.people import CropPlan, LabelArrays, shrunk
from vitpose.data.records import LabelledSet
from vitpose.media.images import read_image

_TOGETHER = 64
"""Crops that are warped at once: bounds the memory for positions."""


@dataclass(frozen=True, slots=True, eq=False)
class PictureStore:
    """Pictures of different sizes in one block of memory.

    Attributes:
        pixels: ``(all pixels, 3)`` uint8 RGB.
        starts: ``(pictures,)`` where each begins.
        heights: ``(pictures,)``.
        widths: ``(pictures,)``.
        ratios: ``(pictures, 2)`` kept over original width and height, in the main memory.
    """

    pixels: Tensor
    starts: Tensor
    heights: Tensor
    widths: Tensor
    ratios: NDArray[np.float64]

    def warp(self, pictures: Tensor, inverse: Tensor, size: Size) -> Tensor:
        """Cut crops out, bilinear, black outside the picture.

        Args:
            pictures: ``(samples,)`` which picture each crop is of.
            inverse: ``(samples, 2, 3)`` float32 crop pixels to picture pixels.
            size: of the crops.

        Returns:
            ``(samples, height, width, 3)`` uint8.
        """
        starts = range(0, len(pictures), _TOGETHER)
        parts = [(pictures[start : start + _TOGETHER], inverse[start : start + _TOGETHER]) for start in starts]
        return torch.cat([self._warp(some, matrices, size) for some, matrices in parts])

    def _warp(self, pictures: Tensor, inverse: Tensor, size: Size) -> Tensor:
        device = inverse.device
        y = torch.arange(size.height, device=device, dtype=torch.float32)[:, None]
        x = torch.arange(size.width, device=device, dtype=torch.float32)[None]
        grid = [
            row[:, 0, None, None] * x + row[:, 1, None, None] * y + row[:, 2, None, None] for row in inverse.unbind(1)
        ]
        corners = [part.floor() for part in grid]
        fraction_x, fraction_y = (part - corner for part, corner in zip(grid, corners, strict=True))
        left, top = (corner.long() for corner in corners)
        rows = []
        for down in (0, 1):
            first, second = (self._look(pictures, left + right, top + down) for right in (0, 1))
            rows.append(torch.lerp(first, second, fraction_x[..., None]))
        return torch.lerp(rows[0], rows[1], fraction_y[..., None]).add_(0.5).to(torch.uint8)

    def _look(self, pictures: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the ``(samples, height, width, 3)`` float32 pixels at whole positions, 0 outside."""
        width, height = (sides[pictures][:, None, None] for sides in (self.widths, self.heights))
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        places = self.starts[pictures][:, None, None] + y * width + x
        found = self.pixels[torch.where(inside, places, 0)]
        return found.to(torch.float32).mul_(inside[..., None])


@dataclass(frozen=True, slots=True, eq=False)
class Resident:
    """Varied crops of labelled people whose pictures are kept on one device.

    Attributes:
        labels: the people.
        store: the pictures.
        pictures: ``(people,)`` position of each person's picture in the store.
    """

    labels: LabelArrays
    store: PictureStore
    pictures: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        labelled: LabelledSet,
        plan: CropPlan,
        device: torch.device | str,
        *,
        longest_side: int = 0,
        limit_gib: float = 0.0,
    ) -> "Resident":
        """Read all pictures of a set onto a device.

        Args:
            labelled: the set.
            plan: how its people are cut out.
            device: where the pictures are kept.
            longest_side: shrink larger pictures to this; 0 keeps them as they are.
            limit_gib: refuse to keep more than this; 0 for no limit.

        Raises:
            InputError: a picture is missing or damaged.
            UsageError: nobody in the set, or too many pixels.
        """
        labels = LabelArrays.of(labelled, plan)
        paths = list(dict.fromkeys(record.image for record in labelled.records))
        position = {path: index for index, path in enumerate(paths)}
        images, ratios, total = [], [], 0
        for path in paths:
            image, ratio = _shrink(read_image(path), longest_side)
            images.append(torch.from_numpy(image.reshape(-1, 3)))
            ratios.append((*image.shape[:2], *ratio))
            total += image.size
            if limit_gib and total > limit_gib * 2**30:
                raise UsageError(
                    f"{labelled.name}: its pictures take more than {limit_gib:g} GiB;"
                    " set a smaller longest side, or read pictures as they are needed (data.resident = false)"
                )
        sizes = torch.tensor([one[:2] for one in ratios], dtype=torch.int64)
        ends = sizes.prod(dim=1).cumsum(dim=0)
        store = PictureStore(
            torch.cat(images).to(device),
            (ends - sizes.prod(dim=1)).to(device),
            sizes[:, 0].to(device),
            sizes[:, 1].to(device),
            np.array([one[2:] for one in ratios]),
        )
        return cls(labels, store, np.array([position[record.image] for record in labelled.records]))

    def __len__(self) -> int:
        return len(self.labels)

    def name_of(self, index: int) -> str:
        """Say which picture and person an index is."""
        return self.labels.name_of(index)

    def draw(self, indices: NDArray[np.int64], seeds: NDArray[np.int64]) -> Batch:
        """Return varied crops and labels, on the device.

        Args:
            indices: ``(samples,)`` positions in the set.
            seeds: ``(samples,)`` what decides how each is varied.
        """
        transform, variation = self.labels.vary(indices, seeds)
        xy, weights = self.labels.targets(indices, transform, variation.mirror)
        device = self.store.pixels.device
        pictures = self.pictures[indices]
        inverse = torch.from_numpy(shrunk(transform, self.store.ratios[pictures]).inverse.astype(np.float32))
        crops = self.store.warp(torch.from_numpy(pictures).to(device), inverse.to(device), self.labels.plan.size)
        names = (self.labels.plan.dataset,) * len(indices)
        numbers = tuple(int(index) for index in indices)
        return Batch(recolored(crops, variation), xy.to(device), weights.to(device), names, numbers)


def recolored(crops: Tensor, variation: Variation) -> Tensor:
    """Return crops in their samples' colours, with their covers."""
    if variation.colors is not None and variation.curves is not None:
        curves = torch.from_numpy(variation.curves).to(crops.device)
        maps = torch.from_numpy(variation.colors).to(crops.device, torch.float32)
        curved = torch.gather(curves, 1, crops.flatten(1).long()).reshape(crops.shape)
        colored = torch.einsum("bhwi,boi->bhwo", curved.float(), maps)
        crops = colored.round_().clamp_(0, 255).to(torch.uint8)
    if variation.erased is not None and variation.covers is not None:
        height, width = crops.shape[1:3]
        x1, y1, x2, y2 = torch.from_numpy(variation.erased).to(crops.device)[:, :, None, None].unbind(1)
        y = torch.arange(height, device=crops.device)[:, None]
        x = torch.arange(width, device=crops.device)[None]
        inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
        covers = torch.from_numpy(variation.covers).to(crops.device)[:, None, None]
        crops = torch.where(inside[..., None], covers, crops)
    return crops


def _shrink(image: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Return a picture no longer than ``longest`` (0: any) and the factors on its width and height."""
    height, width = image.shape[:2]
    if not longest or max(height, width) <= longest:
        return np.ascontiguousarray(image), (1.0, 1.0)
    factor = longest / max(height, width)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return small, (size[0] / width, size[1] / height)
