"""Use cases as data: which model, threshold, smoothing and outputs suit which purpose."""

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.skeleton import Skeleton
from vitpose.motion.settings import OFFLINE, ONLINE, SmoothingSettings

KEYS = (
    "title",
    "why",
    "model",
    "threshold",
    "tracker",
    "max_people",
    "online",
    "offline",
    "gaps_s",
    "repair",
    "outputs",
)
OUTPUTS = ("json", "csv", "parquet", "coco", "video", "motion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One use case.

    Attributes:
        name: what ``--preset`` takes.
        title: one line for people.
        why: the reason for these choices.
        model: name of a model of the catalogue.
        threshold: score below which a keypoint counts as not seen, before the table of keypoints.
        tracker: name of a tracker, or ``none``.
        max_people: how many people there are at most; None: no limit.
        online: smoothing while a video runs.
        offline: smoothing of a whole video.
        gaps_s: longest gap that is filled, in seconds; 0: none.
        repair: whether outliers and exchanged sides are repaired.
        outputs: what is written.
    """

    name: str
    title: str
    why: str
    model: str
    threshold: float
    tracker: str
    max_people: int | None
    online: SmoothingSettings
    offline: SmoothingSettings
    gaps_s: float
    repair: bool
    outputs: tuple[str, ...]


def builtin_presets() -> tuple[str, ...]:
    """Return the names of the presets that come with the package."""
    folder = resources.files("vitpose").joinpath("motion", "presets")
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_preset(name_or_path: str | Path) -> Preset:
    """Return a preset by name, or from a TOML file.

    Raises:
        UsageError: no preset of that name; the nearest one is named.
        InputError: the file cannot be read or says something wrong.
    """
    text = str(name_or_path)
    if text.endswith(".toml") or "/" in text:
        try:
            return parse_preset(Path(text).read_text(encoding="utf-8-sig"), Path(text).stem, text)
        except OSError as error:
            raise InputError(f"cannot read preset {text}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"cannot read preset {text}: {error}") from error
    known = builtin_presets()
    if text not in known:
        raise UsageError(f"unknown preset {text!r}{nearest(text, known)} (or give the path of a .toml file)")
    file = resources.files("vitpose").joinpath("motion", "presets", f"{text}.toml")
    return parse_preset(file.read_text(encoding="utf-8"), text, f"presets/{text}.toml")


def parse_preset(text: str, name: str, where: str) -> Preset:
    """Read the text of a preset; ``where`` names it in messages.

    Raises:
        InputError: not TOML, an unknown key (the nearest one is named), or a value of the wrong kind.
    """
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
    _check_keys(plain, KEYS, where)
    missing = [key for key in KEYS if key not in plain and key != "max_people"]
    if missing:
        raise InputError(f"{where}: {missing[0]} is missing")
    if not 0 <= _number(plain, "threshold", where) <= 1:
        raise InputError(f"{where}: threshold is {plain['threshold']}: scores lie between 0 and 1")
    if not isinstance(plain["outputs"], list):
        raise InputError(f"{where}: outputs is a list such as ['json'], not {plain['outputs']!r}")
    for output in plain["outputs"]:
        if output not in OUTPUTS:
            raise InputError(f"{where}: unknown output {output!r}{nearest(str(output), OUTPUTS)}")
    return Preset(
        name=name,
        **{key: _text(plain, key, where) for key in ("title", "why", "model", "tracker")},
        threshold=_number(plain, "threshold", where),
        max_people=_max_people(plain.get("max_people"), where),
        online=_smoothing(plain["online"], ONLINE, f"{where}: online"),
        offline=_smoothing(plain["offline"], ("none", *OFFLINE), f"{where}: offline"),
        gaps_s=_number(plain, "gaps_s", where),
        repair=_switch(plain, "repair", where),
        outputs=tuple(plain["outputs"]),
    )


def keypoint_thresholds(skeleton: Skeleton, threshold: float) -> NDArray[np.float32]:
    """Return ``(keypoints,)`` thresholds: ``threshold`` moved by what is known of each kind of keypoint.

    The table is ``thresholds.toml``; it is by part of the body, so it serves every skeleton with such names.
    """
    table = _threshold_table()
    moved = [threshold + table.get(_part(name), 0.0) for name in skeleton.keypoints]
    return np.clip(np.array(moved, dtype=np.float32), 0.05, 0.95)


def _part(keypoint: str) -> str:
    return keypoint.removeprefix("left_").removeprefix("right_")


@cache
def _threshold_table() -> Mapping[str, float]:
    file = resources.files("vitpose").joinpath("motion", "thresholds.toml")
    return {key: float(value) for key, value in tomllib.loads(file.read_text(encoding="utf-8"))["offset"].items()}


def _check_keys(plain: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in plain:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}{nearest(key, known)}")


def _number(plain: Mapping[str, Any], key: str, where: str) -> float:
    value = plain[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{where}: {key} is a number, not {value!r}")
    return float(value)


def _text(plain: Mapping[str, Any], key: str, where: str) -> str:
    value = plain[key]
    if not isinstance(value, str):
        raise InputError(f"{where}: {key} is a text in quotes, not {value!r}")
    return value


def _switch(plain: Mapping[str, Any], key: str, where: str) -> bool:
    value = plain[key]
    if not isinstance(value, bool):
        raise InputError(f"{where}: {key} is true or false, not {value!r}")
    return value


def _max_people(value: Any, where: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InputError(f"{where}: max_people is a whole number from 1 on, not {value!r}; leave it out for no limit")
    return value


def _smoothing(plain: Any, methods: tuple[str, ...], where: str) -> SmoothingSettings:
    if not isinstance(plain, dict):
        raise InputError(f"{where} is a table such as {{ method = {methods[-1]!r} }}, not {plain!r}")
    _check_keys(plain, tuple(field.name for field in dataclasses.fields(SmoothingSettings)), where)
    method = plain.get("method", "")
    if method not in methods:
        raise InputError(f"{where}: unknown method {method!r}{nearest(str(method), methods)}")
    for key in plain:
        if key != "method":
            _number(plain, key, where)
    if not isinstance(plain.get("order", 0), int):
        raise InputError(f"{where}: order is a whole number, not {plain['order']!r}")
    try:
        return SmoothingSettings(**plain)
    except UsageError as error:
        raise InputError(f"{where}: {error}") from error
