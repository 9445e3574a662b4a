"""Encoded pictures to upright 8-bit RGB, with Pillow.

Pillow rather than OpenCV: it applies the same JPEG decoder (150 COCO pictures came out identical, in 0.7 of the time)
and it alone handles palettes, CMYK, transparency, 16 bit and EXIF in PNG and WebP.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vitpose.core.errors import InputError, UsageError

log = logging.getLogger(__name__)

MAX_PIXELS = 200_000_000
"""Pictures with more pixels are refused before they are decoded, unless told otherwise."""

MAX_PIXELS_VARIABLE = "VITPOSE_MAX_PIXELS"
"""Environment variable that replaces the limit."""

# Formats people keep pictures in. Not everything Pillow knows: its EPS reader, for one, starts another program.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "QOI")

_PAPER = (255, 255, 255, 255)
"""What shows through transparent pixels: white, as in a browser and on paper."""

_ORIENTATION_TAG = 0x0112

# EXIF orientation to the operation that makes the picture upright (EXIF 2.32, section 4.6.4 A).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_PILLOW_LIMIT = threading.Lock()


def decode(file: str | IO[bytes], name: str, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Return the picture in a file as ``(height, width, 3)`` uint8 RGB, upright; the first frame of an animation.

    Args:
        file: path or open binary file.
        name: what to call it in messages.
        max_pixels: refuse larger pictures; by default 200 million or what ``VITPOSE_MAX_PIXELS`` says.

    Raises:
        InputError: not a picture, damaged, or too large.
    """
    with open_header(file, name, max_pixels) as image:
        rgb = to_rgb(image, name)
        if _moves(image):
            log.warning(
                "%s is an animation: its first frame is used (as a film it needs to be converted, say to mp4)", name
            )
        return rgb


@contextlib.contextmanager
def open_header(file: str | IO[bytes], name: str, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Open a picture without decoding it and check its size.

    Raises:
        InputError: not a picture, or too large.
    """
    limit = pixel_limit(max_pixels)
    try:
        # The lock is held while the header is read only; see _without_pillow_limit.
        with _without_pillow_limit():
            image = Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not a picture in a known format ({', '.join(_FORMATS)})") from error
    except Exception as error:  # Pillow's readers raise nearly anything on damaged headers.
        raise InputError(f"{name} cannot be opened as a picture: {_reason(error)}") from error
    with image:
        if image.width * image.height > limit:
            raise InputError(
                f"{name} has {image.width}x{image.height} pixels, more than the limit of {limit / 1e6:g} million;"
                f" set {MAX_PIXELS_VARIABLE} to allow it"
            )
        yield image


def to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Return an opened Pillow image as ``(height, width, 3)`` uint8 RGB with its EXIF orientation applied.

    Transparent pixels are laid over white, greys of more bits are scaled to 8; the image itself is not changed.

    Raises:
        InputError: the data are damaged or incomplete.
    """
    try:
        # A picture above Pillow's own limit has passed ours: let it through without Pillow's warning.
        large = image.width * image.height > (Image.MAX_IMAGE_PIXELS or np.inf)
        with _without_pillow_limit() if large else contextlib.nullcontext():
            image.load()
            operation = _UPRIGHT.get(_orientation(image))
            rgb = _flatten(image, name)
            return np.array(rgb if operation is None else rgb.transpose(operation))
    except InputError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on damaged data.
        raise InputError(f"{name} is damaged or incomplete: {_reason(error)}") from error


def _flatten(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        # PNG, PPM and JPEG 2000 know no greys of 32 bit: what Pillow opens as such there are words of 16 bit.
        wide = image.mode == "I" and image.format in (None, "TIFF")
        return Image.fromarray(_scale_grey(np.asarray(image), name, wide=wide)).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, _PAPER), colours).convert("RGB")
    return image.convert("RGB")


def _scale_grey(values: NDArray[np.generic], name: str, *, wide: bool) -> NDArray[np.uint8]:
    """Scale greys of more than 8 bit: floats are 0..1, integers 16 bit.

    Programs that count in 32 bit (``wide``) put 8-bit and 16-bit values into such files as they are. Nothing says which
    they are but the largest: 16 bits of which only the lowest 8 are used would be black to the eye.
    """
    if np.issubdtype(values.dtype, np.floating):
        return float_to_bytes(values, name)
    if wide and values.min() >= 0 and values.max() <= np.iinfo(np.uint8).max:
        return values.astype(np.uint8)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise InputError(f"{name} has grey values from {values.min()} to {values.max()}, 16 bit go from 0 to 65535")
    return words_to_bytes(values)


def words_to_bytes(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale 0..65535 to 0..255, rounding to the nearest."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def float_to_bytes(values: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Scale 0..1 to 0..255, rounding to the nearest.

    Raises:
        InputError: a value is not in 0..1 or not a number.
    """
    numbers = values.astype(np.float32)
    low, high = float(numbers.min()), float(numbers.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # written so that NaN is refused too
        raise InputError(f"{name} has float values from {low:g} to {high:g}; float pictures go from 0 to 1")
    return np.rint(np.clip(numbers, 0, 1) * 255).astype(np.uint8)


def _moves(image: Image.Image) -> bool:
    """Return whether there are frames beside the first; pages of TIFF and second views of JPEG are no animation."""
    try:
        return image.format in ("GIF", "PNG", "WEBP") and bool(getattr(image, "is_animated", False))
    except Exception:  # GIF looks for the next frame, and a damaged one raises anything; the first is still good.
        return False


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Damaged EXIF raises anything; the pixels are still good.
        return 1
    return value if isinstance(value, int) else 1


@contextlib.contextmanager
def _without_pillow_limit() -> Iterator[None]:
    """Lift Pillow's process-wide pixel limit, which warns, for the length of a call that is guarded by our own."""
    with _PILLOW_LIMIT:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def pixel_limit(max_pixels: int | None = None) -> int:
    """Return how many pixels a picture or frame may have: ``max_pixels``, the environment's number, or 200 million.

    Raises:
        UsageError: ``VITPOSE_MAX_PIXELS`` is not a number of pixels.
    """
    if max_pixels is not None:
        return max_pixels
    text = os.environ.get(MAX_PIXELS_VARIABLE)
    if text is None:
        return MAX_PIXELS
    try:
        limit = int(float(text))
    except (ValueError, OverflowError):
        limit = 0
    if limit < 1:
        raise UsageError(f"{MAX_PIXELS_VARIABLE} must be a number of pixels, not {text!r}")
    return limit


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
