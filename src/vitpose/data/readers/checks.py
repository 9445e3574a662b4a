"""Reading foreign JSON without trusting it: every fault names the file, the entry and the field."""

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.geometry import Size
from vitpose.data.records import Identifier

OnBad = Literal["refuse", "drop"]
"""``refuse``: the first faulty entry is an error. ``drop``: faulty entries are left out and listed."""

Entry = Mapping[str, Any]


def read_json(path: Path) -> Any:
    """Return what a JSON file, plain or gzipped, holds.

    Raises:
        InputError: not there, not readable, or not JSON.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return json.loads(data.decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(f"annotation file {path} does not exist") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"annotation file {path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"annotation file {path} is not JSON: {error}") from error


def entries(content: Any, key: str, path: Path) -> list[Any]:
    """Return the list ``content[key]`` of an annotation file.

    Raises:
        InputError: ``content`` is no table or has no such list.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected a COCO-style object with images and annotations, found a {_kind(content)}")
    if not isinstance(content.get(key), list):
        found = f"is a {_kind(content[key])}" if key in content else "is missing"
        raise InputError(f"{path}: field {key!r} must be a list; it {found}")
    listed: list[Any] = content[key]
    return listed


def table(entry: Any, where: str) -> Entry:
    """Return ``entry`` if it is a table of fields.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(entry, Mapping):
        raise InputError(f"{where} must be an object with fields, not a {_kind(entry)}")
    return entry


def identifier(entry: Entry, key: str, where: str) -> Identifier:
    """Return an id: a whole number or a text.

    Raises:
        InputError: missing or of another kind.
    """
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(f"{where}: field {key!r} {_fault(entry, key)}; it must be a whole number or a text")
    return value


def numbers(entry: Entry, key: str, where: str, shape: tuple[int, ...] = (-1,)) -> NDArray[np.float64]:
    """Return a list of finite numbers.

    Args:
        entry: what it is a field of.
        key: the field.
        where: file and entry, for messages.
        shape: what it must have; -1 stands for any length.

    Raises:
        InputError: missing, not numbers (text included), not finite, or of another shape.
    """
    try:
        array = np.asarray(entry.get(key))
    except ValueError as error:
        raise InputError(f"{where}: field {key!r} must be a plain list of numbers ({error})") from error
    if array.size == 0 and array.ndim == 1:
        array = array.astype(np.float64)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{where}: field {key!r} {_fault(entry, key)}; it must hold numbers only")
    if array.ndim != len(shape) or any(want not in (-1, have) for want, have in zip(shape, array.shape, strict=True)):
        wanted = " by ".join("any" if want < 0 else str(want) for want in shape) or "one"
        raise InputError(f"{where}: field {key!r} must hold {wanted} numbers, not {_shape(array)}")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{where}: field {key!r} has a value that is not a finite number")
    return values


def number(entry: Entry, key: str, where: str) -> float | None:
    """Return one finite number, or None when the field is missing or null.

    Raises:
        InputError: it is something else.
    """
    return None if entry.get(key) is None else float(numbers(entry, key, where, ()))


def text(entry: Entry, key: str, where: str) -> str:
    """Return a text that is not empty.

    Raises:
        InputError: missing, empty or of another kind.
    """
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(f"{where}: field {key!r} {_fault(entry, key)}; it must be a text")
    return value


def picture_size(entry: Entry, where: str) -> Size | None:
    """Return the size a picture's entry states, None when it states none.

    Raises:
        InputError: a side that is not a positive number.
    """
    height, width = number(entry, "height", where), number(entry, "width", where)
    if height is None or width is None:
        return None
    for key, side in (("height", height), ("width", width)):
        if side < 1:
            raise InputError(f"{where}: field {key!r} is {side:g}; a picture has at least one pixel")
    return Size(round(height), round(width))


def _fault(entry: Entry, key: str) -> str:
    return f"is {str(entry[key])[:40]!r}" if key in entry else "is missing"


def _kind(value: Any) -> str:
    return {"dict": "object", "list": "list", "str": "text", "NoneType": "null"}.get(type(value).__name__, "number")


def _shape(array: NDArray[Any]) -> str:
    return " by ".join(str(side) for side in array.shape) or "one"
