"""Pictures without labels, for masked pre-training: random parts of whole pictures, or of the regions of people."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import CropTransform, Size
from vitpose.data.augment import uniform_table
from vitpose.data.batch import Batch
from vitpose.data.records import LabelledSet, regions
from vitpose.media.images import read_image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_ASPECTS = (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True, eq=False)
class Unlabelled:
    """Random parts of pictures, mirrored half of the time (He et al. 2022, random resized crops).

    Attributes:
        paths: a picture a sample.
        region: ``(samples, 4)`` centre x, y, width, height of the part to crop from, or None for the whole picture.
        size: of the crops.
        smallest_part: smallest part of the area that a crop shows, above 0 and at most 1.
    """

    paths: tuple[Path, ...]
    region: NDArray[np.float64] | None
    size: Size
    smallest_part: float = 0.2

    def __post_init__(self) -> None:
        """Refuse an empty source and parts outside 0..1.

        Raises:
            UsageError: see above.
        """
        if not self.paths:
            raise UsageError("there are no pictures to train on")
        if not 0 < self.smallest_part <= 1:
            raise UsageError(f"the smallest part must be above 0 and at most 1, not {self.smallest_part:g}")

    @classmethod
    def of_folder(cls, folder: str | Path, size: Size, *, smallest_part: float = 0.2) -> "Unlabelled":
        """Take every picture in a folder and the folders in it, in the order of their names.

        Raises:
            InputError: the folder is not there or has no pictures.
        """
        return cls(_pictures(Path(folder)), None, size, smallest_part)

    @classmethod
    def of_people(cls, labelled: LabelledSet, size: Size, *, smallest_part: float = 0.2) -> "Unlabelled":
        """Take the regions of the people of a labelled set; their keypoints are not looked at.

        Raises:
            UsageError: nobody in the set.
        """
        centers, extents = regions(labelled.records, size)
        paths = tuple(record.image for record in labelled.records)
        return cls(paths, np.concatenate([centers, extents], axis=1), size, smallest_part)

    def __len__(self) -> int:
        return len(self.paths)

    def name_of(self, index: int) -> str:
        """Say which picture an index is."""
        return str(self.paths[index])

    def draw(self, indices: NDArray[np.int64], seeds: NDArray[np.int64]) -> Batch:
        """Return random parts of pictures as crops without keypoints.

        Args:
            indices: ``(samples,)`` positions.
            seeds: ``(samples,)`` what decides which part is shown.

        Raises:
            InputError: a picture is missing or damaged.
        """
        crops = np.empty((len(indices), *self.size, 3), dtype=np.uint8)
        table = uniform_table(seeds)
        for row, index in enumerate(indices):
            image = read_image(self.paths[index])
            height, width = image.shape[:2]
            whole = np.array([(width - 1) / 2, (height - 1) / 2, width, height])
            crops[row] = self._cut(image, whole if self.region is None else self.region[index], table[row])
        nothing = torch.zeros(len(indices), 0)
        names = ("",) * len(indices)
        return Batch(
            torch.from_numpy(crops), nothing[..., None].expand(-1, 0, 2), nothing, names, tuple(map(int, indices))
        )

    def _cut(
        self, image: NDArray[np.uint8], region: NDArray[np.float64], uniform: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        part = self.smallest_part + (1 - self.smallest_part) * uniform[0]
        low, high = np.log(_ASPECTS)
        aspect = self.size.width / self.size.height * np.exp(low + (high - low) * uniform[1])
        area = part * region[2] * region[3]
        sides = np.minimum(np.sqrt([area * aspect, area / aspect]), region[2:])
        center = region[:2] + (uniform[2:4] - 0.5) * (region[2:] - sides)
        transform = CropTransform.from_regions(center, sides, self.size, mirror=bool(uniform[4] < 0.5))
        crop: NDArray[np.uint8] = transform.warp(image)[0]
        return crop


def _pictures(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder with pictures")
    found = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES))
    if not found:
        raise InputError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return found
