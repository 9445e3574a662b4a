"""Crops of real people, for what has to be checked or measured on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.geometry import CropTransform, Size
from vitpose.detectors.base import Detector
from vitpose.detectors.given import GivenBoxes
from vitpose.media.images import read_image
from vitpose.media.sources import expand_sources
from vitpose.models.variants import HeadSpec

MANY = 128


def collect_crops(
    pictures: Sequence[str | Path],
    head: HeadSpec,
    size: Size,
    *,
    given: GivenBoxes | None = None,
    detector: Detector | None = None,
    limit: int = MANY,
) -> NDArray[np.uint8]:
    """Cut people out of pictures until there are enough.

    Args:
        pictures: files, folders, globs, lists.
        head: how its regions are cut.
        size: of the crops.
        given: boxes from a file.
        detector: finds boxes where none are given; without one, the whole picture is the box.
        limit: crops at most; they are taken from all pictures evenly if there are more.

    Returns:
        ``(people, height, width, 3)`` uint8 RGB.

    Raises:
        InputError: a picture cannot be read, or nobody is in any of them.
    """
    found = [
        source.location for source in expand_sources([str(one) for one in pictures]) if source.kind in ("image", "url")
    ]
    step = max(1, len(found) // limit)
    crops: list[NDArray[np.uint8]] = []
    # Every so-many-th picture first, so that a folder sorted by scene gives more than its first scene.
    for place in [index for first in range(step) for index in range(first, len(found), step)]:
        image = read_image(found[place])
        if given is not None:
            boxes = given.boxes_for(found[place], image.shape[:2]).xyxy
        elif detector is not None:
            boxes = detector([image])[0].xyxy
        else:
            boxes = np.array([[0, 0, image.shape[1], image.shape[0]]], dtype=np.float32)
        transform = CropTransform.from_boxes(boxes, size, convention=head.codec, square=head.square_box)
        crops.extend(transform.warp(image))
        if len(crops) >= limit:
            break
    if not crops:
        raise InputError(f"nobody was found in {len(found)} pictures ({', '.join(map(str, pictures))})")
    return np.stack(crops[:limit])
