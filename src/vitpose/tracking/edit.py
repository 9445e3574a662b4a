"""Editing ids in a tracked video: merge, split, swap. Pure functions: frames in, new frames out."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.poses import Poses

Ids = NDArray[np.int64]


def known_ids(frames: Sequence[Poses]) -> list[int]:
    """Return every id in the video in order, without the people that have none."""
    found = {int(one) for poses in frames for one in (() if poses.track_ids is None else poses.track_ids) if one >= 0}
    return sorted(found)


def merge_ids(frames: Sequence[Poses], keep: int, others: Sequence[int]) -> list[Poses]:
    """Return the frames with the people ``others`` called ``keep``: pieces of one person put together.

    Raises:
        UsageError: an id is not in the video, or two of the people are in one frame, so they cannot be the same.
    """
    _check_known(frames, [keep, *others])
    joined = {keep, *others}
    for number, poses in enumerate(frames):
        there = [one for one in _ids(poses).tolist() if one in joined]
        if len(there) > 1:
            raise UsageError(
                f"ids {there[0]} and {there[1]} are both in frame {number}, so they are two people:"
                " split one of them first"
            )
    return _renamed(frames, lambda ids, _: np.where(np.isin(ids, list(others)), keep, ids))


def split_id(frames: Sequence[Poses], track_id: int, frame: int, new_id: int | None = None) -> tuple[list[Poses], int]:
    """Return the frames with ``track_id`` called ``new_id`` from position ``frame`` on, and that id.

    Args:
        frames: the tracked video.
        track_id: who is two people.
        frame: position of the first frame that shows the second person.
        new_id: what to call the second person; the next free number when None.

    Raises:
        UsageError: no such id, a frame outside the video, the new id is taken, or nothing would be split off.
    """
    known = _check_known(frames, [track_id])
    if not 0 <= frame < len(frames):
        raise UsageError(f"there is no frame {frame}; the video has {len(frames)}, counted from 0")
    chosen = max(known) + 1 if new_id is None else new_id
    if chosen in known or chosen < 0:
        raise UsageError(f"id {chosen} cannot be given: take one from 0 on that is not in the video")
    if not any(track_id in _ids(poses) for poses in frames[:frame]):
        raise UsageError(f"id {track_id} does not appear before frame {frame}: nothing to split off")
    if not any(track_id in _ids(poses) for poses in frames[frame:]):
        raise UsageError(f"id {track_id} does not appear from frame {frame} on: nothing to split off")
    renamed = _renamed(frames, lambda ids, t: np.where((ids == track_id) & (t >= frame), chosen, ids))
    return renamed, chosen


def swap_ids(frames: Sequence[Poses], first: int, second: int, start: int = 0, stop: int | None = None) -> list[Poses]:
    """Return the frames with two ids exchanged from position ``start`` up to, not including, ``stop``.

    Raises:
        UsageError: an id is not in the video, or the range is empty.
    """
    _check_known(frames, [first, second])
    end = len(frames) if stop is None else stop
    if not 0 <= start < end <= len(frames):
        raise UsageError(f"frames {start} to {end} are no range within the video's {len(frames)} frames")

    def exchange(ids: Ids, number: int) -> Ids:
        if not start <= number < end:
            return ids
        return np.where(ids == first, second, np.where(ids == second, first, ids))

    return _renamed(frames, exchange)


def _ids(poses: Poses) -> Ids:
    return np.zeros(0, dtype=np.int64) if poses.track_ids is None else poses.track_ids


def _check_known(frames: Sequence[Poses], wanted: Sequence[int]) -> list[int]:
    known = known_ids(frames)
    for one in wanted:
        if one not in known:
            shown = ", ".join(map(str, known[:20])) or "none"
            raise UsageError(f"no person has id {one}; the ids in this video: {shown}")
    return known


def _renamed(frames: Sequence[Poses], rule: Callable[[Ids, int], Ids]) -> list[Poses]:
    return [
        poses if poses.track_ids is None else replace(poses, track_ids=rule(poses.track_ids, number))
        for number, poses in enumerate(frames)
    ]
