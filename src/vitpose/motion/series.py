"""One tracked person over time as arrays, and the way there from the poses of each frame and back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton

Floats = NDArray[np.float64]

LEAST_SCORE = 0.05
"""Scores below this are all alike: the keypoint was not seen."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrackSeries:
    """One person's keypoints over time. Only frames in which the person is there have a row.

    Attributes:
        track_id: the id all rows share; a series never crosses an id change.
        times_s: ``(rows,)`` float64 presentation times, strictly increasing.
        frames: ``(rows,)`` int64 positions of the rows' frames in the video.
        xy: ``(rows, keypoints, 2)`` float64 picture pixels: the current, perhaps smoothed, positions.
        raw_xy: ``(rows, keypoints, 2)`` as they were estimated; NaN in rows that were filled in.
        scores: ``(rows, keypoints)``; 0 where a position was filled in or replaced.
        sizes: ``(rows,)`` square root of the box's area, the person's size in pixels.
        filled: ``(rows, keypoints)``: the position is not measured but interpolated.
        skeleton: names of the keypoints.
    """

    track_id: int
    times_s: Floats
    frames: NDArray[np.int64]
    xy: Floats
    raw_xy: Floats
    scores: Floats
    sizes: Floats
    filled: NDArray[np.bool_]
    skeleton: Skeleton

    def __post_init__(self) -> None:
        """Check that rows agree and time increases.

        Raises:
            UsageError: arrays of different lengths.
            InputError: times that do not increase or are not finite.
        """
        rows, keypoints = len(self.times_s), len(self.skeleton)
        shapes = {
            "frames": (rows,),
            "xy": (rows, keypoints, 2),
            "raw_xy": (rows, keypoints, 2),
            "scores": (rows, keypoints),
            "sizes": (rows,),
            "filled": (rows, keypoints),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise UsageError(f"{name} must have shape {shape}, not {getattr(self, name).shape}")
        check_times(self.times_s, f"track {self.track_id}")

    def __len__(self) -> int:
        return len(self.times_s)

    def __getitem__(self, rows: slice | NDArray[Any]) -> "TrackSeries":
        """Select rows by slice, mask or positions."""
        names = ("times_s", "frames", "xy", "raw_xy", "scores", "sizes", "filled")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def keypoint(self, name: str) -> Floats:
        """Return ``(rows, 2)`` positions of one keypoint.

        Raises:
            UsageError: the skeleton has no such keypoint.
        """
        return self.xy[:, self.skeleton.index(name)]

    @property
    def size(self) -> float:
        """The person's median size in pixels, at least 1."""
        return float(max(np.median(self.sizes), 1.0)) if len(self) else 1.0


def check_times(times_s: Floats, where: str) -> None:
    """Refuse times that no filter can work with.

    Raises:
        InputError: not finite, or not strictly increasing; the first bad row is named.
    """
    if not np.isfinite(times_s).all():
        row = int(np.flatnonzero(~np.isfinite(times_s))[0])
        raise InputError(f"{where}: the time of row {row} is {times_s[row]}: every frame needs a presentation time")
    wrong = np.flatnonzero(np.diff(times_s) <= 0)
    if len(wrong):
        row = int(wrong[0]) + 1
        raise InputError(
            f"{where}: time goes from {times_s[row - 1]:g} s to {times_s[row]:g} s at row {row};"
            " sort the frames by time and keep one row a time"
        )


def series_from_poses(frames: Sequence[Poses], times_s: Sequence[float]) -> list[TrackSeries]:
    """Collect the tracked people of a video, one series an id, in the order of the ids.

    People without an id (negative, or nothing tracked) are left out.

    Raises:
        UsageError: as many times as frames are needed, and one skeleton.
        InputError: an id stands twice in a frame, or times do not increase.
    """
    if len(frames) != len(times_s):
        raise UsageError(f"{len(times_s)} times for {len(frames)} frames")
    rows: dict[int, list[tuple[int, int]]] = {}
    for number, poses in enumerate(frames):
        if poses.skeleton.keypoints != frames[0].skeleton.keypoints:
            raise UsageError(f"frame {number} has skeleton {poses.skeleton.name}, frame 0 {frames[0].skeleton.name}")
        for person, track_id in enumerate([] if poses.track_ids is None else poses.track_ids.tolist()):
            if track_id < 0:
                continue
            known = rows.setdefault(track_id, [])
            if known and known[-1][0] == number:
                raise InputError(f"track {track_id} stands twice in frame {number}: merge or split the ids first")
            known.append((number, person))
    return [_series(track_id, rows[track_id], frames, times_s) for track_id in sorted(rows)]


def _series(
    track_id: int, rows: list[tuple[int, int]], frames: Sequence[Poses], times_s: Sequence[float]
) -> TrackSeries:
    xy = np.array([frames[t].xy[p] for t, p in rows], dtype=np.float64)
    scores = np.array([frames[t].scores[p] for t, p in rows], dtype=np.float64)
    boxes = np.array([frames[t].boxes[p] for t, p in rows], dtype=np.float64)
    return TrackSeries(
        track_id=track_id,
        times_s=np.array([times_s[t] for t, _ in rows], dtype=np.float64),
        frames=np.array([t for t, _ in rows], dtype=np.int64),
        xy=xy,
        raw_xy=xy.copy(),
        scores=scores,
        sizes=np.sqrt(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0), axis=1)),
        filled=np.zeros(scores.shape, dtype=bool),
        skeleton=frames[0].skeleton,
    )


def poses_from_series(frames: Sequence[Poses], series: Sequence[TrackSeries]) -> list[Poses]:
    """Put the positions of ``series`` into the frames they came from; rows that were filled in have no frame to go to.

    People outside every series stay as they are; scores stay as they were estimated.
    """
    changed = [poses.xy.copy() for poses in frames]
    for one in series:
        for row, frame in enumerate(one.frames.tolist()):
            ids = frames[frame].track_ids
            person = np.flatnonzero(ids == one.track_id) if ids is not None else np.zeros(0, dtype=np.int64)
            if len(person):
                changed[frame][person[0]] = one.xy[row]
    return [replace(poses, xy=xy) for poses, xy in zip(frames, changed, strict=True)]


def segments(times_s: Floats, max_gap_s: float) -> list[slice]:
    """Return the runs of rows between which no more than ``max_gap_s`` seconds pass."""
    if not len(times_s):
        return []
    cuts = (np.flatnonzero(np.diff(times_s) > max_gap_s) + 1).tolist()
    return [slice(start, stop) for start, stop in zip([0, *cuts], [*cuts, len(times_s)], strict=True)]


def confidence_weights(scores: Floats) -> Floats:
    """Return how much each measured position counts: the score squared, as a variance goes with the error squared."""
    return np.asarray(np.clip(scores, LEAST_SCORE, 1.0) ** 2)
