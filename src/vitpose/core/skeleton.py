"""What a set of keypoints is called, how they connect, and which ones change places in a mirror.

A skeleton is one TOML file. Everything in it is by name; indices are derived. Read it top to bottom in
``vitpose/skeletons/coco17.toml``.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError, nearest

Pair = tuple[str, str]

_KEYS = {"name", "title", "source", "keypoints", "edges", "flip", "upper_body", "sigmas", "weights"}
_SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("L", "R"), ("l", "r"))


@dataclass(frozen=True)
class Skeleton:
    """Names, edges, mirror pairs and OKS constants of one kind of pose.

    Attributes:
        name: short identifier, for instance ``coco17``.
        keypoints: names in the order of every array in this package.
        edges: pairs of names to draw as limbs.
        flip_pairs: pairs of names that change places when the picture is mirrored.
        upper_body: names that count as upper body for half-body augmentation; empty where that has no meaning.
        sigmas: OKS constants by name, or empty when the skeleton defines none.
        weights: per-keypoint training weights by name, or empty for all ones.
        title: one line for people.
        source: where the table comes from.
    """

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[Pair, ...] = ()
    flip_pairs: tuple[Pair, ...] = ()
    upper_body: frozenset[str] = frozenset()
    sigmas: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    title: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse a skeleton that contradicts itself.

        Raises:
            InputError: the first contradiction found.
        """
        for message in _problems(self):
            raise InputError(f"skeleton {self.name!r}: {message}")

    def __len__(self) -> int:
        return len(self.keypoints)

    def index(self, keypoint: str) -> int:
        """Return the position of ``keypoint``.

        Raises:
            UsageError: the skeleton has no such keypoint; the nearest one is named.
        """
        try:
            return self._indices[keypoint]
        except KeyError:
            raise UsageError(
                f"skeleton {self.name!r} has no keypoint {keypoint!r}{nearest(keypoint, self.keypoints)}"
            ) from None

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.keypoints)}

    @cached_property
    def edge_indices(self) -> NDArray[np.int64]:
        """``(edges, 2)`` positions."""
        pairs = [(self._indices[a], self._indices[b]) for a, b in self.edges]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)

    @cached_property
    def flip_indices(self) -> NDArray[np.int64]:
        """``(keypoints,)`` permutation: position ``i`` of a mirrored picture shows keypoint ``flip_indices[i]``."""
        order = np.arange(len(self), dtype=np.int64)
        for a, b in self.flip_pairs:
            i, j = self._indices[a], self._indices[b]
            order[i], order[j] = j, i
        return order

    @cached_property
    def sigma_array(self) -> NDArray[np.float64]:
        """``(keypoints,)`` OKS constants.

        A skeleton that defines none gets 0.05 for every keypoint, about the middle of COCO's.
        """
        return np.array(self.sigmas or [0.05] * len(self), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``from_dict`` reads back to an equal skeleton."""
        plain: dict[str, Any] = {
            "name": self.name,
            "keypoints": list(self.keypoints),
            "edges": [list(edge) for edge in self.edges],
            "flip": [list(pair) for pair in self.flip_pairs],
        }
        optional: dict[str, Any] = {
            "title": self.title,
            "source": self.source,
            "upper_body": [name for name in self.keypoints if name in self.upper_body],
            "sigmas": dict(zip(self.keypoints, self.sigmas, strict=False)),
            "weights": dict(zip(self.keypoints, self.weights, strict=False)),
        }
        return plain | {key: value for key, value in optional.items() if value}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], *, where: str = "skeleton") -> "Skeleton":
        """Build a skeleton from what ``to_dict`` or a TOML file holds.

        Raises:
            InputError: a field is missing, unknown, of the wrong kind, or contradicts another.
        """
        _check_fields(plain, where)
        keypoints = tuple(plain["keypoints"])
        flip = plain.get("flip")
        try:
            return cls(
                name=plain["name"],
                keypoints=keypoints,
                edges=tuple((a, b) for a, b in plain.get("edges", ())),
                flip_pairs=tuple((a, b) for a, b in flip) if flip is not None else pairs_by_name(keypoints),
                upper_body=frozenset(plain.get("upper_body", ())),
                sigmas=_by_name(plain.get("sigmas"), keypoints, where, "sigmas"),
                weights=_by_name(plain.get("weights"), keypoints, where, "weights"),
                title=plain.get("title", ""),
                source=plain.get("source", ""),
            )
        except InputError as error:
            message = str(error).removeprefix(f"skeleton {plain['name']!r}: ").removeprefix(f"{where}: ")
            raise InputError(f"{where}: {message}") from None

    @classmethod
    def from_toml(cls, path: str | Path) -> "Skeleton":
        """Read a skeleton file.

        Raises:
            InputError: the file cannot be read, is not TOML, or its table is wrong; the line is named.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read skeleton file {path}: {error}") from error
        return parse_skeleton(text, str(path))


def parse_skeleton(text: str, where: str) -> Skeleton:
    """Parse the text of a skeleton file; ``where`` names it in messages.

    Raises:
        InputError: see ``Skeleton.from_toml``.
    """
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
    try:
        return Skeleton.from_dict(plain, where=where)
    except InputError as error:
        line = _line_of(text, str(error).removeprefix(f"{where}: "))
        if line is None:
            raise
        raise InputError(f"{where}, line {line}: {str(error).removeprefix(f'{where}: ')}") from None


def _problems(skeleton: Skeleton) -> Iterator[str]:
    """Yield what is wrong with a skeleton; the names a message is about stand in quotes."""
    names = skeleton.keypoints
    if not names:
        yield "keypoints is empty"
    known = set(names)
    for name in names:
        if names.count(name) > 1:
            yield f"keypoint {name!r} appears twice in keypoints"
    for a, b in skeleton.edges:
        for name in (a, b):
            if name not in known:
                yield f"edge [{a!r}, {b!r}] names {name!r}, which is not a keypoint{nearest(name, known)}"
        if a == b:
            yield f"edge [{a!r}, {b!r}] joins a keypoint to itself"
    yield from _flip_problems(skeleton, known)
    for name in sorted(skeleton.upper_body - known):
        yield f"upper_body names {name!r}, which is not a keypoint{nearest(name, known)}"
    for field, values in (("sigmas", skeleton.sigmas), ("weights", skeleton.weights)):
        if values and len(values) != len(names):
            yield f"{field} has {len(values)} values for {len(names)} keypoints"
    if any(not value > 0 for value in skeleton.sigmas):
        yield "sigmas must be greater than 0"


def _flip_problems(skeleton: Skeleton, known: set[str]) -> Iterator[str]:
    partner: dict[str, str] = {}
    for a, b in skeleton.flip_pairs:
        for name in (a, b):
            if name not in known:
                yield f"flip pair [{a!r}, {b!r}] names {name!r}, which is not a keypoint{nearest(name, known)}"
        if a == b:
            yield f"flip pair [{a!r}, {b!r}] is an identity: leave a keypoint that stays in place out of flip"
        for name, other in ((a, b), (b, a)):
            if partner.get(name, other) != other:
                yield f"flip pair [{a!r}, {b!r}] is not symmetric: {name!r} is also paired with {partner[name]!r}"
            partner[name] = other
    for a, b in pairs_by_name(skeleton.keypoints) if partner else ():
        if a in partner and partner[a] != b:
            yield f"flip pair [{a!r}, {partner[a]!r}] is not symmetric: by name {a!r} belongs to {b!r}"
        elif a not in partner:
            yield f"{a!r} and {b!r} are left and right by name but are missing from flip"


def pairs_by_name(names: Sequence[str]) -> tuple[Pair, ...]:
    """Find mirror pairs from names alone: ``left_eye``/``right_eye``, ``L_Eye``/``R_Eye``, ``eyeL``/``eyeR``."""
    known = set(names)
    return tuple((name, other) for name in names if (other := _right_of(name)) is not None and other in known)


def _right_of(name: str) -> str | None:
    """Return the name a right-hand partner of ``name`` would have, or None when ``name`` is not a left one."""
    for left, right in _SIDES:
        if len(left) > 1 and left in name:
            return name.replace(left, right, 1)
        marked = re.sub(rf"(^|[_\- .]){left}($|[_\- .])", rf"\g<1>{right}\g<2>", name, count=1)
        if marked != name:
            return marked
    if re.search(r"[a-z0-9]L$", name):
        return name[:-1] + "R"
    return None


def _check_fields(plain: Mapping[str, Any], where: str) -> None:
    for key in plain:
        if key not in _KEYS:
            raise InputError(f"{where}: unknown key {key!r}{nearest(key, _KEYS)}")
    for key in ("name", "keypoints"):
        if key not in plain:
            raise InputError(f"{where}: {key} is missing")
    if not isinstance(plain["name"], str):
        raise InputError(f"{where}: name must be text")
    for key in ("keypoints", "upper_body"):
        values = plain.get(key, [])
        if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
            raise InputError(f"{where}: {key} must be a list of names")
    for key in ("edges", "flip"):
        for pair in plain.get(key, []):
            if not isinstance(pair, (list, tuple)) or [type(name) for name in pair] != [str, str]:
                raise InputError(f"{where}: {key} must hold pairs of names, not {pair!r}")


def _by_name(values: Any, keypoints: Sequence[str], where: str, field: str) -> tuple[float, ...]:
    if not values:
        return ()
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: {field} must be a table of numbers by keypoint name")
    for name, value in values.items():
        if name not in keypoints:
            raise InputError(f"{where}: {field} names {name!r}, which is not a keypoint{nearest(name, keypoints)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"{where}: {field} of {name!r} must be a number, not {value!r}")
    missing = [name for name in keypoints if name not in values]
    if missing:
        raise InputError(f"{where}: {field} gives no number for {missing[0]!r}; give all keypoints or none")
    return tuple(float(values[name]) for name in keypoints)


def _line_of(text: str, message: str) -> int | None:
    """Find the line a message is about: the last one that holds the most of the names it quotes."""
    quoted = re.findall(r"'([^']*)'", message)
    if not quoted:
        keyword = message.split(" ", 1)[0]
        quoted_lines = [n for n, line in enumerate(text.splitlines(), 1) if line.lstrip("[").startswith(keyword)]
        return quoted_lines[0] if quoted_lines else None
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        hits = sum(f'"{name}"' in line or f"'{name}'" in line or line.startswith(name) for name in quoted)
        if hits and (best is None or hits >= best[0]):
            best = (hits, number)
    return best[1] if best else None


def builtin_skeletons() -> tuple[str, ...]:
    """Return the names of the skeletons that come with the package."""
    folder = resources.files("vitpose").joinpath("skeletons")
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


@cache
def _builtin(name: str) -> Skeleton:
    file = resources.files("vitpose").joinpath("skeletons", f"{name}.toml")
    return parse_skeleton(file.read_text(encoding="utf-8"), f"skeletons/{name}.toml")


def load_skeleton(name_or_path: str | Path | Skeleton) -> Skeleton:
    """Return a skeleton by built-in name, by path of a TOML file, or as it is.

    Raises:
        UsageError: no built-in skeleton has that name; the nearest one is named.
        InputError: the file is not a valid skeleton.
    """
    if isinstance(name_or_path, Skeleton):
        return name_or_path
    text = str(name_or_path)
    if text.endswith(".toml") or "/" in text:
        return Skeleton.from_toml(text)
    known = builtin_skeletons()
    if text not in known:
        raise UsageError(f"unknown skeleton {text!r}{nearest(text, known)} (or give the path of a .toml file)")
    return _builtin(text)
