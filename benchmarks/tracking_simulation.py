"""Detections as a person detector and a pose model would give them, made from labelled tracks.

Each labelled person of a frame is missed or found with a wrong box; the pose is read from that box with errors that
grow where the label says *occluded*, sometimes a keypoint lands anywhere in the box, and sometimes, where two people
overlap, the whole pose is the neighbour's. False boxes are doubles of people or lie on the background, where they may
stay for several frames. The labels are used for nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.similarity import iou_matrix
from vitpose.core.skeleton import Skeleton

RATE = 25.0
SIGMAS = (0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.079, 0.079, 0.062, 0.072, 0.079, 0.079, 0.072, 0.062)
SKELETON = Skeleton(
    name="posetrack14",
    keypoints=(
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "neck", "head_top"),
        *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    ),
    sigmas=SIGMAS,
)
KEPT = [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15]


@dataclass(frozen=True)
class Setting:
    """How bad the detections are.

    ``box`` standard deviation of each side of a box in box sides; ``keypoint`` of a visible keypoint in what COCO's
    annotators differ by; ``miss`` share of people not found, half of it in runs; ``false`` false boxes a frame;
    ``gross`` share of keypoints anywhere in the box; ``neighbour`` share of poses that are an overlapping neighbour's.
    """

    box: float
    keypoint: float
    miss: float
    false: float
    gross: float
    neighbour: float


SETTINGS = {
    "easy": Setting(box=0.03, keypoint=0.5, miss=0.05, false=0.2, gross=0.02, neighbour=0.02),
    "medium": Setting(box=0.06, keypoint=1.0, miss=0.15, false=0.8, gross=0.05, neighbour=0.08),
    "hard": Setting(box=0.10, keypoint=1.5, miss=0.30, false=2.0, gross=0.10, neighbour=0.15),
}


@dataclass(frozen=True)
class LabelledVideo:
    """``xy`` (people, frames, keypoints, 2), ``visible`` 0/1/2, ``boxes`` (people, frames, 4), ``present``."""

    name: str
    xy: NDArray[np.float64]
    visible: NDArray[np.int16]
    boxes: NDArray[np.float64]
    present: NDArray[np.bool_]


def load_videos(path: Path) -> list[LabelledVideo]:
    """Read the PoseTrack labels; a person with fewer than three labelled keypoints in a frame is not there."""
    return [_video(name, np.asarray(values)) for name, values in np.load(path).items()]


def _video(name: str, values: NDArray[np.int16]) -> LabelledVideo:
    visible = values[:, :, KEPT, 2]
    xy = values[:, :, KEPT, :2].astype(np.float64)
    labelled = (visible > 0)[..., None]
    low = np.where(labelled, xy, np.inf).min(axis=2)
    high = np.where(labelled, xy, -np.inf).max(axis=2)
    present = (visible > 0).sum(axis=2) >= 3
    low, high = np.where(present[..., None], low, 0), np.where(present[..., None], high, 1)
    margin = 0.08 * (high - low) + 4
    return LabelledVideo(name, xy, visible, np.concatenate([low - margin, high + margin], axis=-1), present)


def simulate(video: LabelledVideo, setting: Setting, seed: int) -> Iterator[Poses]:
    """Yield what would be found in each frame."""
    rng = np.random.default_rng([seed, len(video.name), *video.name.encode()])
    people, frames = video.present.shape
    away = np.zeros(people, dtype=bool)
    ghosts: list[NDArray[np.float64]] = []
    limit = video.boxes.reshape(-1, 4).max(axis=0)[2:]
    for t in range(frames):
        there = np.flatnonzero(video.present[:, t])
        # Half of the misses come in runs of six frames on average, half one by one; people in crowds twice as often.
        away = np.where(away, rng.random(people) > 1 / 6, rng.random(people) < setting.miss / 12)
        overlap = iou_matrix(video.boxes[there, t], video.boxes[there, t]) - np.eye(len(there))
        crowd = 1 + (overlap.max(axis=1, initial=0) > 0.3)
        single = rng.random(len(there)) < setting.miss / 2 * crowd
        found = there[~(away[there] | single)]
        rows = [_person(video, t, p, there, setting, rng) for p in found]
        ghosts = [ghost for ghost in ghosts if rng.random() < 0.6]
        ghosts += [_ghost(limit, rng) for _ in range(rng.poisson(setting.false / 2 * 0.4))]
        rows += [_background(ghost, setting, rng) for ghost in ghosts]
        if len(there):
            rows += [_double(video, t, rng.choice(there), setting, rng) for _ in range(rng.poisson(setting.false / 2))]
        yield _poses([rows[i] for i in rng.permutation(len(rows))], limit)


Row = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]


def _person(
    video: LabelledVideo, t: int, p: int, there: NDArray[np.int64], setting: Setting, rng: np.random.Generator
) -> Row:
    box = _wrong_box(video.boxes[p, t], setting.box, rng)
    shown = p
    near = [q for q in there if q != p and iou_matrix(video.boxes[[p], t], video.boxes[[q], t])[0, 0] > 0.4]
    if near and rng.random() < setting.neighbour:
        shown = int(rng.choice(near))
    xy, scores = _pose(video, t, shown, box, setting, rng)
    return xy, scores, box, float(rng.beta(8, 2.5))


def _double(video: LabelledVideo, t: int, p: int, setting: Setting, rng: np.random.Generator) -> Row:
    box = _wrong_box(video.boxes[p, t], 0.3, rng)
    xy, scores = _pose(video, t, p, box, setting, rng)
    return xy, 0.8 * scores, box, float(rng.beta(3, 3))


def _background(box: NDArray[np.float64], setting: Setting, rng: np.random.Generator) -> Row:
    xy = box[:2] + rng.random((len(KEPT), 2)) * (box[2:] - box[:2])
    return xy, rng.beta(2, 5, len(KEPT)), _wrong_box(box, setting.box / 2, rng), float(rng.beta(3, 3))


def _pose(
    video: LabelledVideo, t: int, p: int, box: NDArray[np.float64], setting: Setting, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    visible = video.visible[p, t]
    size = np.sqrt(np.prod(video.boxes[p, t, 2:] - video.boxes[p, t, :2]))
    spread = setting.keypoint * np.array(SIGMAS) * size * np.where(visible == 2, 1.0, 2.0)
    xy = video.xy[p, t] + rng.normal(size=(len(KEPT), 2)) * spread[:, None]
    scores = np.where(visible == 2, rng.beta(8, 2, len(KEPT)), rng.beta(4, 3, len(KEPT)))
    anywhere = box[:2] + rng.random((len(KEPT), 2)) * (box[2:] - box[:2])
    gross = rng.random(len(KEPT)) < setting.gross
    unseen = visible == 0
    xy = np.where((gross | unseen)[:, None], anywhere, xy)
    scores = np.where(gross, rng.beta(3, 4, len(KEPT)), scores)
    return xy, np.where(unseen, rng.beta(1.5, 6, len(KEPT)), scores)


def _wrong_box(box: NDArray[np.float64], noise: float, rng: np.random.Generator) -> NDArray[np.float64]:
    side = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.normal(size=4) * noise * side
    low, high = np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])
    return np.concatenate([low, np.maximum(high, low + 4)])


def _ghost(limit: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    height = rng.uniform(0.1, 0.6) * limit[1]
    extent = np.array([height * rng.uniform(0.3, 0.8), height])
    center = rng.random(2) * limit
    return np.concatenate([center - extent / 2, center + extent / 2])


def _poses(rows: list[Row], limit: NDArray[np.float64]) -> Poses:
    size = Size(int(limit[1]) + 1, int(limit[0]) + 1)
    if not rows:
        return Poses.empty(SKELETON, size)
    xy, scores, boxes, box_scores = (np.array(column) for column in zip(*rows, strict=True))
    return Poses(xy=xy, scores=scores, boxes=boxes, box_scores=box_scores, skeleton=SKELETON, image_size=size)
