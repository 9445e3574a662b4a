"""The journal of a film, ``NAME.jsonl``: one document a frame, read line by line in flat memory.

Everything else that is known about a film is made from it. ``docs/schema.md`` describes the document. A run that is
killed while it writes leaves half a line at the end; that line alone may be broken.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitpose.core.errors import InputError
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton

_LOG = logging.getLogger(__name__)

_MANY = 1 << 63
"""No frame's number is as large, and every format can hold what is smaller."""

_FOREVER_S = 1e300
"""Whole numbers in JSON may be larger than any float."""

_HINT = "give the results of a video, one line a frame (NAME.jsonl of `vitpose predict`)"


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One line of a journal.

    Attributes:
        where: file and number of the line, counted from 1, for messages.
        raw: its bytes, the line end included.
        plain: the frame's document, with at least ``image.frame``, ``image.time_s`` and the list ``people``; None for
            an empty line and for the half of a line at the end of a run that was broken off.
    """

    where: str
    raw: bytes
    plain: dict[str, Any] | None

    @property
    def torn(self) -> bool:
        """Whether this is half a line."""
        return self.plain is None and bool(self.raw.strip())

    @property
    def document(self) -> dict[str, Any]:
        """The frame's document.

        Raises:
            InputError: the line holds none.
        """
        if self.plain is None:
            raise InputError(f"{self.where}: holds no frame")
        return self.plain

    @property
    def frame(self) -> int:
        """Number of the frame among all frames of the source, from 0."""
        return int(self.document["image"]["frame"])

    @property
    def time_s(self) -> float:
        """Presentation time of the frame in seconds."""
        return float(self.document["image"]["time_s"])


def journal_lines(path: str | Path) -> Iterator[JournalLine]:
    """Yield every line in order, those without a frame too, so that a copy of the file can be made.

    Raises:
        InputError: the file cannot be read, a line other than the last is broken, a line is no result of a frame, or
            frames are not in order.
    """
    last = -1
    try:
        with Path(path).open("rb") as file:
            for number, raw in enumerate(file, 1):
                line = _parsed(f"{path}, line {number}", raw)
                if line.plain is not None:
                    if line.frame <= last:
                        raise InputError(f"{line.where}: frame {line.frame} after frame {last}; they must be in order")
                    last = line.frame
                yield line
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def journal_frames(path: str | Path) -> Iterator[JournalLine]:
    """Yield the lines that hold a frame; half a line at the end is passed over and logged as a warning.

    Raises:
        InputError: see ``journal_lines``.
    """
    for line in journal_lines(path):
        if line.plain is not None:
            yield line
        elif line.torn:
            _LOG.warning("%s: half a line, left out: the run that wrote it was broken off", line.where)


def journal_poses(path: str | Path) -> Iterator[tuple[JournalLine, Poses]]:
    """Yield every frame's line and poses; half a line at the end is passed over and logged as a warning.

    Raises:
        InputError: see ``journal_lines``; or a document is not valid, see ``Poses.from_dict``.
    """
    plain: Any = None
    skeleton: Skeleton | None = None
    for line in journal_frames(path):
        # A skeleton is checked once, not in every frame.
        known = skeleton if line.document.get("skeleton") == plain else None
        poses = Poses.from_dict(line.document, where=line.where, skeleton=known)
        plain, skeleton = line.document["skeleton"], poses.skeleton
        yield line, poses


def _parsed(where: str, raw: bytes) -> JournalLine:
    if not raw.strip():
        return JournalLine(where, raw, None)
    try:
        plain = json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested without end
        if not raw.endswith(b"\n"):
            return JournalLine(where, raw, None)
        raise InputError(
            f"{where}: not JSON ({error}); {_HINT}, of which only the last line of a broken-off run may be half"
        ) from error
    _check_frame(plain, where)
    return JournalLine(where, raw, plain)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _check_frame(plain: Any, where: str) -> None:
    image = plain.get("image") if isinstance(plain, dict) else None
    found = image if isinstance(image, dict) else {}
    time_s, frame = found.get("time_s"), found.get("frame")
    if not isinstance(time_s, (int, float)) or isinstance(time_s, bool) or not abs(time_s) < _FOREVER_S:
        raise InputError(f"{where}: no image.time_s: {_HINT}")
    if not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame < _MANY:
        raise InputError(f"{where}: no image.frame: {_HINT}")
    if not isinstance(plain.get("people"), list):
        raise InputError(f"{where}: no list of people: {_HINT}")
