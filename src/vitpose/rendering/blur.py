"""Faces made unrecognisable."""

import cv2
import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.poses import Poses
from vitpose.rendering.faces import face_regions

_CELLS = 6
"""Cells across a region at strength 1. A region is about twice as wide as the face: three or four are left of it."""

_SOFT = 1.15
"""Where the blur has faded into the picture, in radii. It fades outside the region only."""


def blur_faces(
    image: NDArray[np.uint8], poses: Poses, *, strength: float = 1.0, animals: bool = False
) -> NDArray[np.uint8]:
    """Return a copy of ``image`` in which nobody's face can be recognised.

    Every region that may hold a face (``rendering.faces.face_regions``) is averaged over a coarse grid tied to its
    size, then smoothed: what is thrown away cannot be computed back, as it could be from a mere blur. People whose
    face's keypoints are in doubt are hidden more generously, not less.

    Args:
        image: ``(height, width, 3)`` uint8 RGB, the upright picture the poses belong to.
        poses: everybody in it. A person who was not found is not hidden.
        strength: 2 halves the number of cells across a face; from 6 on a face becomes one colour.
        animals: also hide animals' faces.

    Raises:
        UsageError: a strength that is not above 0, or poses of a picture of another size.
    """
    if not strength > 0:
        raise UsageError(f"the strength of the blur must be above 0, not {strength}")
    height, width = image.shape[:2]
    if (height, width) != tuple(poses.image_size):
        size = poses.image_size
        raise UsageError(f"the poses belong to a picture of {size.width}x{size.height}, not of {width}x{height}")
    hidden = np.array(image)
    cells = max(round(_CELLS / strength), 1)
    for x, y, across, down in face_regions(poses, animals=animals):
        _hide(hidden, (float(x), float(y)), (float(across), float(down)), cells)
    return hidden


def _hide(image: NDArray[np.uint8], centre: tuple[float, float], radii: tuple[float, float], cells: int) -> None:
    """Blur an ellipse of ``image`` in place."""
    height, width = image.shape[:2]
    (x, y), (across, down) = centre, radii
    left, right = (int(np.clip(np.floor(x + side * _SOFT * across), 0, width)) for side in (-1, 1))
    top, bottom = (int(np.clip(np.floor(y + side * _SOFT * down), 0, height)) for side in (-1, 1))
    right, bottom = min(right + 1, width), min(bottom + 1, height)
    if left >= right or top >= bottom:
        return
    part = image[top:bottom, left:right]
    columns = _cells(right - left, 2 * across, cells)
    rows = _cells(bottom - top, 2 * down, cells)
    coarse = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    smooth = cv2.resize(coarse, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    ys, xs = np.ogrid[top:bottom, left:right]
    radius = np.hypot((xs - x) / across, (ys - y) / down)[..., None]
    weight = np.clip((_SOFT - radius) / (_SOFT - 1), 0, 1).astype(np.float32)
    image[top:bottom, left:right] = np.rint(part + weight * (smooth.reshape(part.shape) - part.astype(np.float32)))


def _cells(pixels: int, diameter: float, cells: int) -> int:
    """Return the cells on a side of ``pixels``: in a region that the picture cuts a cell is as large as ever."""
    return int(np.clip(round(pixels * cells / max(diameter, 1.0)), 1, max(pixels // 2, 1)))
