"""What every detector promises: pictures in, boxes out. Any function that finds boxes can be made into one."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import as_boxes
from vitpose.core.poses import Boxes

Image: TypeAlias = NDArray[np.uint8]


class Detector(Protocol):
    """Finds the people (or animals) in pictures."""

    @property
    def name(self) -> str:
        """What found the boxes, for provenance."""

    def __call__(self, images: Sequence[Image]) -> list[Boxes]:
        """Return the boxes of each ``(height, width, 3)`` uint8 RGB picture, in its pixels.

        What is found in one picture does not depend on the others. A picture nobody is in gives no boxes.
        """


@runtime_checkable
class Settles(Protocol):
    """A detector whose name says what it is only once its weights are loaded."""

    def settle(self) -> None:
        """Load them, so that ``name`` stays from here on."""


def as_detector(found_by: Detector | Callable[[Image], Any]) -> Detector:
    """Return a detector as it is, and a plain function from one picture to boxes as a detector.

    Args:
        found_by: a ``Detector``, or a function that takes one ``(height, width, 3)`` uint8 RGB picture and returns
            ``(people, 4)`` xyxy, ``(people, 5)`` xyxy and score, a pair of boxes and scores, a ``Boxes``, or an object
            with ``xyxy`` and ``confidence`` (such as ``supervision.Detections``).

    Raises:
        UsageError: neither a detector nor a function.
    """
    if not callable(found_by):
        raise UsageError(f"a detector is a function from a picture to boxes, not {type(found_by).__name__}")
    # A name is what tells the two apart: functions have none of that spelling.
    if isinstance(getattr(found_by, "name", None), str):
        return cast(Detector, found_by)
    return FunctionDetector(cast(Callable[[Image], Any], found_by))


class FunctionDetector:
    """A plain function as a detector: it is called once a picture."""

    def __init__(self, function: Callable[[Image], Any]) -> None:
        """Keep the function.

        Args:
            function: see ``as_detector``.
        """
        self.name: str = getattr(function, "__name__", type(function).__name__)
        self._function = function

    def __call__(self, images: Sequence[Image]) -> list[Boxes]:
        """Call the function for each picture; see ``Detector``.

        Raises:
            InputError: what it returns are not boxes.
        """
        return [
            _to_boxes(self._function(image), f"detector {self.name}, picture {i}") for i, image in enumerate(images)
        ]


def _to_boxes(found: Any, source: str) -> Boxes:
    if isinstance(found, Boxes):
        return found
    if hasattr(found, "xyxy"):
        return _checked(found.xyxy, getattr(found, "confidence", None), source)
    if (
        isinstance(found, tuple)
        and len(found) == 2
        and np.ndim(_plain(found[1])) == 1
        and np.ndim(_plain(found[0])) != 1
    ):
        return _checked(found[0], found[1], source)
    array = np.asarray(_plain(found))
    if array.ndim == 2 and array.shape[1] == 5:
        return _checked(array[:, :4], array[:, 4], source)
    return _checked(array, None, source)


def _checked(xyxy: Any, scores: Any, source: str) -> Boxes:
    boxes = as_boxes(_plain(xyxy), source=source)
    if scores is None:
        return Boxes(boxes)
    numbers = np.asarray(_plain(scores), dtype=np.float32)
    if numbers.shape != (len(boxes),) or not np.isfinite(numbers).all():
        raise InputError(f"{source}: {len(boxes)} boxes need as many finite scores, not an array {numbers.shape}")
    return Boxes(boxes, numbers)


def _plain(values: Any) -> Any:
    """Bring a tensor from wherever it is to something numpy takes."""
    return values.detach().cpu() if hasattr(values, "detach") else values
