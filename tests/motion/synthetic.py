"""Motion with known answers."""

import numpy as np

from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.motion.series import TrackSeries

COCO17 = load_skeleton("coco17")


def series_of(
    xy: np.ndarray, times_s: np.ndarray, *, scores: np.ndarray | None = None, skeleton: Skeleton = COCO17
) -> TrackSeries:
    rows, keypoints = xy.shape[:2]
    return TrackSeries(
        track_id=1,
        times_s=np.asarray(times_s, dtype=np.float64),
        frames=np.arange(rows),
        xy=np.asarray(xy, dtype=np.float64),
        raw_xy=np.asarray(xy, dtype=np.float64),
        scores=np.ones((rows, keypoints)) if scores is None else scores,
        sizes=np.full(rows, 100.0),
        filled=np.zeros((rows, keypoints), dtype=bool),
        skeleton=skeleton,
    )


def standing(rows: int, skeleton: Skeleton = COCO17) -> np.ndarray:
    """A person of about 170 px who stands still."""
    y = {"shoulder": 40, "elbow": 70, "wrist": 95, "hip": 95, "knee": 135, "ankle": 170, "heel": 173, "big_toe": 174}
    place = np.zeros((len(skeleton), 2))
    for i, name in enumerate(skeleton.keypoints):
        part = name.removeprefix("left_").removeprefix("right_")
        place[i] = (10.0 if name.startswith("left") else -10.0 if name.startswith("right") else 0.0, y.get(part, 10))
    return np.tile(place + 200.0, (rows, 1, 1))


def walker(times_s: np.ndarray, *, stride_s: float, speed: float, skeleton: Skeleton) -> np.ndarray:
    """Walks to the right: the left foot is farthest ahead at multiples of the stride, the right half a stride later."""
    xy = standing(len(times_s), skeleton)
    for side, late in (("left", 0.0), ("right", 0.5)):
        phase = 2 * np.pi * (times_s / stride_s - late)
        for part, reach in (("ankle", 35.0), ("heel", 35.0), ("big_toe", 35.0), ("knee", 18.0)):
            name = f"{side}_{part}"
            if name in skeleton.keypoints:
                xy[:, skeleton.index(name), 0] += reach * np.cos(phase)
    xy[..., 0] += speed * times_s[:, None]
    return xy
