"""Editing ids in a tracked video: merge, split, swap. Pure functions: frames in, new frames out.

What may be done is decided by the ``*_rule`` functions, which see the ids of each frame once, one frame at a time;
``tracking/edit_file.py`` applies the same rules to result files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.poses import Poses

Ids = NDArray[np.int64]

Numbered = Iterable[tuple[int, Ids]]
"""Number and ids of every frame in order; numbers grow, and may leave gaps."""

Rule = Callable[[Ids, int], Ids]
"""New ids of a frame from its ids and its number."""


@dataclass(slots=True)
class _Seen:
    """Number of the first and of the last frame a person is in."""

    first: int
    last: int


def known_ids(frames: Sequence[Poses]) -> list[int]:
    """Return every id in the video in order, without the people that have none."""
    return sorted(_survey(_numbered(frames)))


def merge_rule(frames: Numbered, keep: int, others: Sequence[int]) -> Rule:
    """Return the rule by which the people ``others`` are called ``keep``: pieces of one person put together.

    Raises:
        UsageError: there are no others, an id is not in the video, or two of the people are in one frame, so they
            cannot be the same.
    """
    joined = {keep, *others}
    if len(joined) < 2:
        raise UsageError(f"only id {keep} was named: give at least two to put together")
    together: list[tuple[int, int, int]] = []

    def watched() -> Iterator[tuple[int, Ids]]:
        for number, ids in frames:
            there = [one for one in ids.tolist() if one in joined]
            if len(there) > 1 and not together:
                together.append((number, there[0], there[1]))
            yield number, ids

    _check_known(_survey(watched()), [keep, *others])
    for number, one, other in together:
        raise UsageError(
            f"ids {one} and {other} are both in frame {number}, so they are two people: split one of them first"
        )
    return lambda ids, _: np.where(np.isin(ids, list(others)), keep, ids)


def split_rule(frames: Numbered, track_id: int, frame: int, new_id: int | None = None) -> tuple[Rule, int]:
    """Return the rule by which ``track_id`` is called ``new_id`` from frame ``frame`` on, and that id.

    Raises:
        UsageError: no such id, the new id is taken, or nothing would be split off.
    """
    known = _survey(frames)
    _check_known(known, [track_id])
    chosen = max(known) + 1 if new_id is None else new_id
    if chosen in known or chosen < 0:
        raise UsageError(f"id {chosen} cannot be given: take one from 0 on that is not in the video")
    if known[track_id].first >= frame:
        raise UsageError(f"id {track_id} does not appear before frame {frame}: nothing to split off")
    if known[track_id].last < frame:
        raise UsageError(f"id {track_id} does not appear from frame {frame} on: nothing to split off")
    return (lambda ids, number: np.where((ids == track_id) & (number >= frame), chosen, ids)), chosen


def swap_rule(frames: Numbered, first: int, second: int, start: int, stop: int | None = None) -> Rule:
    """Return the rule by which two ids are exchanged from frame ``start`` up to, not including, ``stop``.

    Raises:
        UsageError: an id is not in the video, or the same one is given twice, or neither is in a frame of the range.
    """
    if first == second:
        raise UsageError(f"id {first} cannot change places with itself: give two")
    wanted = np.array([first, second])
    inside = False

    def watched() -> Iterator[tuple[int, Ids]]:
        nonlocal inside
        for number, ids in frames:
            inside = inside or (_within(number, start, stop) and bool(np.isin(ids, wanted).any()))
            yield number, ids

    _check_known(_survey(watched()), [first, second])
    if not inside:
        end = "the end" if stop is None else f"frame {stop}"
        raise UsageError(f"neither id {first} nor {second} appears from frame {start} to {end}: nothing to swap")

    def exchange(ids: Ids, number: int) -> Ids:
        if not _within(number, start, stop):
            return ids
        return np.where(ids == first, second, np.where(ids == second, first, ids))

    return exchange


def merge_ids(frames: Sequence[Poses], keep: int, others: Sequence[int]) -> list[Poses]:
    """Return the frames with the people ``others`` called ``keep``: pieces of one person put together.

    Raises:
        UsageError: an id is not in the video, or two of the people are in one frame, so they cannot be the same.
    """
    return _renamed(frames, merge_rule(_numbered(frames), keep, others))


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
    if not 0 <= frame < len(frames):
        raise UsageError(f"there is no frame {frame}; the video has {len(frames)}, counted from 0")
    rule, chosen = split_rule(_numbered(frames), track_id, frame, new_id)
    return _renamed(frames, rule), chosen


def swap_ids(frames: Sequence[Poses], first: int, second: int, start: int = 0, stop: int | None = None) -> list[Poses]:
    """Return the frames with two ids exchanged from position ``start`` up to, not including, ``stop``.

    Raises:
        UsageError: an id is not in the video, the range is empty, or neither id is in it.
    """
    end = len(frames) if stop is None else stop
    if not 0 <= start < end <= len(frames):
        raise UsageError(f"frames {start} to {end} are no range within the video's {len(frames)} frames")
    return _renamed(frames, swap_rule(_numbered(frames), first, second, start, end))


def _ids(poses: Poses) -> Ids:
    return np.zeros(0, dtype=np.int64) if poses.track_ids is None else poses.track_ids


def _numbered(frames: Sequence[Poses]) -> Numbered:
    return ((number, _ids(poses)) for number, poses in enumerate(frames))


def _within(number: int, start: int, stop: int | None) -> bool:
    return number >= start and (stop is None or number < stop)


def _survey(frames: Numbered) -> dict[int, _Seen]:
    known: dict[int, _Seen] = {}
    for number, ids in frames:
        for one in ids.tolist():
            if one >= 0:
                known.setdefault(one, _Seen(number, number)).last = number
    return known


def _check_known(known: Iterable[int], wanted: Sequence[int]) -> None:
    there = sorted(known)
    for one in wanted:
        if one not in there:
            shown = ", ".join(map(str, there[:20])) or "none"
            raise UsageError(f"no person has id {one}; the ids in this video: {shown}")


def _renamed(frames: Sequence[Poses], rule: Rule) -> list[Poses]:
    return [
        poses if poses.track_ids is None else replace(poses, track_ids=rule(poses.track_ids, number))
        for number, poses in enumerate(frames)
    ]
