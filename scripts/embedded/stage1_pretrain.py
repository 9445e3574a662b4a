"""Stage 1: masked pre-training of a backbone on every person of the training pictures, with pictures on the device.

python -m scripts.embedded.stage1_pretrain --data DATA --out runs/pretrain-s --size s --fit-minutes 4
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scripts.embedded.common import SIZES, configured, parser, run_stage, start

from vitpose.core.geometry import CropTransform, Size
from vitpose.data.augment import NONE, uniform_table
from vitpose.data.batch import Batch
from vitpose.data.mixture import Mixture
from vitpose.data.people import CropPlan, shrunk
from vitpose.data.records import LabelledSet, regions
from vitpose.data.resident import Resident
from vitpose.training.config import RunConfig
from vitpose.training.material import Material, read_set

_ASPECTS = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class ResidentParts:
    """Random parts of the regions of people, as ``data.unlabelled`` cuts them, from pictures kept on a device.

    Attributes:
        resident: the people and their pictures.
        region: ``(people, 4)`` centre x, y, width, height.
        size: of the crops.
        smallest_part: smallest part of the area that a crop shows.
    """

    resident: Resident
    region: NDArray[np.float64]
    size: Size
    smallest_part: float

    @classmethod
    def of(cls, labelled: LabelledSet, size: Size, smallest_part: float, device: torch.device) -> "ResidentParts":
        """Read the pictures of a set onto a device."""
        plan = CropPlan(dataset="", size=size, augmentation=NONE)
        centers, extents = regions(labelled.records, size)
        region = np.concatenate([centers, extents], axis=1)
        return cls(Resident.of(labelled, plan, device), region, size, smallest_part)

    def __len__(self) -> int:
        return len(self.region)

    def name_of(self, index: int) -> str:
        """Say which picture and person an index is."""
        return self.resident.name_of(index)

    def draw(self, indices: NDArray[np.int64], seeds: NDArray[np.int64]) -> Batch:
        """Return random parts as crops without keypoints, on the device."""
        table, region = uniform_table(seeds), self.region[indices]
        part = self.smallest_part + (1 - self.smallest_part) * table[:, 0]
        low, high = np.log(_ASPECTS)
        aspect = self.size.width / self.size.height * np.exp(low + (high - low) * table[:, 1])
        area = part * region[:, 2] * region[:, 3]
        sides = np.minimum(np.sqrt(np.stack([area * aspect, area / aspect], axis=1)), region[:, 2:])
        centers = region[:, :2] + (table[:, 2:4] - 0.5) * (region[:, 2:] - sides)
        transform = CropTransform.from_regions(centers, sides, self.size, mirror=table[:, 4] < 0.5)
        store, pictures = self.resident.store, self.resident.pictures[indices]
        inverse = torch.from_numpy(shrunk(transform, store.ratios[pictures]).inverse.astype(np.float32))
        device = store.pixels.device
        crops = store.warp(torch.from_numpy(pictures).to(device), inverse.to(device), self.size)
        nothing = torch.zeros(len(indices), 0, device=device)
        names = ("",) * len(indices)
        return Batch(crops, nothing[..., None].expand(-1, 0, 2), nothing, names, tuple(map(int, indices)))


def material(config: RunConfig, device: torch.device) -> Material:
    """Return every person of the sets, those without labelled keypoints included, crowds left out."""
    size, part = Size(*config.model.input_size), config.objective.masked.smallest_part

    def source(sets: Sequence[LabelledSet]) -> Mixture:
        return Mixture.of([ResidentParts.of(one, size, part, device) for one in sets])

    def people(labelled: LabelledSet) -> LabelledSet:
        return labelled.select(lambda person: not person.crowd and person.area > 0)

    training = source([people(read_set(config, one)) for one in config.data.train])
    judged = source([people(read_set(config, one)) for one in config.data.validation])
    return Material(train=training, people={"": len(training)}, unlabelled=judged)


def main(given: Sequence[str] | None = None) -> None:
    """Run the stage."""
    options = parser("Masked pre-training on person crops.")
    options.add_argument("--size", choices=tuple(SIZES), default="s")
    options.add_argument("--fit-minutes", type=float, default=0.0, help="as many epochs as fit in this time")
    arguments = options.parse_args(given)
    device = start(arguments)
    config = configured("pretrain", arguments, arguments.size)
    if arguments.small:
        config = replace(config, schedule=replace(config.schedule, epochs=1))
    run_stage(config, arguments, material(config, device))


if __name__ == "__main__":
    main()
