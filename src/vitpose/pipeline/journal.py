"""A film's results on disk while it is worked on: whole chunks of lines, and beside them what the run is.

``NAME.partial.jsonl`` grows by whole chunks. ``NAME.run.json`` says with which model, options and source, so that a run
that was killed is continued only by one that would have written the same.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from vitpose.core.errors import UsageError, VitPoseError
from vitpose.core.files import atomic_write_text
from vitpose.core.journal import journal_frames
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton
from vitpose.formats.results import Origin, to_document

RUN_SCHEMA = "vitpose.run/1"

DETECTED, CARRIED = "detector", "poses"
"""Values of ``boxes_from``: who found the boxes of a frame."""

SYNC_S = 5.0
"""Lines are given to the system at once, which a killed process survives; every so many seconds they are put on the
disk, which a power failure leaves."""

_ENDS = 65_536

_IN_WORDS = dict.fromkeys(
    ("source.bytes", "source.ends_sha256", "source.frames", "source.size"),
    "the run was begun with another film, or the file has changed since",
) | {
    "options.overlay": "the run was begun with other formats, and until it is complete it stays with, or without,"
    " 'overlay' (once it is, formats can be added)"
}
"""What is said of differences whose names tell a user nothing."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal.

    Attributes:
        frame: the frame's position in the source.
        time_s: its presentation time in seconds.
        poses: as they were written: tracked, smoothed.
        detected: whether the detector found the boxes; else they come from the poses of the frame before.
    """

    frame: int
    time_s: float
    poses: Poses
    detected: bool = True

    @property
    def raw(self) -> Poses:
        """The poses as the estimator gave them: not tracked, not smoothed."""
        xy = self.poses.xy if self.poses.raw_xy is None else self.poses.raw_xy
        return replace(self.poses, xy=xy, raw_xy=None, track_ids=None)


def to_line(record: Record, *, name: str, source: str, on_demand: bool) -> str:
    """Return the record as a line of JSON, with its end.

    Args:
        record: the frame.
        name: of the results.
        source: as the user gave it.
        on_demand: whether not every frame is looked at by the detector, so that the line has to say which this is.
    """
    origin = Origin(name=name, source=source, image_id=name, frame=record.frame, time_s=record.time_s)
    document = to_document(origin, record.poses)
    if on_demand:
        document["image"]["boxes_from"] = DETECTED if record.detected else CARRIED
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a journal, one at a time.

    Raises:
        InputError: a line is no record.
    """
    skeleton: Skeleton | None = None  # of the lines before; a film has one
    for line in journal_frames(path):
        poses = Poses.from_dict(line.document, where=line.where, skeleton=skeleton)
        skeleton = poses.skeleton
        yield Record(line.frame, line.time_s, poses, line.document["image"].get("boxes_from", DETECTED) == DETECTED)


class Journal:
    """Appends whole chunks of lines to a file."""

    def __init__(self, path: Path) -> None:
        """Open the file where it ends.

        Raises:
            VitPoseError: it cannot be written to.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("ab", buffering=0)
        except OSError as error:
            raise _cannot_write(path, error) from error
        self._synced = time.monotonic()

    def append(self, lines: Sequence[str]) -> None:
        """Write the lines of a chunk.

        Raises:
            VitPoseError: the disk is full or gone; what was written of the chunk is cut off when the run is resumed.
        """
        rest = memoryview("".join(lines).encode())
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            if time.monotonic() - self._synced > SYNC_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise _cannot_write(self._path, error) from error

    def close(self) -> None:
        """Put everything on the disk. Closing twice is allowed."""
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        finally:
            self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def keep_whole_chunks(path: Path, chunk: int) -> int:
    """Cut a journal off after its last whole chunk of lines and return how many lines are left."""
    ends: list[int] = [0]
    lines = position = 0
    with path.open("rb+") as file:
        for line in file:
            position += len(line)
            if not line.endswith(b"\n"):
                break
            lines += 1
            if lines % chunk == 0:
                ends[0] = position
        file.truncate(ends[0])
    return lines // chunk * chunk


def identify(path: Path) -> dict[str, Any]:
    """Say which file this is: its size and a digest of its beginning and end, for a film is too long to read twice."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_ENDS))
        file.seek(max(size - _ENDS, 0))
        digest.update(file.read(_ENDS))
    return {"bytes": size, "ends_sha256": digest.hexdigest()}


@dataclass(frozen=True, slots=True)
class RunFile:
    """``NAME.run.json``: what a run is and, in the end, that it is complete."""

    path: Path

    def load(self) -> dict[str, Any] | None:
        """Return what the file says; None if there is none.

        Raises:
            UsageError: it is not such a file.
        """
        if not self.path.is_file():
            return None
        try:
            plain = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            plain = None
        if not isinstance(plain, dict) or plain.get("schema") != RUN_SCHEMA:
            raise UsageError(f"{self.path} is not the record of a run of this version: start again without resume")
        return plain

    def save(self, run: Mapping[str, Any]) -> None:
        """Write what the run is."""
        atomic_write_text(self.path, json.dumps({"schema": RUN_SCHEMA} | dict(run), indent=1) + "\n")


def refuse_another(known: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Refuse to continue a run with another model, source or options.

    Args:
        known: what the run was begun with; nested dicts.
        now: what it would be continued with.
        where: the file ``known`` comes from.

    Raises:
        UsageError: something differs; the first thing is named.
    """
    before, after = _flat(known), _flat(now)
    for key in sorted(before | after):
        if before.get(key) != after.get(key):
            if key in _IN_WORDS:
                raise UsageError(f"{where}: {_IN_WORDS[key]}: give the same again, or start anew without resume")
            raise UsageError(
                f"{where}: the run was begun with {key} {before.get(key)!r}, now it is {after.get(key)!r}:"
                " give the same again, or start anew without resume"
            )


def _flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _cannot_write(path: Path, error: OSError) -> VitPoseError:
    return VitPoseError(f"cannot write {path}: {error.strerror or error}; what was written before is still there")
