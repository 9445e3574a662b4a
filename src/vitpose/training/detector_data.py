"""Whole pictures with the boxes of people, kept on one device and varied there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.data.resident import PictureStore
from vitpose.media.images import read_image
from vitpose.training.detector_cpu import recolored, warped
from vitpose.training.detector_labels import PART_OF, LabelledPicture

Floats = NDArray[np.float64]
NOBODY, PERSON, IGNORED = 0, 1, 2
"""What a row of boxes is: padding, a person to be found, or a place where nothing is asked."""


class People(NamedTuple):
    """Who is in a picture.

    Attributes:
        boxes: ``(people, 4)`` xyxy.
        kinds: ``(people,)`` ``PERSON`` or ``IGNORED``.
        points: ``(people, parts, 2)`` x, y of body parts, NaN where nothing is known.
    """

    boxes: Floats
    kinds: NDArray[np.int64]
    points: Floats

    @classmethod
    def of(cls, picture: LabelledPicture, ratio: Floats, size: Size) -> "People":
        """Return the people of a picture shrunk by ``ratio`` to ``size``; an incomplete one is ignored as a whole."""
        boxes, points = picture.boxes * np.tile(ratio, 2), picture.points * ratio
        kinds = np.where(picture.crowd, IGNORED, PERSON)
        if not picture.complete:
            boxes = np.concatenate([boxes, [[0.0, 0.0, size.width, size.height]]])
            kinds = np.append(kinds, IGNORED)
            points = np.concatenate([points, np.full((1, *points.shape[1:]), np.nan)])
        return cls(boxes, kinds.astype(np.int64), points)

    def placed(self, scale: Floats, offset: Floats, mirror: int) -> "People":
        """Return them scaled and moved, then mirrored in a tile of width ``mirror``; 0 for no mirror image."""
        boxes, points = self.boxes * np.tile(scale, 2) + np.tile(offset, 2), self.points * scale + offset
        if mirror:
            boxes = boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [mirror, 0, mirror, 0]
            points = points * [-1, 1] + [mirror, 0]
        return People(boxes, self.kinds, points)


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
        points: ``(batch, most boxes, parts, 2)`` float32 x, y in these pictures, NaN where nothing is known.
    """

    images: Tensor
    boxes: Tensor
    kinds: Tensor
    points: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ResidentPictures:
    """Varied pictures, read once and kept on a device.

    Attributes:
        pictures: what they are.
        store: their pixels.
        sizes: ``(pictures, 2)`` kept width and height.
        people: of each picture, in kept pixels, the place of incomplete pictures among them.
        side: of the batches' pictures.
        law: how they are varied.
    """

    pictures: tuple[LabelledPicture, ...]
    store: PictureStore
    sizes: Floats
    people: tuple[People, ...]
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
        pixels, shapes, people = [], [], []
        for one in pictures:
            image, ratio = _shrunk(read_image(one.path), side * 3 // 2)
            pixels.append(torch.from_numpy(image.reshape(-1, 3)))
            shapes.append(image.shape[:2])
            people.append(People.of(one, ratio, Size(*image.shape[:2])))
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
        return cls(tuple(pictures), store, widths, tuple(people), side, law or PictureLaw())

    def __len__(self) -> int:
        return len(self.pictures)

    def draw(self, indices: NDArray[np.int64], rng: np.random.Generator, side: int | None = None) -> PictureBatch:
        """Return varied pictures; the others of a mosaic are drawn by ``rng``.

        Args:
            indices: ``(batch,)`` positions of the pictures.
            rng: decides how they are varied.
            side: of the batch's pictures where it is not the usual one; even.
        """
        side = side or self.side
        mosaic = rng.random(len(indices)) < self.law.mosaic
        images = torch.empty((len(indices), side, side, 3), dtype=torch.uint8, device=self.store.pixels.device)
        rows: list[list[People]] = [[] for _ in indices]
        for joined in (False, True):
            own = np.flatnonzero(mosaic == joined)
            if len(own):
                across = 2 if joined else 1
                tiles = self._tiles(indices[own], own, rows, rng, across, side // across)
                images[torch.from_numpy(own).to(images.device)] = tiles
        return PictureBatch(self._recolored(images, rng), *_padded(rows, images.device))

    def _tiles(
        self,
        indices: NDArray[np.int64],
        own: NDArray[np.int64],
        rows: list[list[People]],
        rng: np.random.Generator,
        across: int,
        side: int,
    ) -> Tensor:
        """Return pictures of ``across`` squared tiles, and add their people to ``rows``."""
        chosen = np.repeat(indices[:, None], across**2, axis=1)
        chosen[:, 1:] = rng.integers(0, len(self), (len(indices), across**2 - 1))
        flat = chosen.ravel()
        scale, offset, flip = self._placed(flat, side, rng)
        device = self.store.pixels.device
        which, inverse = torch.from_numpy(flat).to(device), _inverse(scale, offset, flip, side).to(device)
        on_cpu = device.type == "cpu"
        tiles = (warped if on_cpu else PictureStore.warp)(self.store, which, inverse, Size(side, side))
        for number, picture in enumerate(flat):
            placed = self.people[picture].placed(scale[number], offset[number], side if flip[number] else 0)
            corner = np.array([number % across, number // across % across], np.float64) * side
            rows[own[number // across**2]].append(self._seen(placed, side).placed(np.ones(2), corner, 0))
        grid = tiles.reshape(len(indices), across, across, side, side, 3).permute(0, 1, 3, 2, 4, 5)
        return grid.reshape(len(indices), across * side, across * side, 3)

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

    def _seen(self, people: People, side: int) -> People:
        """Return who is in a tile, clipped to it; who is mostly out of sight is not asked for."""
        inside = np.clip(people.boxes, 0, side)
        extents = inside[:, 2:] - inside[:, :2]
        whole = (people.boxes[:, 2:] - people.boxes[:, :2]).prod(axis=1)
        part = extents.prod(axis=1) / np.maximum(whole, 1e-9)
        hard = (part < self.law.seen) | (extents.min(axis=1) < self.law.smallest)
        kinds = np.where(hard, IGNORED, people.kinds)
        there = extents.min(axis=1) > 0
        out = ((people.points < 0) | (people.points > side)).any(axis=-1, keepdims=True)
        return People(inside[there], kinds[there], np.where(out, np.nan, people.points)[there])

    def _recolored(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Change saturation, gains and gamma; black stays black, as padding must."""
        if not self.law.color:
            return images
        limit, count = self.law.color, len(images)
        changes = rng.uniform(-limit, limit, (count, 5)).astype(np.float32)
        if images.device.type == "cpu":
            return recolored(images, changes)
        table = torch.from_numpy(changes).to(images.device)[:, None, None]
        gains, saturation, gamma = table[..., :3], table[..., 3:4], table[..., 4:]
        values = images.float() / 255
        grey = values.mean(dim=-1, keepdim=True)
        values = (grey + (values - grey) * (1 + saturation)) * (1 + gains)
        found: Tensor = (values.clamp(0, 1).pow(gamma.exp()) * 255).round_().to(torch.uint8)
        return found


def _inverse(scale: Floats, offset: Floats, flip: NDArray[np.bool_], side: int) -> Tensor:
    """Return ``(tiles, 2, 3)`` float32 from pixel centres of tiles to those of the kept pictures."""
    matrices = np.zeros((len(scale), 2, 3))
    sign = np.where(flip, -1.0, 1.0)
    matrices[:, 0, 0], matrices[:, 1, 1] = sign / scale[:, 0], 1 / scale[:, 1]
    start = np.where(flip, side - 0.5, 0.5)
    matrices[:, 0, 2] = (start - offset[:, 0]) / scale[:, 0] - 0.5
    matrices[:, 1, 2] = (0.5 - offset[:, 1]) / scale[:, 1] - 0.5
    return torch.from_numpy(matrices.astype(np.float32))


def _padded(rows: list[list[People]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    most = max([1, *(sum(len(people.kinds) for people in row) for row in rows)])
    boxes = np.zeros((len(rows), most, 4), np.float32)
    kinds = np.zeros((len(rows), most), np.int64)
    points = np.full((len(rows), most, len(PART_OF), 2), np.nan, np.float32)
    for number, row in enumerate(rows):
        start = 0
        for people in row:
            place = slice(start, start + len(people.kinds))
            boxes[number, place], kinds[number, place], points[number, place] = people
            start = place.stop
    return torch.from_numpy(boxes).to(device), torch.from_numpy(kinds).to(device), torch.from_numpy(points).to(device)


def _shrunk(image: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], Floats]:
    height, width = image.shape[:2]
    if max(height, width) <= longest:
        return np.ascontiguousarray(image), np.ones(2)
    factor = longest / max(height, width)
    size = max(math.floor(width * factor), 1), max(math.floor(height * factor), 1)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return small, np.array([size[0] / width, size[1] / height])
