"""What COCO calls the things that have keypoints here."""

from types import MappingProxyType
from typing import Final

COCO_IDS: Final = MappingProxyType(
    {
        "person": 1,
        "bird": 16,
        "cat": 17,
        "dog": 18,
        "horse": 19,
        "sheep": 20,
        "cow": 21,
        "elephant": 22,
        "bear": 23,
        "zebra": 24,
        "giraffe": 25,
    }
)
"""Category ids of COCO 2017 by name, for people and animals; detection results carry the ids alone."""

PEOPLE: Final = ("person",)

ANIMALS: Final = tuple(name for name in COCO_IDS if name not in PEOPLE)
"""The animals that detectors trained on COCO know."""

_FIRST_OTHER_ID = 1001


def category_id(label: str, place: int) -> int:
    """Return the category id of a label: COCO's own, else one far above those, by the label's place among all."""
    return COCO_IDS.get(label) or _FIRST_OTHER_ID + place
