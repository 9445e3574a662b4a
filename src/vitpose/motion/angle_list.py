"""The declared list of angles: TOML, one table an angle, by keypoint name."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.core.toml_lines import line_of

KEYS = ("name", "keypoints", "sign", "zero_deg", "signed")


@dataclass(frozen=True, slots=True, kw_only=True)
class AngleSpec:
    """One angle.

    Attributes:
        name: for instance ``left_knee_flexion``; names that differ in left and right only are compared for symmetry.
        keypoints: three, the angle at the middle one; or four, from the line first → second to the line third → fourth.
        sign: 1 or -1: which way counts up.
        zero_deg: the raw angle that reads 0; a straight knee is 180 between thigh and shank and reads 0 with 180.
        signed: whether turning clockwise and anticlockwise in the picture differ (-180..180) or not (0..180).
    """

    name: str
    keypoints: tuple[str, ...]
    sign: int = 1
    zero_deg: float = 0.0
    signed: bool = False


def load_angles(source: str | Path, skeleton: Skeleton) -> tuple[AngleSpec, ...]:
    """Return the angles of a list for ``skeleton``.

    Args:
        source: name of a list that comes with the package (see ``builtin_angle_lists``) or path of a TOML file.
        skeleton: every keypoint named must be one of its.

    Raises:
        UsageError: no list of that name; the nearest one is named.
        InputError: the file cannot be read or an entry is wrong; file and line are named.
    """
    text, where = _read(str(source))
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
    entries = plain.get("angle")
    if not isinstance(entries, list) or not entries or set(plain) != {"angle"}:
        raise InputError(f"{where}: a list of angles is one or more [[angle]] tables and nothing else")
    specs: list[AngleSpec] = []
    for position, entry in enumerate(entries):
        fault = _fault(entry, skeleton, {one.name for one in specs})
        if fault:
            line = line_of(text, ("angle", position))
            raise InputError(f"{where}{f', line {line}' if line else ''}: {fault}")
        specs.append(AngleSpec(**{**entry, "keypoints": tuple(entry["keypoints"])}))
    return tuple(specs)


def default_angles(skeleton: Skeleton) -> tuple[AngleSpec, ...]:
    """Return the angles for a skeleton when no list was named.

    That is the list of its own name, or else what ``skeleton`` has the keypoints for of the list that suits it best.

    Raises:
        UsageError: no list that comes with the package has an angle for these keypoints.
    """
    known = builtin_angle_lists()
    if skeleton.name in known:
        return load_angles(skeleton.name, skeleton)
    has = set(skeleton.keypoints)
    lists = [load_angles(name, load_skeleton(name)) for name in known]
    usable = [tuple(one for one in specs if has.issuperset(one.keypoints)) for specs in lists]
    best = max(usable, key=len)
    if not best:
        raise UsageError(
            f"no list of angles suits the keypoints of {skeleton.name!r}: write one as docs/motion.md shows and give"
            " its .toml file"
        )
    return best


def builtin_angle_lists() -> tuple[str, ...]:
    """Return the names of the lists that come with the package, each named like its skeleton."""
    folder = resources.files("vitpose").joinpath("motion", "angles")
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def _read(source: str) -> tuple[str, str]:
    try:
        if source.endswith(".toml") or "/" in source:
            return Path(source).read_text(encoding="utf-8-sig"), source
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list of angles {source}: {error}") from error
    known = builtin_angle_lists()
    if source not in known:
        raise UsageError(f"no list of angles for {source!r}{nearest(source, known)} (or give the path of a .toml file)")
    file = resources.files("vitpose").joinpath("motion", "angles", f"{source}.toml")
    return file.read_text(encoding="utf-8"), f"angles/{source}.toml"


def _fault(entry: Mapping[str, Any], skeleton: Skeleton, taken: set[str]) -> str:
    """Say what is wrong with an entry; empty when nothing is."""
    for key in entry:
        if key not in KEYS:
            return f"unknown key {key!r}{nearest(key, KEYS)}"
    name, keypoints = entry.get("name"), entry.get("keypoints")
    if not isinstance(name, str) or not name or name in taken:
        return f"every angle needs a name of its own, not {name!r}"
    if not isinstance(keypoints, list) or len(keypoints) not in {3, 4}:
        return f"angle {name!r} needs three or four keypoints, not {keypoints!r}"
    for keypoint in keypoints:
        if keypoint not in skeleton.keypoints:
            hint = nearest(str(keypoint), skeleton.keypoints)
            return f"angle {name!r}: {skeleton.name} has no keypoint {keypoint!r}{hint}"
    return _number_fault(entry)


def _number_fault(entry: Mapping[str, Any]) -> str:
    sign, zero, signed = entry.get("sign", 1), entry.get("zero_deg", 0.0), entry.get("signed", False)
    if sign not in {1, -1} or isinstance(sign, bool):
        return f"angle {entry['name']!r}: sign is 1 or -1, not {sign!r}"
    if isinstance(zero, bool) or not isinstance(zero, (int, float)):
        return f"angle {entry['name']!r}: zero_deg is a number of degrees, not {zero!r}"
    if not isinstance(signed, bool):
        return f"angle {entry['name']!r}: signed is true or false, not {signed!r}"
    return ""
