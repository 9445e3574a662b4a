"""No detector at all: the picture is the box."""

from collections.abc import Sequence

from vitpose.core.poses import Boxes
from vitpose.detectors.base import Image


class WholeImage:
    """One box a picture: the whole of it. For pictures that show one person who fills them."""

    name = "whole"

    def __call__(self, images: Sequence[Image]) -> list[Boxes]:
        """Return ``[0, 0, width, height]`` for each picture."""
        return [Boxes([[0, 0, image.shape[1], image.shape[0]]]) for image in images]  # type: ignore[arg-type] # checked there
