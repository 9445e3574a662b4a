"""A film's results in the formats other programs read, made from its journal when the run has ended.

The journal, ``NAME.jsonl``, is read twice: once to learn what it holds, once to write all formats together. Memory does
not grow with the film's length. The same journal gives the same bytes. ``docs/schema.md`` describes every layout.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.journal import journal_poses
from vitpose.formats.coco_video import COCO_ENDING, CocoVideoWriter
from vitpose.formats.film_facts import FilmFacts, FilmFrame, FilmWriter, survey_film
from vitpose.formats.film_tables import FilmCsvWriter, FilmParquetWriter
from vitpose.formats.openpose import OpenPoseWriter
from vitpose.formats.skeleton_sequences import SkeletonWriter

FILM_FORMATS: Final = ("csv", "parquet", "coco-video", "openpose", "skeletons")
"""What ``convert_film`` can write."""


@dataclass(frozen=True, slots=True)
class FilmOptions:
    """Choices within the formats.

    Attributes:
        skeleton_people: how many people ``skeletons`` keeps at most: those with the largest sum of scores over the
            film. None keeps everybody, and the array grows with people times frames.
        half: whether ``skeletons`` stores float16 as PYSKL's own files do; its steps are whole pixels from 1024 on, and
            two from 2048 on.
    """

    skeleton_people: int | None = 10
    half: bool = False

    def __post_init__(self) -> None:
        """Check.

        Raises:
            UsageError: nobody would be kept.
        """
        if self.skeleton_people is not None and self.skeleton_people < 1:
            raise UsageError(
                f"skeleton_people is {self.skeleton_people}; keep at least 1 person, or None for everybody"
            )


def read_frames_of(path: str | Path) -> Iterator[FilmFrame]:
    """Yield number, time in seconds and poses of every frame of a journal, ``NAME.jsonl`` or ``NAME.partial.jsonl``.

    Half a line at the end, which a killed run leaves, is passed over and logged as a warning.

    Raises:
        InputError: the file cannot be read, another line is broken or no result of a frame, or frames are not in order;
            the line is named.
    """
    for line, poses in journal_poses(path):
        yield FilmFrame(line.frame, line.time_s, poses)


def check_film_formats(formats: Sequence[str]) -> None:
    """Refuse names that are no format of a film.

    Raises:
        UsageError: there is one; the nearest that exists is named.
    """
    for one in formats:
        if one not in FILM_FORMATS:
            raise UsageError(f"unknown format of a video {one!r}{nearest(one, FILM_FORMATS)}")


def convert_film(
    journal: Path, out: Path, name: str, formats: Sequence[str], options: FilmOptions | None = None
) -> list[Path]:
    """Write a film's poses in other formats, all from one pass over its journal.

    Args:
        journal: ``NAME.jsonl`` or ``NAME.partial.jsonl``; of a partial one, what is whole is written.
        out: folder for the results.
        name: what they are called, a relative path without suffix; sub-folders are made.
        formats: any of ``csv``, ``parquet``, ``coco-video``, ``openpose``, ``skeletons``.
        options: choices within the formats.

    Returns:
        The files that were written, in the order of ``formats``; the folder of one with a file a frame.

    Raises:
        UsageError: no such format, or names of keypoints that would give two columns of one name.
        InputError: the journal cannot be read, see ``read_frames_of``, or does not fit a format.
        VitPoseError: the disk is full or gone. A format is there whole or not at all.
    """
    check_film_formats(formats)
    chosen = tuple(dict.fromkeys(formats))
    if not chosen:
        return []
    facts = survey_film(journal)
    with contextlib.ExitStack() as stack:
        writers: list[FilmWriter] = []
        for one in chosen:
            writers.append(_open_writer(one, facts, out / name, options or FilmOptions()))
            stack.callback(writers[-1].discard)
        found = 0
        for frame in read_frames_of(journal):
            found += 1
            for writer in writers:
                writer.add(frame)
        if found != facts.frames:
            raise InputError(f"{journal}: had {facts.frames} frames and then {found}: is a run still writing to it?")
        return [path for writer in writers for path in writer.finish()]


def _open_writer(kind: str, facts: FilmFacts, stem: Path, options: FilmOptions) -> FilmWriter:
    kinds: dict[str, Callable[[], FilmWriter]] = {
        "csv": lambda: FilmCsvWriter(facts, _with_ending(stem, ".csv")),
        "parquet": lambda: FilmParquetWriter(facts, _with_ending(stem, ".parquet")),
        "coco-video": lambda: CocoVideoWriter(facts, _with_ending(stem, COCO_ENDING)),
        "openpose": lambda: OpenPoseWriter(facts, stem),
        "skeletons": lambda: SkeletonWriter(
            facts, _with_ending(stem, ".npz"), most=options.skeleton_people, half=options.half
        ),
    }
    return kinds[kind]()


def _with_ending(stem: Path, ending: str) -> Path:
    """Append; a name may have dots of its own, so ``with_suffix`` would cut it."""
    return stem.with_name(stem.name + ending)
