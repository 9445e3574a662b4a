"""Crops of real people, for what has to be checked or measured on them."""

import logging
from collections.abc import Callable, Sequence
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

log = logging.getLogger(__name__)

MANY = 128


def collect_crops(
    pictures: Sequence[str | Path],
    head: HeadSpec,
    size: Size,
    *,
    given: GivenBoxes | None = None,
    detector: Detector | None = None,
    limit: int = MANY,
    missed: Callable[[str], None] | None = None,
) -> NDArray[np.uint8]:
    """Cut people out of pictures until there are enough.

    Args:
        pictures: files, folders, globs, lists.
        head: how its regions are cut.
        size: of the crops.
        given: boxes from a file.
        detector: finds boxes where none are given; without one, the whole picture is the box.
        limit: crops at most; they are taken from all pictures evenly if there are more.
        missed: told about each picture that cannot be read, which then does not stop the others; logged by default.

    Returns:
        ``(people, height, width, 3)`` uint8 RGB.

    Raises:
        InputError: no picture can be read, or nobody is in any of them.
    """
    tell = missed or log.warning
    told: list[str] = []

    def pass_over(message: str) -> None:
        told.append(message)
        tell(message)

    sources = expand_sources([str(one) for one in pictures], missing=lambda _text, error: pass_over(str(error)))
    found = [source.location for source in sources if source.kind in ("image", "url")]
    step = max(1, len(found) // limit)
    crops: list[NDArray[np.uint8]] = []
    # Every so-many-th picture first, so that a folder sorted by scene gives more than its first scene.
    for place in [index for first in range(step) for index in range(first, len(found), step)]:
        try:
            image = read_image(found[place])
            boxes = _boxes(found[place], image, given, detector)
        except InputError as error:
            pass_over(str(error))
            continue
        transform = CropTransform.from_boxes(boxes, size, convention=head.codec, square=head.square_box)
        crops.extend(transform.warp(image))
        if len(crops) >= limit:
            break
    if not crops:
        where = ", ".join(map(str, pictures))
        if told:
            raise InputError(f"nobody was found in {where}, and {len(told)} could not be read, named above")
        raise InputError(f"nobody was found in {len(found)} pictures ({where})")
    return np.stack(crops[:limit])


def _boxes(
    location: str, image: NDArray[np.uint8], given: GivenBoxes | None, detector: Detector | None
) -> NDArray[np.float32]:
    if given is not None:
        return given.boxes_for(location, image.shape[:2]).xyxy
    if detector is not None:
        return detector([image])[0].xyxy
    return np.array([[0, 0, image.shape[1], image.shape[0]]], dtype=np.float32)
