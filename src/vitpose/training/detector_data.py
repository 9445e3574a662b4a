"""Whole pictures with the boxes of people, kept on one device and varied there."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.data.resident import PictureStore
from vitpose.media.images import read_image
from vitpose.metrics.detection import Truth

Floats = NDArray[np.float64]
NOBODY, PERSON, IGNORED = 0, 1, 2
"""What a row of boxes is: padding, a person to be found, or a place where nothing is asked."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPicture:
    """A picture and who is in it.

    Attributes:
        path: of the picture.
        boxes: ``(people, 4)`` xyxy in picture pixels.
        crowd: ``(people,)`` the box covers a group that is not labelled one by one.
        complete: everybody in it is labelled; where not, nothing is learned from places without labels.
    """

    path: Path
    boxes: Floats
    crowd: NDArray[np.bool_]
    complete: bool = True

    def truth(self, size: Size) -> Truth:
        """Return the people for scoring; ``size`` is the picture's."""
        return Truth(self.boxes, self.crowd, size.height)


def read_pictures(annotations: str | Path, images: str | Path, *, complete: bool = True) -> tuple[LabelledPicture, ...]:
    """Read the boxes of a COCO-style file; pictures without people are kept.

    A picture that says ``all_persons_annotated: false`` is not complete. ``annotations`` may be missing from the
    file: then nobody is in its pictures.

    Args:
        annotations: the file.
        images: folder of the pictures.
        complete: False where other people may be in the pictures than those labelled.

    Raises:
        InputError: the file cannot be read or is of another form.
    """
    try:
        plain: dict[str, Any] = json.loads(Path(annotations).read_text(encoding="utf-8"))
        rows: dict[Any, list[tuple[list[float], bool]]] = {image["id"]: [] for image in plain["images"]}
        for entry in plain.get("annotations", ()):
            x, y, width, height = map(float, entry["bbox"])
            if width > 0 and height > 0:
                crowd = bool(entry.get("iscrowd") or entry.get("iscrowd_by_rule"))
                rows[entry["image_id"]].append(([x, y, x + width, y + height], crowd))
        return tuple(
            LabelledPicture(
                Path(images) / image["file_name"],
                np.array([box for box, _ in rows[image["id"]]], np.float64).reshape(-1, 4),
                np.array([crowd for _, crowd in rows[image["id"]]], bool),
                complete and bool(image.get("all_persons_annotated", True)),
            )
            for image in plain["images"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{annotations} is no COCO-style file of boxes: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLaw:
    """How pictures are varied.

    Attributes:
        scale: smallest and largest factor on the size at which a picture fills its place.
        aspect: limit of the logarithm of the change of aspect ratio.
        flip: probability of mirroring.
        mosaic: probability that four pictures share one.
        color: limit of the change of saturation, of each channel's gain, and of the logarithm of gamma.
        seen: a cut person with a smaller part of the box in sight is not asked for.
        smallest: shortest side of a box that is asked for, in pixels.
    """

    scale: tuple[float, float] = (0.5, 2.0)
    aspect: float = 0.15
    flip: float = 0.5
    mosaic: float = 0.5
    color: float = 0.3
    seen: float = 0.3
    smallest: float = 6.0


class PictureBatch(NamedTuple):
    """What one step sees.

    Attributes:
        images: ``(batch, side, side, 3)`` uint8 RGB.
        boxes: ``(batch, most boxes, 4)`` float32 xyxy in these pictures.
        kinds: ``(batch, most boxes)`` int64: ``NOBODY``, ``PERSON`` or ``IGNORED``.
    """

    images: Tensor
    boxes: Tensor
    kinds: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ResidentPictures:
    """Varied pictures, read once and kept on a device.

    Attributes:
        pictures: what they are.
        store: their pixels.
        sizes: ``(pictures, 2)`` kept width and height.
        boxes: of each picture, in kept pixels, the place of incomplete pictures among them.
        kinds: of each picture's boxes.
        side: of the batches' pictures.
        law: how they are varied.
    """

    pictures: tuple[LabelledPicture, ...]
    store: PictureStore
    sizes: Floats
    boxes: tuple[Floats, ...]
    kinds: tuple[NDArray[np.int64], ...]
    side: int
    law: PictureLaw

    @classmethod
    def of(
        cls,
        pictures: Sequence[LabelledPicture],
        side: int,
        *,
        device: torch.device | str = "cpu",
        law: PictureLaw | None = None,
    ) -> "ResidentPictures":
        """Read pictures onto a device; those longer than half as much again as ``side`` are shrunk to that.

        Raises:
            InputError: a picture is missing or damaged.
            UsageError: no pictures.
        """
        if not pictures:
            raise UsageError("there are no pictures to train the detector on")
        pixels, shapes, boxes, kinds = [], [], [], []
        for one in pictures:
            image, ratio = _shrunk(read_image(one.path), side * 3 // 2)
            pixels.append(torch.from_numpy(image.reshape(-1, 3)))
            shapes.append(image.shape[:2])
            own, what = one.boxes * np.tile(ratio, 2), np.where(one.crowd, IGNORED, PERSON)
            if not one.complete:
                own = np.concatenate([own, [[0.0, 0.0, image.shape[1], image.shape[0]]]])
                what = np.append(what, IGNORED)
            boxes.append(own)
            kinds.append(what.astype(np.int64))
        sizes = torch.tensor(shapes, dtype=torch.int64)
        ends = sizes.prod(dim=1).cumsum(dim=0)
        store = PictureStore(
            torch.cat(pixels).to(device),
            (ends - sizes.prod(dim=1)).to(device),
            sizes[:, 0].to(device),
            sizes[:, 1].to(device),
            np.ones((len(shapes), 2)),
        )
        widths = np.array(shapes, np.float64)[:, ::-1]
        return cls(tuple(pictures), store, widths, tuple(boxes), tuple(kinds), side, law or PictureLaw())

    def __len__(self) -> int:
        return len(self.pictures)

    def draw(self, indices: NDArray[np.int64], rng: np.random.Generator) -> PictureBatch:
        """Return varied pictures; the others of a mosaic are drawn by ``rng``.

        Args:
            indices: ``(batch,)`` positions of the pictures.
            rng: decides how they are varied.
        """
        mosaic = rng.random(len(indices)) < self.law.mosaic
        images = torch.empty(
            (len(indices), self.side, self.side, 3), dtype=torch.uint8, device=self.store.pixels.device
        )
        rows: list[list[tuple[Floats, NDArray[np.int64]]]] = [[] for _ in indices]
        for joined in (False, True):
            own = np.flatnonzero(mosaic == joined)
            if len(own):
                images[torch.from_numpy(own).to(images.device)] = self._tiles(
                    indices[own], own, rows, rng, joined=joined
                )
        return PictureBatch(self._recolored(images, rng), *_padded(rows, images.device))

    def _tiles(
        self,
        indices: NDArray[np.int64],
        own: NDArray[np.int64],
        rows: list[list[tuple[Floats, NDArray[np.int64]]]],
        rng: np.random.Generator,
        *,
        joined: bool,
    ) -> Tensor:
        """Return pictures of one tile or of four, and add their boxes to ``rows``."""
        across = 2 if joined else 1
        side = self.side // across
        chosen = np.repeat(indices[:, None], across**2, axis=1)
        if joined:
            chosen[:, 1:] = rng.integers(0, len(self), (len(indices), across**2 - 1))
        flat = chosen.ravel()
        scale, offset, flip = self._placed(flat, side, rng)
        inverse = _inverse(scale, offset, flip, side)
        device = self.store.pixels.device
        tiles = self.store.warp(torch.from_numpy(flat).to(device), inverse.to(device), Size(side, side))
        for number, picture in enumerate(flat):
            boxes, kinds = self._boxes(int(picture), scale[number], offset[number], side, mirror=bool(flip[number]))
            corner = np.array([number % across, number // across % across], np.float64) * side
            rows[own[number // across**2]].append((boxes + np.tile(corner, 2), kinds))
        grid = tiles.reshape(len(indices), across, across, side, side, 3).permute(0, 1, 3, 2, 4, 5)
        return grid.reshape(len(indices), self.side, self.side, 3)

    def _placed(
        self, pictures: NDArray[np.int64], side: int, rng: np.random.Generator
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return scale and offset ``(tiles, 2)`` of pictures in their tiles, and which are mirrored."""
        sizes, count = self.sizes[pictures], len(pictures)
        low, high = map(math.log, self.law.scale)
        factor = np.exp(rng.uniform(low, high, count)) * side / sizes.max(axis=1)
        stretch = np.exp(rng.uniform(-self.law.aspect, self.law.aspect, count) / 2)
        scale = np.stack([factor * stretch, factor / stretch], axis=1)
        offset = rng.random((count, 2)) * (side - sizes * scale)
        return scale, offset, rng.random(count) < self.law.flip

    def _boxes(
        self, picture: int, scale: Floats, offset: Floats, side: int, *, mirror: bool
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return a picture's boxes in its tile; who is mostly out of sight is not asked for."""
        boxes = self.boxes[picture] * np.tile(scale, 2) + np.tile(offset, 2)
        if mirror:
            boxes = boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [side, 0, side, 0]
        inside = np.clip(boxes, 0, side)
        extents = inside[:, 2:] - inside[:, :2]
        part = extents.prod(axis=1) / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-9)
        hard = (part < self.law.seen) | (extents.min(axis=1) < self.law.smallest)
        kinds = np.where(hard, IGNORED, self.kinds[picture])
        there = extents.min(axis=1) > 0
        return inside[there], kinds[there]

    def _recolored(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Change saturation, gains and gamma; black stays black, as padding must."""
        if not self.law.color:
            return images
        limit, count = self.law.color, len(images)
        changes = rng.uniform(-limit, limit, (count, 5)).astype(np.float32)
        table = torch.from_numpy(changes).to(images.device)[:, None, None]
        gains, saturation, gamma = table[..., :3], table[..., 3:4], table[..., 4:]
        values = images.float() / 255
        grey = values.mean(dim=-1, keepdim=True)
        values = (grey + (values - grey) * (1 + saturation)) * (1 + gains)
        recolored: Tensor = (values.clamp(0, 1).pow(gamma.exp()) * 255).round_().to(torch.uint8)
        return recolored


def _inverse(scale: Floats, offset: Floats, flip: NDArray[np.bool_], side: int) -> Tensor:
    """Return ``(tiles, 2, 3)`` float32 from pixel centres of tiles to those of the kept pictures."""
    matrices = np.zeros((len(scale), 2, 3))
    sign = np.where(flip, -1.0, 1.0)
    matrices[:, 0, 0], matrices[:, 1, 1] = sign / scale[:, 0], 1 / scale[:, 1]
    start = np.where(flip, side - 0.5, 0.5)
    matrices[:, 0, 2] = (start - offset[:, 0]) / scale[:, 0] - 0.5
    matrices[:, 1, 2] = (0.5 - offset[:, 1]) / scale[:, 1] - 0.5
    return torch.from_numpy(matrices.astype(np.float32))


def _padded(rows: list[list[tuple[Floats, NDArray[np.int64]]]], device: torch.device) -> tuple[Tensor, Tensor]:
    most = max([1, *(sum(len(kinds) for _, kinds in row) for row in rows)])
    boxes = np.zeros((len(rows), most, 4), np.float32)
    kinds = np.zeros((len(rows), most), np.int64)
    for number, row in enumerate(rows):
        start = 0
        for own, what in row:
            boxes[number, start : start + len(what)], kinds[number, start : start + len(what)] = own, what
            start += len(what)
    return torch.from_numpy(boxes).to(device), torch.from_numpy(kinds).to(device)


def _shrunk(image: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], Floats]:
    height, width = image.shape[:2]
    if max(height, width) <= longest:
        return np.ascontiguousarray(image), np.ones(2)
    factor = longest / max(height, width)
    size = max(math.floor(width * factor), 1), max(math.floor(height * factor), 1)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return small, np.array([size[0] / width, size[1] / height])
