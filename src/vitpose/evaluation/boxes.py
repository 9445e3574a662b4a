"""Boxes from a file for the pictures of a labelled set."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vitpose.core.errors import InputError
from vitpose.core.poses import Boxes
from vitpose.detectors.given import GivenBoxes
from vitpose.evaluation.people import Picture

_ANY_SIZE = (2**31, 2**31)


def boxes_from_file(path: Path, pictures: Sequence[Picture]) -> Iterator[Boxes]:
    """Yield the boxes of each picture; none for pictures the file does not speak of.

    Args:
        path: COCO detection results, as the detections of the published protocols are shared, or any other file
            ``vitpose predict --boxes`` takes. Pictures are found by the labels' id, else by file name.
        pictures: of the labelled set.

    Raises:
        InputError: the file cannot be read, or knows none of the pictures.
    """
    given = GivenBoxes.from_file(path)
    names: list[int | str] = [
        picture.id if isinstance(picture.id, int) and picture.id in given.keys else str(picture.path)
        for picture in pictures
    ]
    if not any(isinstance(name, int) for name in names):
        given.check_sources([str(name) for name in names])
    if not names:
        raise InputError(f"{path}: there are no labelled pictures to find boxes for")
    for name in names:
        # A box may lie outside: detectors do that, and the protocol keeps every box.
        yield given.boxes_for(name, _ANY_SIZE)
