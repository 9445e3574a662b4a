"""The package's own person detector: small, and at hand without a network."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

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
"""Of boxes that overlap more, the best is kept: neighbouring cells all find the same person."""

_CANDIDATES = 300
"""Best cells that are looked at; more people than that are not what a photograph is about."""


class EmbeddedDetector:
    """Finds people with a ``PersonNet``. Boxes come best first, clipped to the picture.

    A picture is scaled so that its longer side is ``spec.side``, and padded with black to whole cells; pictures of one
    shape share a batch, so none has an effect on another.
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
        self.name = name
        self.threshold = threshold
        self.max_people = max_people
        self._batch_size = batch_size
        self._device = pick_device(device)
        # Channels last suits the convolutions of CPUs and tensor cores alike: 1.6 times as fast on a CPU.
        self._net = fused(net).to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload] # stubs lack it

    def __call__(self, images: Sequence[Image]) -> list[Boxes]:
        """Find people in each picture; see ``Detector``."""
        found: dict[int, Boxes] = {}
        for positions, batch in self._batches(images):
            with torch.inference_mode():
                pixels = normalize(batch.to(self._device)).contiguous(memory_format=torch.channels_last)
                cells = self._net(pixels)
                scores = cells.logits.sigmoid().cpu().numpy()
                boxes = cells.boxes.cpu().numpy()
            for row, position in enumerate(positions):
                size = Size(*images[position].shape[:2])
                found[position] = self._select(scores[row], boxes[row].astype(np.float64), size)
        return [found[position] for position in range(len(images))]

    def _batches(self, images: Sequence[Image]) -> Iterator[tuple[list[int], torch.Tensor]]:
        waiting: dict[tuple[int, ...], list[tuple[int, torch.Tensor]]] = defaultdict(list)
        for position, image in enumerate(images):
            boxed = torch.from_numpy(letterbox(image, self._net.spec.side))
            group = waiting[tuple(boxed.shape)]
            group.append((position, boxed))
            if len(group) == self._batch_size:
                yield [one for one, _ in group], torch.stack([pixels for _, pixels in group])
                group.clear()
        for group in waiting.values():
            if group:
                yield [one for one, _ in group], torch.stack([pixels for _, pixels in group])

    def _select(self, scores: NDArray[np.float32], boxes: NDArray[np.float64], size: Size) -> Boxes:
        limits = [size.width, size.height, size.width, size.height]
        ratio = np.tile(scaled_ratio(size, self._net.spec.side), 2)
        inside = np.clip(boxes / ratio, 0, limits).astype(np.float32).astype(np.float64)
        extents = inside[:, 2:] - inside[:, :2]
        good = np.flatnonzero((scores >= self.threshold) & (extents > 0).all(axis=1))
        order = good[np.argsort(-scores[good], kind="stable")][:_CANDIDATES]
        kept = order[distinct(inside[order], DUPLICATE_IOU)][: self.max_people]
        return Boxes(inside[kept].astype(np.float32), scores[kept], ("person",) * len(kept))


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
