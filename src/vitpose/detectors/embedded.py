"""The package's own person detector: small, and at hand without a network."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.core.errors import UsageError, nearest
from vitpose.core.geometry import Size
from vitpose.core.poses import Boxes
from vitpose.core.similarity import iou_matrix
from vitpose.detectors.base import Image
from vitpose.models.detector import STRIDES, PersonNet, fused
from vitpose.models.devices import pick_device
from vitpose.models.pixels import normalize

DUPLICATE_IOU = 0.65
"""Of boxes of one look that overlap more, the best is kept: neighbouring cells all find the same person."""

_CANDIDATES = 300
"""Best cells that are looked at; more people than that are not what a photograph is about."""

_SAME = 0.55
"""Boxes of different looks that overlap more may be one person."""

_REPEATED = 0.6
"""Of boxes of all looks that overlap more, the best is kept."""

_FAINT = 0.01
"""Boxes below this score in a look do not vote, unless the threshold is lower still."""

Found = tuple[NDArray[np.float64], NDArray[np.float32]]
"""Boxes ``(boxes, 4)`` xyxy in picture pixels and their scores, best first."""


@dataclass(frozen=True, slots=True)
class Look:
    """One way to look at a picture.

    Attributes:
        scale: factor on the side the network was trained for.
        mirrored: look at the mirror image.
    """

    scale: float = 1.0
    mirrored: bool = False

    def __post_init__(self) -> None:
        """Refuse what no picture can be scaled by.

        Raises:
            UsageError: a scale that is not above 0.
        """
        if not 0 < self.scale < math.inf:
            raise UsageError(f"a look's scale must be above 0, not {self.scale}")

    def side(self, trained: int) -> int:
        """Return the longer side of the picture in pixels, a multiple of the coarsest cell."""
        cell = STRIDES[-1]
        return max(round(self.scale * trained / cell), 1) * cell


ONE_LOOK = (Look(),)
LOOKS = (Look(mirrored=True), Look(scale=1.25))
"""A second look a quarter larger makes up for what few pictures taught; ``docs/decisions/043`` has the figures."""


class EmbeddedDetector:
    """Finds people with a ``PersonNet``. Boxes come best first, clipped to the picture.

    A picture is scaled so that its longer side is ``spec.side``, and padded with black to whole cells; pictures of one
    shape share a batch, so none has an effect on another. It is looked at in several ways, and the answers are merged;
    see ``merged``.
    """

    def __init__(
        self,
        net: PersonNet,
        *,
        name: str = "embedded",
        threshold: float = 0.3,
        classes: Sequence[str] = ("person",),
        device: str | torch.device = "auto",
        max_people: int | None = None,
        batch_size: int = 8,
        looks: Sequence[Look] = LOOKS,
    ) -> None:
        """Take a network that is already loaded.

        Args:
            net: see ``weights.detector.load_detector``.
            name: for provenance.
            threshold: boxes with a lower score are left out.
            classes: must be ``("person",)``: it knows nothing else.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
            max_people: keep only so many boxes a picture, the best ones.
            batch_size: pictures a call of the network.
            looks: ways to look at each picture, at least one; ``ONE_LOOK`` has a third of the pixels.

        Raises:
            UsageError: another class is asked for, or a number is out of range.
        """
        if not 0 <= threshold <= 1:
            raise UsageError(f"the detector's threshold must be between 0 and 1, not {threshold}")
        if batch_size < 1 or (max_people is not None and max_people < 1):
            raise UsageError("batch_size and max_people must be at least 1")
        for wanted in classes:
            if wanted.casefold() != "person":
                raise UsageError(f"the embedded detector does not know {wanted!r}{nearest(wanted, ['person'])}")
        if not looks:
            raise UsageError("a detector needs at least one look at a picture")
        self.name = name
        self.threshold = threshold
        self.max_people = max_people
        self._batch_size = batch_size
        self._device = pick_device(device)
        self._looks = [(look.side(net.spec.side), look.mirrored) for look in looks]
        largest = max(net.spec.side, *(side for side, _ in self._looks))
        # Channels last suits the convolutions of CPUs and tensor cores alike: 1.6 times as fast on a CPU.
        self._net = fused(net, side=largest).to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload] # stubs lack it

    def __call__(self, images: Sequence[Image]) -> list[Boxes]:
        """Find people in each picture; see ``Detector``."""
        looks = [self._look(images, side, mirrored=mirrored) for side, mirrored in self._looks]
        found = []
        for views in zip(*looks, strict=True):
            boxes, scores = views[0] if len(views) == 1 else merged(views)
            kept = np.flatnonzero(scores >= self.threshold)[: self.max_people]
            found.append(Boxes(boxes[kept].astype(np.float32), scores[kept], ("person",) * len(kept)))
        return found

    def _look(self, images: Sequence[Image], side: int, *, mirrored: bool) -> list[Found]:
        """Return the distinct boxes of every picture in its own pixels, best first."""
        found: dict[int, Found] = {}
        for positions, batch in self._batches(images, side, mirrored=mirrored):
            with torch.inference_mode():
                pixels = normalize(batch.to(self._device)).contiguous(memory_format=torch.channels_last)
                cells = self._net(pixels)
                scores = cells.logits.sigmoid().cpu().numpy()
                boxes = cells.boxes.cpu().numpy()
            for row, position in enumerate(positions):
                size = Size(*images[position].shape[:2])
                chosen = self._select(scores[row], boxes[row].astype(np.float64), size, side)
                found[position] = (_mirrored(chosen[0], size.width), chosen[1]) if mirrored else chosen
        return [found[position] for position in range(len(images))]

    def _batches(
        self, images: Sequence[Image], side: int, *, mirrored: bool
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        waiting: dict[tuple[int, ...], list[tuple[int, torch.Tensor]]] = defaultdict(list)
        for position, image in enumerate(images):
            seen = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
            boxed = torch.from_numpy(letterbox(seen, side))
            group = waiting[tuple(boxed.shape)]
            group.append((position, boxed))
            if len(group) == self._batch_size:
                yield [one for one, _ in group], torch.stack([pixels for _, pixels in group])
                group.clear()
        for group in waiting.values():
            if group:
                yield [one for one, _ in group], torch.stack([pixels for _, pixels in group])

    def _select(self, scores: NDArray[np.float32], boxes: NDArray[np.float64], size: Size, side: int) -> Found:
        limits = [size.width, size.height, size.width, size.height]
        ratio = np.tile(scaled_ratio(size, side), 2)
        inside = np.clip(boxes / ratio, 0, limits).astype(np.float32).astype(np.float64)
        extents = inside[:, 2:] - inside[:, :2]
        # A look that alone would leave a box out may still vote for what another look found.
        lowest = self.threshold if len(self._looks) == 1 else min(self.threshold, _FAINT)
        good = np.flatnonzero((scores >= lowest) & (scores > 0) & (extents > 0).all(axis=1))
        order = good[np.argsort(-scores[good], kind="stable")][:_CANDIDATES]
        kept = order[distinct(inside[order], DUPLICATE_IOU)]
        return inside[kept], scores[kept]


def merged(views: Sequence[Found]) -> Found:
    """Merge what several looks at one picture found: one box a person, as sure as the looks are on average.

    After the weighted boxes fusion of Solovyev et al. (2021): the surest box that is left takes from every other look
    the one that overlaps it most, if that is enough. What is too near to it beside these is the same person again.

    Args:
        views: of each look ``(boxes, 4)`` xyxy and ``(boxes,)`` scores above 0, best first.

    Returns:
        boxes, means weighted by score, and scores, means over all looks where a look without a box counts as 0; best
        first.
    """
    boxes = np.concatenate([view[0] for view in views])
    scores = np.concatenate([view[1] for view in views])
    look = np.repeat(np.arange(len(views)), [len(view[1]) for view in views])
    order = np.argsort(-scores, kind="stable")
    boxes, scores, look = boxes[order], scores[order].astype(np.float64), look[order]
    overlap, free = iou_matrix(boxes, boxes), np.ones(len(boxes), bool)
    means, sums = [], []
    for best in range(len(boxes)):
        if not free[best]:
            continue
        free[best] = False
        group = [best]
        for other in range(len(views)):
            shared = np.where(free & (look == other) & (other != look[best]), overlap[best], 0.0)
            if shared.max() > _SAME:
                group.append(int(shared.argmax()))
        weights = scores[group]
        means.append(weights @ boxes[group] / weights.sum())
        sums.append(weights.sum() / len(views))
        free[group] = False
        free[overlap[best] > _REPEATED] = False
    again = np.argsort(-np.array(sums), kind="stable")
    return np.array(means).reshape(-1, 4)[again], np.array(sums, np.float32)[again]


def _mirrored(boxes: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return boxes of the mirror image in pixels of the picture."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def scaled_size(size: Size, side: int) -> Size:
    """Return what a picture becomes whose longer side is scaled to ``side``."""
    factor = side / max(size)
    return Size(max(round(size[0] * factor), 1), max(round(size[1] * factor), 1))


def scaled_ratio(size: Size, side: int) -> NDArray[np.float64]:
    """Return the exact factors on width and height, rounding to whole pixels included."""
    small = scaled_size(size, side)
    return np.array([small.width / size[1], small.height / size[0]])


def letterbox(image: Image, side: int) -> NDArray[np.uint8]:
    """Scale a picture so that its longer side is ``side`` and pad right and bottom with black to whole cells.

    Args:
        image: ``(height, width, 3)`` uint8 RGB.
        side: in pixels, a multiple of 32.

    Returns:
        ``(height, width, 3)`` uint8 with both sides multiples of 32.
    """
    size = Size(*image.shape[:2])
    small = scaled_size(size, side)
    way = cv2.INTER_AREA if small.width < size.width else cv2.INTER_LINEAR
    cell = STRIDES[-1]
    padded = np.zeros((-(-small.height // cell) * cell, -(-small.width // cell) * cell, 3), np.uint8)
    padded[: small.height, : small.width] = cv2.resize(image, (small.width, small.height), interpolation=way)
    return padded


def distinct(boxes: NDArray[np.float64], limit: float) -> NDArray[np.intp]:
    """Return the positions of the boxes, given best first, that overlap no better kept one by more than ``limit``."""
    overlap = iou_matrix(boxes, boxes) > limit
    kept: list[int] = []
    for position in range(len(boxes)):
        if not overlap[position, kept].any():
            kept.append(position)
    return np.array(kept, dtype=np.intp)
