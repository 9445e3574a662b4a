"""A video's poses from a JSON Lines result file (``docs/schema.md``), with the time of every frame."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from vitpose.core.errors import InputError
from vitpose.core.journal import journal_poses
from vitpose.core.poses import Poses

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clip:
    """``frames`` in order, ``times_s`` and ``numbers`` in the film of each, ``source`` as the result file names it."""

    frames: tuple[Poses, ...]
    times_s: tuple[float, ...]
    source: str
    numbers: tuple[int, ...]


def read_clip(path: str | Path) -> Clip:
    """Read the frames of one video: ``NAME.jsonl``, ``NAME.partial.jsonl`` or an edited copy.

    Half a line at the end, which a killed run leaves, is passed over and logged as a warning. Where a film was smoothed
    when it was made, ``xy`` has its points from before that (``raw_xy``): to measure movement they are smoothed again.
    Where a film's time stamps stood still or went back, the later frame has the time of the one before it: there is no
    speed between the two, so it is left out and counted in a warning.

    Raises:
        InputError: the file cannot be read, a line is no result of a frame, or times go back.
    """
    frames: list[Poses] = []
    times: list[float] = []
    numbers: list[int] = []
    source, standing = "", 0
    for line, poses in journal_poses(path):
        if times and line.time_s == times[-1]:
            standing += 1
            continue
        if times and line.time_s < times[-1]:
            raise InputError(
                f"{line.where}: time goes from {times[-1]:g} s to {line.time_s:g} s; frames must be in order"
            )
        frames.append(poses if poses.raw_xy is None else replace(poses, xy=poses.raw_xy, raw_xy=None))
        times.append(line.time_s)
        numbers.append(line.frame)
        source = source or str(line.document["image"].get("source", ""))
    if not frames:
        raise InputError(f"{path}: holds no frames")
    if standing:
        _LOG.warning("%s: frames left out, for they have the time of the frame before them: %d", path, standing)
    return Clip(tuple(frames), tuple(times), source or str(path), tuple(numbers))
