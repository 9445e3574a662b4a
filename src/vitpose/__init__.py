"""ViTPose and ViTPose+: keypoints of people and animals, from photos and videos to trained models and back.

The names below are the public surface; everything else is reached through its module. They are resolved on first
use, so that ``import vitpose`` loads neither torch nor anything else that is slow.
"""

import importlib
from typing import TYPE_CHECKING

from vitpose._version import __version__

if TYPE_CHECKING:
    from vitpose.core.poses import Boxes, Poses
    from vitpose.core.skeleton import Skeleton
    from vitpose.models.pose import VitPose, create_model
    from vitpose.pipeline.assemble import draw, load
    from vitpose.pipeline.estimator import PoseEstimator
    from vitpose.weights.catalog import list_models

_HOMES = {
    "Boxes": "vitpose.core.poses",
    "PoseEstimator": "vitpose.pipeline.estimator",
    "Poses": "vitpose.core.poses",
    "Skeleton": "vitpose.core.skeleton",
    "VitPose": "vitpose.models.pose",
    "create_model": "vitpose.models.pose",
    "draw": "vitpose.pipeline.assemble",
    "list_models": "vitpose.weights.catalog",
    "load": "vitpose.pipeline.assemble",
}

__all__ = [
    "Boxes",
    "PoseEstimator",
    "Poses",
    "Skeleton",
    "VitPose",
    "__version__",
    "create_model",
    "draw",
    "list_models",
    "load",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vitpose' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
