"""What is known about a film before its files are written: one pass over the journal, in flat memory."""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vitpose.core.errors import InputError
from vitpose.core.geometry import Size
from vitpose.core.journal import JournalLine, journal_lines
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton

_MANY = 1 << 63
"""Ids are kept in 64 bits."""


class FilmFrame(NamedTuple):
    """The poses of one frame.

    Attributes:
        frame: number among all frames of the source, from 0; frames that were not worked on leave gaps.
        time_s: presentation time in seconds.
        poses: everybody in the frame.
    """

    frame: int
    time_s: float
    poses: Poses


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """What a film holds.

    Attributes:
        source: path or address as the journal names it; empty without frames.
        frames: how many frames the journal has, those without people too.
        first_s: time of the first frame in seconds; None without frames.
        last_s: time of the last frame in seconds; None without frames.
        first: document of the first frame without its people; empty without frames.
        skeleton: that of all frames; None without frames.
        sizes: the picture sizes that occur, in order of appearance; one for nearly every film.
        labels: the labels that occur, in order of appearance.
        with_p_correct: whether anybody has calibrated probabilities.
        with_raw_xy: whether anybody has points before smoothing.
        most_people: the largest number of people in one frame.
        totals: sum of the scores of each id, in order of appearance.
        unclaimed: person-frames without an id, or with -1.
    """

    source: str = ""
    frames: int = 0
    first_s: float | None = None
    last_s: float | None = None
    first: Mapping[str, Any] = field(default_factory=dict)
    skeleton: Skeleton | None = None
    sizes: tuple[Size, ...] = ()
    labels: tuple[str, ...] = ()
    with_p_correct: bool = False
    with_raw_xy: bool = False
    most_people: int = 0
    totals: Mapping[int, float] = field(default_factory=dict)
    unclaimed: int = 0

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names of the keypoints; none without frames."""
        return () if self.skeleton is None else self.skeleton.keypoints


class FilmWriter(Protocol):
    """Makes one format of a film; opened with the film's facts."""

    def add(self, frame: FilmFrame) -> None:
        """Take the next frame."""

    def finish(self) -> list[Path]:
        """Give the files their names and return them."""

    def discard(self) -> None:
        """Remove what is not finished; nothing to do after ``finish``."""


@dataclass(slots=True)
class _Count:
    """What the pass adds up."""

    frames: int = 0
    most_people: int = 0
    unclaimed: int = 0
    sizes: dict[Size, None] = field(default_factory=dict)
    labels: dict[str, None] = field(default_factory=dict)
    fields: set[str] = field(default_factory=set)
    totals: dict[int, float] = field(default_factory=dict)

    def add(self, document: Mapping[str, Any]) -> None:
        image, people = document["image"], document["people"]
        self.frames += 1
        self.most_people = max(self.most_people, len(people))
        self.sizes[Size(int(image["height"]), int(image["width"]))] = None
        for person in people:
            self._add_person(person)

    def _add_person(self, person: Mapping[str, Any]) -> None:
        self.labels[str(person["label"])] = None
        self.fields.update(person)
        track_id = person["track_id"]
        if track_id is not None and not -_MANY <= track_id < _MANY:
            raise OverflowError(f"track_id {reprlib.repr(track_id)} has more than 64 bits")
        if track_id is None or track_id < 0:
            self.unclaimed += 1
        else:
            self.totals[int(track_id)] = self.totals.get(int(track_id), 0.0) + float(person["score"])


def survey_film(journal: str | Path) -> FilmFacts:
    """Read a journal once and return what it holds; half a line at the end does not count.

    Raises:
        InputError: the journal cannot be read, see ``journal_lines``, a line is no document of poses, or its skeleton
            is none, or changes from frame to frame.
    """
    count = _Count()
    first: JournalLine | None = None
    last: JournalLine | None = None
    skeleton: Skeleton | None = None
    for line in journal_lines(journal):
        if line.plain is None:
            continue
        first, last = first or line, line
        # Of the first, so that a broken one is not looked for in the second, from which it differs.
        skeleton = skeleton or Skeleton.from_dict(line.document.get("skeleton", {}), where=line.where)
        if line.document.get("skeleton") != first.document.get("skeleton"):
            raise InputError(f"{line.where}: another skeleton than in the first frame; a film has one")
        try:
            count.add(line.document)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"{line.where}: not a document of poses: {error!r}") from error
    if first is None or last is None:
        return FilmFacts()
    return FilmFacts(
        source=str(first.document["image"].get("source", "")),
        frames=count.frames,
        first_s=first.time_s,
        last_s=last.time_s,
        first={key: value for key, value in first.document.items() if key != "people"},
        skeleton=skeleton,
        sizes=tuple(count.sizes),
        labels=tuple(count.labels),
        with_p_correct="p_correct" in count.fields,
        with_raw_xy="raw_xy" in count.fields,
        most_people=count.most_people,
        totals=count.totals,
        unclaimed=count.unclaimed,
    )
