"""What the detector is taught besides boxes: where parts of bodies are, on the finest map.

A box says little about a picture, and few boxes teach features slowly; labelled keypoints are a dozen answers more a
person. The layer that gives these answers is no part of the detector and is left behind.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitpose.models.detector import STRIDES, Cells
from vitpose.training.detector_data import IGNORED, PERSON, PictureBatch
from vitpose.training.detector_labels import PART_OF
from vitpose.training.processes import mean_over_processes

PARTS = max(PART_OF) + 1
_SPREAD = 0.04
"""Standard deviation of a part's target, of the longer side of the person's box."""
_RARE = -4.6


class PartsLoss(nn.Module):
    """The finest map's features and a batch to the loss of the parts."""

    def __init__(self, neck: int) -> None:
        """Build the layer that answers.

        Args:
            neck: channels of the features.
        """
        super().__init__()
        self.out = nn.Conv2d(neck, PARTS, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.constant_(self.out.bias, _RARE)  # type: ignore[arg-type] # a convolution with a bias

    def forward(self, cells: Cells, batch: PictureBatch) -> Tensor:
        """Return the loss, relative to how many cells should answer."""
        answers = self.out(cells.features).float().flatten(2)
        finest = cells.centers[: answers.shape[2]]
        target = parts_target(finest, batch)
        apart = F.binary_cross_entropy_with_logits(answers, target, reduction="none")
        asked = parts_asked(finest, batch)[:, None] | (target > 0)
        return (apart * asked).sum() / mean_over_processes(target.sum()).clamp(min=1.0)


def parts_target(centers: Tensor, batch: PictureBatch) -> Tensor:
    """Return ``(batch, parts, cells)``: 1 at a labelled part and less around it, wider for larger people."""
    where = batch.points.isfinite().all(dim=-1) & (batch.kinds == PERSON)[..., None]
    picture, person, slot = where.nonzero(as_tuple=True)
    points = batch.points[picture, person, slot]
    boxes = batch.boxes[picture, person]
    spread = (_SPREAD * (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)).clamp(min=0.75 * STRIDES[0])
    away = (centers - points[:, None]).square().sum(dim=-1)
    bumps = torch.exp(-away / (2 * spread[:, None].square()))
    bumps = torch.where(bumps > 0.02, bumps, 0.0)
    part = torch.tensor(PART_OF, device=centers.device)[slot]
    target = torch.zeros(len(batch.points) * PARTS, len(centers), device=centers.device)
    rows = (picture * PARTS + part)[:, None].expand(-1, len(centers))
    return torch.unflatten(target.scatter_reduce_(0, rows, bumps, "amax"), 0, (len(batch.points), PARTS))


def parts_asked(centers: Tensor, batch: PictureBatch) -> Tensor:
    """Return ``(batch, cells)``: whether a cell can be wrong; not where people are whose parts have no labels."""
    mute = (batch.kinds == PERSON) & ~batch.points.isfinite().flatten(2).any(dim=2)
    return ~inside_boxes(centers, batch.boxes, (batch.kinds == IGNORED) | mute).any(dim=1)


def inside_boxes(centers: Tensor, boxes: Tensor, counted: Tensor) -> Tensor:
    """Return ``(batch, people, cells)``: the cell's centre is in a box that counts."""
    x, y = centers[:, 0], centers[:, 1]
    left, top, right, bottom = boxes[..., None].unbind(dim=2)
    return (x > left) & (y > top) & (x < right) & (y < bottom) & counted[..., None]
