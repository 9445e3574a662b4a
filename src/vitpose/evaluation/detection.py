"""Run a detector over labelled pictures and score its boxes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vitpose.core.geometry import Size
from vitpose.core.poses import Boxes
from vitpose.detectors.base import Detector
from vitpose.media.images import read_image
from vitpose.metrics.detection import DetectionScores, Truth, score_boxes

_TOGETHER = 16


def evaluate_detector(
    detector: Detector,
    pictures: Sequence[tuple[Path, Callable[[Size], Truth]]],
    *,
    allowed: float = 0.3,
) -> DetectionScores:
    """Find people in labelled pictures and score the boxes.

    The detector's own threshold should be low: the operating point is looked for among the boxes it gives.

    Args:
        detector: any.
        pictures: path, and what tells who is there from the picture's size.
        allowed: false boxes a picture that are put up with.

    Raises:
        InputError: a picture cannot be read.
    """
    found: list[Boxes] = []
    truth: list[Truth] = []
    for boxes, people in _looked_at(detector, pictures):
        found.append(boxes)
        truth.append(people)
    return score_boxes(found, truth, allowed=allowed)


def _looked_at(
    detector: Detector, pictures: Sequence[tuple[Path, Callable[[Size], Truth]]]
) -> Iterator[tuple[Boxes, Truth]]:
    for start in range(0, len(pictures), _TOGETHER):
        part = pictures[start : start + _TOGETHER]
        images = [read_image(path) for path, _ in part]
        for image, boxes, (_, tell) in zip(images, detector(images), part, strict=True):
            yield boxes, tell(Size(*image.shape[:2]))
