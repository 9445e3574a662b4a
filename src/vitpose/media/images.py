"""Pictures in and out: anything a user may call a picture becomes ``(height, width, 3)`` uint8 RGB, upright."""

import io
import os
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.files import atomic_path, check_regular
from vitpose.media.decode import decode, float_to_bytes, to_rgb, words_to_bytes
from vitpose.media.urls import fetch_url, is_url

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[Any]
"""Path, http(s) URL, encoded bytes, open binary file, Pillow image or array."""

_ACCEPTED = (
    "a picture is a path, a URL, bytes, a binary file, a Pillow image or an array (height, width), (height, width, 1),"
    " (height, width, 3) RGB or (height, width, 4) RGBA of uint8, uint16, bool or float in 0..1"
)

_WRITERS: dict[str, tuple[str, dict[str, int]]] = {
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".png": ("PNG", {"compress_level": 3}),
}


def read_image(source: ImageSource, *, name: str | None = None, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Return a picture as ``(height, width, 3)`` uint8 RGB with its EXIF orientation applied.

    Transparency is laid over white. Greys become RGB, 16-bit values are scaled to 8 bit; greys of 32 bit, as TIFF files
    may have, are taken for 8-bit values if none is above 255, and else for 16-bit ones. Of an animation the first frame
    is taken, which a warning says. Arrays are taken as they are: RGB (not BGR), upright; an array that needs no
    conversion is returned itself, not a copy.

    Args:
        source: path, http(s) URL, encoded bytes, open binary file, Pillow image or array.
        name: what to call the picture in messages; by default its path or kind.
        max_pixels: refuse files with more pixels before decoding them; by default 200 million, or what the
            environment variable ``VITPOSE_MAX_PIXELS`` says.

    Raises:
        InputError: not there, not a picture, damaged, too large, or an array of another kind.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "the array")
    if isinstance(source, Image.Image):
        _refuse_empty(source.size, name or "the Pillow image")
        return to_rgb(source, name or "the Pillow image")
    if isinstance(source, str) and is_url(source):
        return decode(io.BytesIO(fetch_url(source)), name or source, max_pixels)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(Path(source), name or str(source), max_pixels)
    if not isinstance(source, (bytes, bytearray, memoryview)) and not hasattr(source, "read"):
        raise InputError(f"{name or 'the picture'} is a {type(source).__name__}; {_ACCEPTED}")
    name = name or str(getattr(source, "name", "the picture"))
    data = source.read() if hasattr(source, "read") else source
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputError(f'{name} is open as text; open it with "rb"')
    if not data:
        raise InputError(f"{name} is empty")
    return decode(io.BytesIO(data), name, max_pixels)


def write_image(path: str | Path, image: NDArray[np.uint8], *, comment: str = "") -> None:
    """Write ``(height, width, 3)`` uint8 RGB as PNG or JPEG, by the suffix; the file appears whole or not at all.

    Args:
        path: ends in ``.png``, ``.jpg`` or ``.jpeg``.
        image: the picture.
        comment: text to keep in the file, JPEG only.

    Raises:
        UsageError: another suffix, or another kind of array.
        VitPoseError: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise UsageError(f"cannot write pictures as {suffix or 'a file without suffix'!r}{nearest(suffix, _WRITERS)}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UsageError(f"write_image takes (height, width, 3) uint8 RGB, not {image.shape} {image.dtype}")
    kind, options = _WRITERS[suffix]
    with atomic_path(path) as temporary:
        noted = {"comment": comment} if comment and kind == "JPEG" else {}
        Image.fromarray(image).save(temporary, format=kind, **options, **noted)


def _from_path(path: Path, name: str, max_pixels: int | None) -> NDArray[np.uint8]:
    try:
        if path.is_dir():
            raise InputError(f"{name} is a folder, not a picture")
        check_regular(path, name)
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise InputError(f"{name} is empty")
            return decode(file, name, max_pixels)
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _from_array(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    plain = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not plain:
        hint = " (channels come last)" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise InputError(f"{name} has shape {array.shape}{hint}; {_ACCEPTED}")
    _refuse_empty((array.shape[1], array.shape[0]), name)
    values = _to_bytes(array, name)
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[2] == 1:
        values = np.repeat(values, 3, axis=2)
    if values.shape[2] == 4:
        return to_rgb(Image.fromarray(np.ascontiguousarray(values)), name)
    return np.ascontiguousarray(values)


def _to_bytes(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return words_to_bytes(array)
    if np.issubdtype(array.dtype, np.floating):
        return float_to_bytes(array, name)
    raise InputError(f"{name} holds {array.dtype}; {_ACCEPTED}")


def _refuse_empty(size: tuple[int, int], name: str) -> None:
    if 0 in size:
        raise InputError(f"{name} has no pixels: it is {size[0]}x{size[1]}")
