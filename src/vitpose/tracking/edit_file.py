"""Editing ids in a result file, ``NAME.jsonl``: line by line, and nothing in a line changes but the ids.

The rules are those of ``tracking/edit.py``. The file is read twice, once to see whether the edit may be made and once
to make it; memory does not grow with the film. A frame is called by its number, ``image.frame``, which is its place
among all frames of the source.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitpose.core.errors import InputError, UsageError
from vitpose.core.files import atomic_path
from vitpose.core.journal import JournalLine, journal_frames, journal_lines
from vitpose.tracking.edit import Ids, Rule

_ID = re.compile(rb'"track_id"(\s*:\s*)(-?\d+|null)(?=\s*[,}])')
_NOBODY = -1


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """One person of a film.

    Attributes:
        track_id: the id.
        frames: how many frames the person is in.
        first_frame: number of the first of them.
        last_frame: number of the last of them.
        first_s: time of the first of them in seconds.
        last_s: time of the last of them in seconds.
        mean_score: mean of the person's scores.
    """

    track_id: int
    frames: int
    first_frame: int
    last_frame: int
    first_s: float
    last_s: float
    mean_score: float


@dataclass(frozen=True, slots=True)
class TrackList:
    """Who is in a film.

    Attributes:
        tracks: everybody with an id, in order of the ids.
        frames: frames of the film, those without people too.
        unclaimed: person-frames without an id, or with -1.
    """

    tracks: tuple[TrackSummary, ...]
    frames: int
    unclaimed: int


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in a film: the frame of that number, or the first frame at or after a time in seconds."""

    frame: int | None = None
    time_s: float | None = None


@dataclass(slots=True)
class _Sums:
    """The first and the last line a person is in, and what adds up between."""

    first: tuple[int, float]
    last: tuple[int, float]
    frames: int = 0
    score: float = 0.0


def list_tracks(path: str | Path) -> TrackList:
    """Return who is in a result file.

    Raises:
        InputError: the file cannot be read or is no result of a video, see ``journal_lines``.
    """
    sums: dict[int, _Sums] = {}
    frames = unclaimed = 0
    for line in journal_frames(path):
        frames += 1
        place = (line.frame, line.time_s)
        for one, score in zip(ids_of(line).tolist(), _scores(line), strict=True):
            if one < 0:
                unclaimed += 1
                continue
            found = sums.setdefault(one, _Sums(place, place))
            found.last = place
            found.frames += 1
            found.score += score
    tracks = tuple(
        TrackSummary(one, s.frames, s.first[0], s.last[0], s.first[1], s.last[1], s.score / s.frames)
        for one, s in sorted(sums.items())
    )
    return TrackList(tracks, frames, unclaimed)


def ids_of(line: JournalLine) -> Ids:
    """Return the ids of a frame's people; -1 for those without.

    Raises:
        InputError: the line is no document of poses.
    """
    try:
        ids = [person["track_id"] for person in line.document["people"]]
        return np.array([_NOBODY if one is None else one for one in ids], dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{line.where}: not a document of poses: {error!r}") from error


def _scores(line: JournalLine) -> list[float]:
    try:
        return [float(person["score"]) for person in line.document["people"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{line.where}: not a document of poses: {error!r}") from error


def numbered_ids(path: str | Path) -> Iterator[tuple[int, Ids]]:
    """Yield number and ids of every frame, as the rules of ``tracking/edit.py`` take them.

    Raises:
        InputError: see ``list_tracks``.
    """
    for line in journal_lines(path):
        if line.plain is not None:
            yield line.frame, ids_of(line)


def find_frame(path: str | Path, moment: Moment) -> int:
    """Return the number of the frame a moment names; it need not be one that was worked on.

    Raises:
        UsageError: the film ends before the time.
        InputError: see ``journal_lines``.
    """
    if moment.frame is not None:
        return moment.frame
    wanted = moment.time_s or 0.0
    last = 0.0
    for line in journal_lines(path):
        if line.plain is not None:
            last = line.time_s
            if last >= wanted:
                return line.frame
    raise UsageError(f"{path} ends at {last:g} s, before {wanted:g} s")


def rewrite_ids(path: Path, out: Path, rule: Rule) -> int:
    """Write a copy of a result file with the ids a rule gives; every other byte stays.

    Half a line at the end, which a killed run leaves, is copied as it is.

    Args:
        path: the result file.
        out: the copy; may be ``path`` itself, which then changes in one step.
        rule: new ids of a frame.

    Returns:
        How many people in how many frames have another id now, added up.

    Raises:
        InputError: the file cannot be read, or a line has ids in places where a result has none.
        VitPoseError: the copy cannot be written; nothing of it is left.
    """
    changed = 0
    with atomic_path(out) as temporary, temporary.open("wb") as copy:
        for line in journal_lines(path):
            raw = line.raw
            if line.plain is not None:
                before = ids_of(line)
                after = rule(before, line.frame)
                moved = np.flatnonzero(after != before)
                changed += len(moved)
                raw = _with_ids(line, after) if len(moved) else raw
            copy.write(raw)
    return changed


def _with_ids(line: JournalLine, ids: Ids) -> bytes:
    """Put new ids into a line's bytes.

    The pattern cannot be found inside a JSON string, where the quotes around the name would have backslashes.
    """
    before = ids_of(line).tolist()
    found = [_NOBODY if one[2] == b"null" else int(one[2]) for one in _ID.finditer(line.raw)]
    if found != before:
        raise InputError(f"{line.where}: has {len(found)} ids for {len(before)} people; it was not written by vitpose")
    coming = iter(zip(before, ids.tolist(), strict=True))

    def renamed(match: re.Match[bytes]) -> bytes:
        old, new = next(coming)
        return match[0] if old == new else b'"track_id"' + match[1] + str(new).encode()

    return _ID.sub(renamed, line.raw)


def keep_backup(path: Path) -> Path:
    """Copy a file beside itself as ``FILE.bak``, or ``FILE.bak2`` and so on: nothing is written over.

    Raises:
        VitPoseError: the copy cannot be written.
    """
    backup, number = path.with_name(f"{path.name}.bak"), 2
    while backup.exists():
        backup, number = path.with_name(f"{path.name}.bak{number}"), number + 1
    with atomic_path(backup) as temporary:
        shutil.copyfile(path, temporary)
    return backup
