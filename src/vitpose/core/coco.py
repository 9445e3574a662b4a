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
