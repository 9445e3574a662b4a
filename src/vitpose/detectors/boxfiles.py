"""Files of boxes: COCO detections, COCO annotations, a JSON mapping of file names, and lines of text."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitpose.core.coco import COCO_IDS
from vitpose.core.errors import InputError
from vitpose.core.geometry import as_boxes

_KNOWN_FORMS = (
    "boxes come as a COCO list of detections, a COCO annotation file, a JSON object of file name to list of"
    " [x1, y1, x2, y2] or [x1, y1, x2, y2, score], or lines of file,x1,y1,x2,y2[,score]"
)

MIN_SIDE_PX = 0.01
"""Shortest side of a box: a hundredth of a pixel is a slip of whoever wrote the file, not somebody in a picture."""

_COCO_NAMES = {number: name for name, number in COCO_IDS.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One box of a file, or the statement that a picture has none.

    Attributes:
        picture: file name, or a COCO image id.
        box: x1, y1, x2, y2 in picture pixels; None where the picture is named without a box.
        where: file and place in it, for messages.
        score: the detector's; 1 where the file gives none.
        label: class name.
    """

    picture: str | int
    box: tuple[float, float, float, float] | None
    where: str
    score: float = 1.0
    label: str = "person"


@dataclass(frozen=True, slots=True)
class BoxFile:
    """What a file of boxes says.

    Attributes:
        entries: every box.
        file_names: file name of each COCO image id, where the file has a table of images.
    """

    entries: tuple[Entry, ...]
    file_names: Mapping[int | str, str]


def read_box_file(path: str | Path) -> BoxFile:
    """Read a file of boxes in any of the known forms and check each box.

    People marked as a crowd in COCO annotations are left out: their box is not a person's.

    Raises:
        InputError: unreadable, of another form, or a box that is not one; the message names file and entry.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text, and so neither JSON nor CSV; {_KNOWN_FORMS}") from error
    if not text.strip():
        raise InputError(f"{path} is empty; {_KNOWN_FORMS}")
    try:
        if text.lstrip()[0] in "[{":
            return _from_json(text, str(path))
        if _is_json(text):
            raise InputError(f"{path} holds a single value and no boxes; {_KNOWN_FORMS}")
        return BoxFile(tuple(_from_lines(text, str(path))), {})
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path} is not a file of boxes ({error}); {_KNOWN_FORMS}") from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _from_json(text: str, path: str) -> BoxFile:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if isinstance(data, list):
        return BoxFile(tuple(_from_detections(data, path)), {})
    if "annotations" in data:
        return _from_annotations(data, path)
    return BoxFile(tuple(_from_mapping(data, path)), {})


def _from_detections(data: Sequence[Any], path: str) -> Iterator[Entry]:
    for number, row in enumerate(data):
        where = f"{path}, entry {number}"
        picture = _field(row, "image_id", where)
        if isinstance(picture, bool) or not isinstance(picture, (int, str)):
            raise InputError(f"{where}: image_id must be a number or a name, not {picture!r}")
        category = row.get("category_id", COCO_IDS["person"])
        label = _COCO_NAMES.get(category, f"category {category}")
        box = _xywh(_field(row, "bbox", where), where)
        yield Entry(picture, box, where, _score(row.get("score", 1.0), where), label)


def _from_annotations(data: Mapping[str, Any], path: str) -> BoxFile:
    try:
        file_names = {image["id"]: str(image.get("file_name", image["id"])) for image in data["images"]}
        categories = {category["id"]: str(category["name"]) for category in data.get("categories", [])}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a COCO annotation file: no usable tables of images and categories") from error
    entries = [Entry(picture, None, path) for picture in file_names]
    for number, row in enumerate(data["annotations"]):
        where = f"{path}, annotation {number}"
        picture = _field(row, "image_id", where)
        if picture not in file_names:
            raise InputError(f"{where}: image_id {picture!r} is not in the file's table of images")
        if row.get("iscrowd"):
            continue
        label = categories.get(row.get("category_id"), "person")
        box = _xywh(_field(row, "bbox", where), where)
        entries.append(Entry(picture, box, where, _score(row.get("score", 1.0), where), label))
    return BoxFile(tuple(entries), file_names)


def _from_mapping(data: Mapping[str, Any], path: str) -> Iterator[Entry]:
    for picture, rows in data.items():
        if not isinstance(rows, list):
            raise InputError(f"{path}, {picture!r}: a list of boxes is missing; {_KNOWN_FORMS}")
        flat = bool(rows) and not isinstance(rows[0], list)
        yield Entry(picture, None, f"{path}, {picture!r}")
        for number, row in enumerate([rows] if flat else rows):
            yield _row(picture, row, f"{path}, {picture!r}, box {number}")


def _from_lines(text: str, path: str) -> Iterator[Entry]:
    lines = text.splitlines()
    told = [line for line in lines if not line.lstrip().startswith("#")]
    delimiter = next((mark for mark in (",", "\t", ";") if any(mark in line for line in told)), " ")
    started = False
    for number, cells in enumerate(csv.reader(lines, delimiter=delimiter, skipinitialspace=True), 1):
        values = [cell.strip() for cell in cells if cell.strip() or delimiter != " "]
        if not any(values) or values[0].startswith("#"):
            continue
        where = f"{path}, line {number}"
        if not started and _is_header(values):
            _check_header(values, where)
        elif not any(values[1:]):
            yield Entry(values[0], None, where)
        else:
            yield _row(values[0], values[1:], where)
        started = True


def _is_header(values: Sequence[str]) -> bool:
    return len(values) > 1 and not any(_number(value) is not None for value in values[1:]) and any(values[1:])


def _check_header(values: Sequence[str], where: str) -> None:
    names = [value.lower() for value in values[1:]]
    if names[:4] != ["x1", "y1", "x2", "y2"] or names[4:] not in ([], ["score"]):
        raise InputError(f"{where}: the columns must be file,x1,y1,x2,y2[,score], not {','.join(values)}")


def _row(picture: str, row: Any, where: str) -> Entry:
    if not isinstance(row, list) or len(row) not in (4, 5):
        raise InputError(f"{where}: a box has four numbers x1, y1, x2, y2, or five with a score, not {row!r}")
    return Entry(picture, _xyxy(row[:4], where), where, _score(row[4], where) if len(row) == 5 else 1.0)


def _xywh(values: Any, where: str) -> tuple[float, float, float, float]:
    if not isinstance(values, list) or len(values) != 4:
        raise InputError(f"{where}: bbox must be x, y, width, height, not {values!r}")
    x, y, width, height = (_number(value) for value in values)
    if x is None or y is None or width is None or height is None:
        raise InputError(f"{where}: bbox {values!r} has a value that is not a number")
    return _xyxy([x, y, x + width, y + height], where)


def _xyxy(values: Sequence[Any], where: str) -> tuple[float, float, float, float]:
    numbers = [number for value in values if (number := _number(value)) is not None]
    if len(numbers) < len(values):
        raise InputError(f"{where}: {list(values)!r} has a value that is not a number")
    try:
        x1, y1, x2, y2 = as_boxes([numbers], source="")[0].tolist()
    except InputError as error:
        # It counts boxes from 0; here there is one, and its place in the file is known.
        raise InputError(f"{where}: {str(error).removeprefix(': box 0 ')}") from error
    if min(x2 - x1, y2 - y1) < MIN_SIDE_PX:
        raise InputError(
            f"{where}: [{x1:g}, {y1:g}, {x2:g}, {y2:g}] has no area: a side is shorter than {MIN_SIDE_PX:g} pixels"
        )
    return x1, y1, x2, y2


def _score(value: Any, where: str) -> float:
    number = _number(value)
    if number is None or not 0 <= number <= 1:  # written so that NaN is refused too
        raise InputError(f"{where}: score must be a number from 0 to 1, not {value!r}")
    return number


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _field(row: Any, key: str, where: str) -> Any:
    if not isinstance(row, Mapping) or key not in row:
        raise InputError(f"{where}: {key} is missing; {_KNOWN_FORMS}")
    return row[key]
