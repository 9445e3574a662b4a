"""Boxes, points and the one transform between a picture and a model's input.

Conventions (the only place they are stated in code; ``docs/conventions.md`` shows them):

- pictures are ``(height, width, 3)`` uint8 RGB with the EXIF orientation already applied;
- points are ``(..., 2)`` as x, y in pixels of that upright picture, pixel *centres* at integers, origin top-left;
- boxes are float xyxy, width = x2 - x1 (never plus or minus one);
- the region a model sees is the box grown to the input's aspect ratio, then by 1.25;
- ``udp`` maps region to crop by ``(size - 1) / region`` (Huang et al. 2020, "The Devil is in the Details"),
  ``msra`` by ``size / region`` (Xiao et al. 2018). A head must be fed the way it was trained.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitpose.core.errors import InputError

Floats = NDArray[np.floating]
Convention = Literal["udp", "msra"]

CONTEXT = 1.25
"""How much larger than the box the region is that a ViTPose model was trained to see."""

TARGET_SIGMA = 2.0
"""Standard deviation of a target Gaussian on heatmaps 64 pixels high, those of the published 256 x 192 models."""

_REFERENCE_HEIGHT = 64

_SMALLEST_SIGMA = 1.0
"""A Gaussian narrower than this has too few pixels to be read back to a fraction of one."""

_FARTHEST = 1e7
"""No picture has as many pixels on a side; beyond it float32 no longer tells neighbouring pixels apart."""

_WARP_LIMIT = 32_766
"""OpenCV addresses source pixels with 16 bits when it warps."""


class Size(NamedTuple):
    """A picture's or heatmap's size in pixels."""

    height: int
    width: int


def sigma_on(heatmap: Size, sigma: float = TARGET_SIGMA) -> float:
    """Return the standard deviation in pixels of ``heatmap`` that ``sigma`` stands for on one 64 pixels high.

    It grows with the height, so that a Gaussian covers the same part of a person: 3 for 96x72 (input 384x288, the value
    that HRNet uses there), 4.5 for 144x108. It never falls below 1, which only matters for small inputs.
    """
    return max(sigma * heatmap.height / _REFERENCE_HEIGHT, _SMALLEST_SIGMA)


def as_boxes(boxes: ArrayLike, *, source: str = "boxes") -> NDArray[np.float32]:
    """Check boxes and return them as ``(people, 4)`` float32 xyxy.

    Args:
        boxes: anything ``(people, 4)``; one flat box of four numbers is taken as one person; empty means nobody.
        source: where they come from, for the message.

    Raises:
        InputError: wrong shape, not numbers, NaN or infinite, corners in the wrong order, or no area.
    """
    try:
        array = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: boxes must be numbers, four a person as x1, y1, x2, y2 ({error})") from error
    if array.size == 0:
        return np.zeros((0, 4), dtype=np.float32)
    if array.ndim == 1 and array.shape == (4,):
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"{source}: boxes must have shape (people, 4) as x1, y1, x2, y2, not {array.shape}")
    # The extent is checked as it will be used: two corners may be one number in float32.
    array = array.astype(np.float32) if _sane(array) else array
    for index, box in enumerate(array):
        _check_box(box, f"{source}: box {index}")
    return array.astype(np.float32)


def _sane(array: Floats) -> bool:
    return bool((np.abs(array) <= _FARTHEST).all())


def _check_box(box: Floats, where: str) -> None:
    shown = "[" + ", ".join(f"{value:g}" for value in box) + "]"
    if not np.isfinite(box).all():
        raise InputError(f"{where} {shown} has a value that is not a finite number")
    if not _sane(box):
        raise InputError(f"{where} {shown} lies {_FARTHEST:g} pixels or more from any picture")
    if box[2] < box[0] or box[3] < box[1]:
        raise InputError(
            f"{where} {shown} has its corners in the wrong order: give x1, y1, x2, y2 with x2 > x1, y2 > y1"
        )
    if box[2] == box[0] or box[3] == box[1]:
        raise InputError(f"{where} {shown} has no area")


def xywh_to_xyxy(boxes: ArrayLike) -> NDArray[np.float32]:
    """Turn ``(..., 4)`` x, y, width, height into x1, y1, x2, y2."""
    array = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([array[..., :2], array[..., :2] + array[..., 2:]], axis=-1).astype(np.float32)


def xyxy_to_xywh(boxes: ArrayLike) -> NDArray[np.float32]:
    """Turn ``(..., 4)`` x1, y1, x2, y2 into x, y, width, height."""
    array = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([array[..., :2], array[..., 2:] - array[..., :2]], axis=-1).astype(np.float32)


def transform_points(matrices: Floats, points: Floats) -> NDArray[np.float64]:
    """Apply ``(people, 2, 3)`` affine matrices to ``(people, keypoints, 2)`` points."""
    linear, offset = matrices[:, :, :2], matrices[:, :, 2]
    moved: NDArray[np.float64] = np.einsum("pij,pkj->pki", linear, points.astype(np.float64)) + offset[:, None, :]
    return moved


@dataclass(frozen=True, slots=True)
class CropTransform:
    """The affine maps between one picture and the crops of the people in it.

    Attributes:
        matrices: ``(people, 2, 3)`` float64, upright picture pixels to crop pixels.
        size: the crop's size, which is the model's input size.
        convention: how crop pixels relate to heatmap pixels for the head that will read the crops.
    """

    matrices: NDArray[np.float64]
    size: Size
    convention: Convention = "udp"

    def __len__(self) -> int:
        return len(self.matrices)

    def __getitem__(self, people: slice | NDArray[np.integer]) -> "CropTransform":
        """Select people; the result keeps their order."""
        return replace(self, matrices=self.matrices[people])

    @classmethod
    def from_boxes(
        cls,
        boxes: ArrayLike,
        size: Size,
        *,
        convention: Convention = "udp",
        square: bool = False,
        context: float = CONTEXT,
    ) -> "CropTransform":
        """Build the transforms for ``(people, 4)`` xyxy boxes in picture pixels.

        Args:
            boxes: checked boxes, see ``as_boxes``.
            size: the model's input size.
            convention: ``udp`` or ``msra``.
            square: stretch a square region into the crop instead of keeping the aspect ratio. The MPII heads of the
                original release were trained and evaluated this way.
            context: growth of the region around the box.
        """
        array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        centers = (array[:, :2] + array[:, 2:]) / 2
        extents = fit_aspect(array[:, 2:] - array[:, :2], 1.0 if square else size.width / size.height)
        return cls.from_regions(centers, extents * context, size, convention=convention)

    @classmethod
    def from_regions(
        cls,
        centers: ArrayLike,
        extents: ArrayLike,
        size: Size,
        *,
        rotations_deg: ArrayLike = 0.0,
        mirror: ArrayLike = False,
        convention: Convention = "udp",
    ) -> "CropTransform":
        """Build the transforms from the regions to be seen; training augmentation composes these and warps once.

        Args:
            centers: ``(people, 2)`` x, y of the region's centre in picture pixels.
            extents: ``(people, 2)`` width, height of the region in picture pixels, context included.
            size: the crop's size.
            rotations_deg: turn of the picture under the region, one a person or one for all.
            mirror: reflect the crop left to right, one a person or one for all.
            convention: ``udp`` or ``msra``.
        """
        centers = np.asarray(centers, dtype=np.float64).reshape(-1, 2)
        extents = np.asarray(extents, dtype=np.float64).reshape(-1, 2)
        less = 1 if convention == "udp" else 0
        target = np.array([size.width - less, size.height - less], dtype=np.float64)
        scale = target / extents
        angle = np.deg2rad(np.broadcast_to(np.asarray(rotations_deg, dtype=np.float64), len(centers)))
        cosine, sine = np.cos(angle), np.sin(angle)
        rotation = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
        linear = scale[:, :, None] * rotation
        offset = target / 2 - np.einsum("pij,pj->pi", linear, centers)
        matrices = np.concatenate([linear, offset[:, :, None]], axis=2)
        mirrored = np.broadcast_to(np.asarray(mirror, dtype=bool), len(centers))
        matrices[mirrored, 0] *= -1
        matrices[mirrored, 0, 2] += target[0]
        return cls(matrices, size, convention)

    @property
    def inverse(self) -> NDArray[np.float64]:
        """``(people, 2, 3)`` matrices from crop pixels to picture pixels."""
        linear = np.linalg.inv(self.matrices[:, :, :2])
        offset = -np.einsum("pij,pj->pi", linear, self.matrices[:, :, 2])
        return np.concatenate([linear, offset[:, :, None]], axis=2)

    def to_crop(self, points: Floats) -> NDArray[np.float64]:
        """Map ``(people, keypoints, 2)`` picture points into the crops."""
        return transform_points(self.matrices, points)

    def to_image(self, points: Floats) -> NDArray[np.float64]:
        """Map ``(people, keypoints, 2)`` crop points back into the picture."""
        return transform_points(self.inverse, points)

    def warp(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the crops out of ``image``: ``(people, height, width, 3)`` uint8, bilinear, black outside the picture.

        Black before normalisation is what every published weight was trained with.
        """
        crops = np.empty((len(self), *self.size, 3), dtype=np.uint8)
        for crop, matrix, part in zip(crops, self.matrices, self._parts(image.shape[:2]), strict=True):
            _warp_one(image, matrix, part, crop)
        return crops

    def _parts(self, image: tuple[int, ...]) -> list[list[int]]:
        """Return left, top, right, bottom of the part of the picture that each crop reads, two pixels of margin in."""
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * [self.size.width - 1, self.size.height - 1]
        reached = transform_points(self.inverse, np.broadcast_to(corners, (len(self), 4, 2)))
        limit = np.array(image[::-1])
        low = np.clip(np.floor(reached.min(axis=1)) - 2, 0, limit)
        high = np.clip(np.ceil(reached.max(axis=1)) + 3, 0, limit)
        parts: list[list[int]] = np.concatenate([low, high], axis=1).astype(int).tolist()
        return parts


def fit_aspect(extents: ArrayLike, aspect: float) -> NDArray[np.float64]:
    """Grow ``(people, 2)`` widths and heights to ``width / height == aspect`` without cutting anything."""
    width, height = np.moveaxis(np.asarray(extents, dtype=np.float64), -1, 0)
    wide = width > aspect * height
    return np.stack([np.where(wide, width, height * aspect), np.where(wide, width / aspect, height)], axis=-1)


def _warp_one(image: NDArray[np.uint8], matrix: Floats, part: list[int], crop: NDArray[np.uint8]) -> None:
    """Warp into ``crop`` from the part of ``image`` it reads: pictures may be larger than OpenCV can address."""
    left, top, right, bottom = part
    if right <= left or bottom <= top:
        crop[:] = 0
        return
    source = image[top:bottom, left:right]
    local = matrix.copy()
    local[:, 2] += matrix[:, :2] @ (left, top)
    shrink = -(-max(source.shape[:2]) // _WARP_LIMIT)
    if shrink > 1:
        before = source.shape
        smaller = (max(before[1] // shrink, 1), max(before[0] // shrink, 1))
        source = np.asarray(cv2.resize(source, smaller, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        ratio = np.array([before[1] / source.shape[1], before[0] / source.shape[0]])
        local[:, 2] += local[:, :2] @ ((ratio - 1) / 2)
        local[:, :2] *= ratio
    size = crop.shape[1::-1]
    cv2.warpAffine(source, local, size, dst=crop, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
