"""People who walk on known paths, as poses with boxes."""

import numpy as np

from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import load_skeleton

COCO17 = load_skeleton("coco17")
SHAPE = np.random.default_rng(42).random((6, 17, 2)) * [60, 160]
"""Six people, each with a pose of their own, in a box of 60 x 160."""


def people(
    who: list[int], at: list[tuple[float, float]], *, rng: np.random.Generator | None = None, noise: float = 0.0
) -> Poses:
    """The people ``who`` with the upper left corners of their boxes ``at``, in that order."""
    if not who:
        return Poses.empty(COCO17, Size(480, 640))
    corners = np.array(at, dtype=float).reshape(-1, 2)
    xy = SHAPE[who] + corners[:, None]
    boxes = np.concatenate([corners, corners + np.array([60, 160])], axis=1)
    if rng is not None:
        xy = xy + rng.normal(0, noise, xy.shape)
        boxes = boxes + rng.normal(0, noise, boxes.shape)
    return Poses(
        xy=xy,
        scores=np.full((len(who), 17), 0.9),
        boxes=boxes,
        box_scores=np.full(len(who), 0.9),
        skeleton=COCO17,
        image_size=Size(480, 640),
    )
