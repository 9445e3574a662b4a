"""A video's poses from a JSON Lines result file (``docs/schema.md``), with the time of every frame."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitpose.core.errors import InputError
from vitpose.core.poses import Poses


@dataclass(frozen=True, slots=True)
class Clip:
    """``frames`` in order, ``times_s`` of each, ``source`` as the result file names it."""

    frames: tuple[Poses, ...]
    times_s: tuple[float, ...]
    source: str


def read_clip(path: str | Path) -> Clip:
    """Read the frames of one video.

    Raises:
        InputError: the file cannot be read, a line is no result of a frame, or times do not increase.
    """
    frames: list[Poses] = []
    times: list[float] = []
    source = ""
    for where, plain in _lines(Path(path)):
        image = plain.get("image") if isinstance(plain, dict) else None
        time_s = image.get("time_s") if isinstance(image, dict) else None
        if not isinstance(time_s, (int, float)) or isinstance(time_s, bool):
            raise InputError(f"{where}: no image.time_s: give the results of a video, with a time for each frame")
        if times and time_s <= times[-1]:
            raise InputError(f"{where}: time goes from {times[-1]:g} s to {time_s:g} s; frames must be in order")
        frames.append(Poses.from_dict(plain, where=where))
        times.append(float(time_s))
        source = source or str(plain["image"].get("source", ""))
    if not frames:
        raise InputError(f"{path}: holds no frames")
    return Clip(tuple(frames), tuple(times), source or str(path))


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    yield where, json.loads(line)
                except json.JSONDecodeError as error:
                    raise InputError(f"{where}: not JSON ({error}); was the run that wrote it broken off?") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
