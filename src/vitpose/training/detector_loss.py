"""What the person detector learns from: cells are given to people by how well they already answer.

Assignment and targets follow Feng et al. 2021 (TOOD): the cells that are best at score and box together learn the
person, and the score they learn is how good their box is. Boxes learn by generalised IoU (Rezatofighi et al. 2019).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitpose.models.detector import Cells, PersonNet
from vitpose.models.pixels import normalize
from vitpose.training.detector_data import IGNORED, PERSON, PictureBatch
from vitpose.training.detector_parts import PartsLoss, inside_boxes
from vitpose.training.processes import mean_over_processes

CELLS_A_PERSON = 10
_SCORE_POWER, _IOU_POWER = 0.5, 6.0
_BOX_WEIGHT = 5.0


class PersonLoss(nn.Module):
    """Batch of pictures to loss."""

    def __init__(self, net: PersonNet, parts: float = 0.0) -> None:
        """Keep the network that is trained.

        Args:
            net: any.
            parts: weight of the loss of body parts; at 0 they are not taught.
        """
        super().__init__()
        self.model = net
        self.weight = parts
        self.parts = PartsLoss(net.spec.neck) if parts else None

    def forward(self, batch: PictureBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its terms."""
        cells = self.model(normalize(batch.images).contiguous(memory_format=torch.channels_last))
        loss, terms = detection_loss(cells, batch.boxes, batch.kinds)
        if self.parts is None:
            return loss, terms
        found = self.parts(cells, batch)
        return loss + self.weight * found, terms | {"loss/parts": found.detach()}


def detection_loss(cells: Cells, boxes: Tensor, kinds: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Compare what the cells say with who is there.

    Args:
        cells: of the network.
        boxes: ``(batch, people, 4)`` xyxy in input pixels.
        kinds: ``(batch, people)`` see ``detector_data``.

    Returns:
        the loss, and its terms by name.
    """
    target, place = assign(cells, boxes, kinds == PERSON)
    positive = target > 0
    free = ~inside_boxes(cells.centers, boxes, kinds == IGNORED).any(dim=1) | positive
    scale = mean_over_processes(target.sum()).clamp(min=1.0)
    score = F.binary_cross_entropy_with_logits(cells.logits, target, reduction="none")
    score = (score * free).sum() / scale
    theirs = boxes.gather(1, place[..., None].expand(-1, -1, 4))
    apart = (1 - generalized_iou(cells.boxes, theirs)) * target
    box = torch.where(positive, apart, 0.0).sum() / scale
    return score + _BOX_WEIGHT * box, {"loss/score": score.detach(), "loss/box": box.detach()}


@torch.no_grad()
def assign(cells: Cells, boxes: Tensor, people: Tensor) -> tuple[Tensor, Tensor]:
    """Give cells to people.

    Args:
        cells: of the network.
        boxes: ``(batch, people, 4)``.
        people: ``(batch, people)`` which of the boxes are to be found.

    Returns:
        ``(batch, cells)`` the score each should have, 0 where nobody is, and ``(batch, cells)`` whose cell it is.
    """
    inside = inside_boxes(cells.centers, boxes, people)
    overlap = iou(boxes[:, :, None], cells.boxes[:, None])
    alignment = cells.logits.sigmoid()[:, None] ** _SCORE_POWER * overlap**_IOU_POWER * inside
    best = alignment.topk(min(CELLS_A_PERSON, alignment.shape[2]), dim=2).indices
    chosen = torch.zeros_like(inside).scatter_(2, best, value=True) & inside
    # A cell that several people want goes to the one its box fits best.
    place = torch.where(chosen, overlap, -1.0).argmax(dim=1)
    chosen &= F.one_hot(place, boxes.shape[1]).transpose(1, 2).bool()
    alignment = alignment * chosen
    highest = alignment.amax(dim=2, keepdim=True)
    reach = (overlap * chosen).amax(dim=2, keepdim=True)
    target = (alignment / highest.clamp(min=1e-12) * reach).amax(dim=1)
    return target, place


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union of ``(..., 4)`` xyxy boxes, pair by pair."""
    return _overlap(first, second)[0]


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the generalised IoU of ``(..., 4)`` xyxy boxes, pair by pair, -1 to 1."""
    value, union = _overlap(first, second)
    low = torch.minimum(first[..., :2], second[..., :2])
    high = torch.maximum(first[..., 2:], second[..., 2:])
    hull = (high - low).clamp(min=0).prod(dim=-1).clamp(min=1e-6)
    return value - (hull - union) / hull


def _overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(dim=-1) for box in (first, second)]
    union = (areas[0] + areas[1] - shared).clamp(min=1e-6)
    return shared / union, union
