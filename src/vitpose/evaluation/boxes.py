"""Boxes from a file for the pictures of a labelled set."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vitpose.core.errors import InputError
from vitpose.core.poses import Boxes
from vitpose.detectors.given import GivenBoxes
from vitpose.evaluation.people import Picture


def boxes_from_file(path: Path, pictures: Sequence[Picture]) -> Iterator[Boxes]:
    """Yield the boxes of each picture; none for pictures the file does not speak of.

    Args:
        path: COCO detection results, as the detections of the published protocols are shared, or any other file
            ``vitpose predict --boxes`` takes. A file that names its pictures is asked by name; one that only numbers
            them by the labels' ids, or, where it has none of these, by the numbers in the pictures' names.
        pictures: of the labelled set.

    Raises:
        InputError: the file cannot be read, or knows none of the pictures.
    """
    given = GivenBoxes.from_file(path)
    if not pictures:
        raise InputError(f"{path}: there are no labelled pictures to find boxes for")
    names: list[int | str] = [str(picture.path) for picture in pictures]
    numbered = not any(isinstance(key, str) for key in given.entries)
    ids = [picture.id for picture in pictures if isinstance(picture.id, int)]
    if numbered and len(ids) == len(pictures) and any(number in given.entries for number in ids):
        # One way for all: a picture without boxes must not get those of whichever bears its number in its name.
        names = list(ids)
    else:
        given.check_sources([str(name) for name in names])
    for name in names:
        # A box may lie outside: detectors do that, and the protocol keeps every box.
        yield given.boxes_for(name, None)
