"""What can be wrong with a skeleton, each fault with its place, so that a file's line can be named."""

import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from vitpose.core.errors import nearest
from vitpose.core.toml_lines import Place

Pair = tuple[str, str]

KEYS = ("name", "title", "source", "keypoints", "edges", "flip", "upper_body", "sigmas", "weights")
_SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("L", "R"), ("l", "r"))


_WRITTEN_TOGETHER = ((r"^L", "R"), (r"^l(?=[A-Z0-9])", "r"), (r"(?<=[a-z0-9])L(?=[A-Z0-9])", "R"))
"""A letter for the side that nothing separates: it says something only where the partner exists."""


class Problem(NamedTuple):
    """One fault: a sentence for people, and where in the plain data it is."""

    message: str
    place: Place


def first_problem(plain: Any) -> Problem | None:
    """Return the first fault of a skeleton's plain data, or None: kinds of values first, then what they mean."""
    if not isinstance(plain, Mapping):
        return Problem(f"a skeleton must be a table, not {reprlib.repr(plain)}", ())
    return next(chain(_shape_problems(plain), _plain_problems(plain)), None)


def problems(
    keypoints: Sequence[str], edges: Sequence[Pair], flip: Sequence[Pair], upper_body: Iterable[str]
) -> Iterator[Problem]:
    """Yield what is wrong with the names of a skeleton."""
    if not keypoints:
        yield Problem("keypoints is empty", ("keypoints",))
    seen: set[str] = set()
    for position, name in enumerate(keypoints):
        if name in seen:
            yield Problem(f"keypoint {name!r} appears twice in keypoints", ("keypoints", position))
        seen.add(name)
    yield from _edge_problems(edges, seen)
    yield from _flip_problems(keypoints, flip, seen)
    for position, name in enumerate(upper_body):
        if name not in seen:
            message = f"upper_body names {name!r}, which is not a keypoint{nearest(name, seen)}"
            yield Problem(message, ("upper_body", position))


def number_problems(field: str, names: Sequence[str], values: Sequence[float]) -> Iterator[Problem]:
    """Yield what is wrong with the ``sigmas`` or ``weights`` of a skeleton, given in the order of its keypoints."""
    if values and len(values) != len(names):
        yield Problem(f"{field} has {len(values)} values for {len(names)} keypoints", (field,))
    for name, value in zip(names, values, strict=False):
        if not math.isfinite(value) or value < 0 or (value == 0 and field == "sigmas"):
            limit = "greater than 0" if field == "sigmas" else "0 or more"
            yield Problem(f"{field} of {name!r} must be a finite number {limit}, not {value!r}", (field, name))


def pairs_by_name(names: Sequence[str]) -> tuple[Pair, ...]:
    """Find mirror pairs from names alone.

    ``left_eye``/``right_eye``, ``L_Eye``/``R_Eye``, ``eyeL``/``eyeR``; and, where the partner is there,
    ``LEye``/``REye``, ``lEye``/``rEye``, ``Leye``/``Reye``, ``L1``/``R1``, ``legL2``/``legR2``.
    """
    known = set(names)
    found = ((name, next((other for other in _partners(name) if other in known), None)) for name in names)
    return tuple((name, other) for name, other in found if other is not None)


def _partners(name: str) -> Iterator[str]:
    """Yield the names a right-hand partner may have, the surest first."""
    marked = _right_of(name)
    if marked is not None:
        yield marked
    for pattern, right in _WRITTEN_TOGETHER:
        other = re.sub(pattern, right, name, count=1)
        if other != name:
            yield other


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


def _edge_problems(edges: Sequence[Pair], known: set[str]) -> Iterator[Problem]:
    for position, (a, b) in enumerate(edges):
        yield from _unknown_names(f"edge [{a!r}, {b!r}]", (a, b), known, ("edges", position))
        if a == b:
            yield Problem(f"edge [{a!r}, {b!r}] joins a keypoint to itself", ("edges", position))


def _unknown_names(what: str, names: Iterable[str], known: set[str], place: Place) -> Iterator[Problem]:
    for name in names:
        if name not in known:
            yield Problem(f"{what} names {name!r}, which is not a keypoint{nearest(name, known)}", place)


def _flip_problems(keypoints: Sequence[str], flip: Sequence[Pair], known: set[str]) -> Iterator[Problem]:
    partner: dict[str, str] = {}
    home: dict[str, Place] = {}
    for position, (a, b) in enumerate(flip):
        what, place = f"flip pair [{a!r}, {b!r}]", ("flip", position)
        yield from _unknown_names(what, (a, b), known, place)
        if a == b:
            yield Problem(f"{what} is an identity: leave a keypoint that stays in place out of flip", place)
        for name, other in ((a, b), (b, a)):
            if partner.get(name, other) != other:
                yield Problem(f"{what} is not symmetric: {name!r} is also paired with {partner[name]!r}", place)
            partner[name] = other
            home.setdefault(name, place)
    if partner:
        yield from _side_problems(keypoints, partner, home)


def _side_problems(
    keypoints: Sequence[str], partner: Mapping[str, str], home: Mapping[str, Place]
) -> Iterator[Problem]:
    """Compare the pairs with those the names suggest; a skeleton without any pair is left alone."""
    # A letter that nothing separates is too little to contradict a file that says its pairs.
    sure = ((name, _right_of(name)) for name in keypoints)
    for left, right in ((name, other) for name, other in sure if other is not None and other in keypoints):
        for name, other in ((left, right), (right, left)):
            if name in partner and partner[name] != other:
                pair = f"flip pair [{name!r}, {partner[name]!r}]"
                yield Problem(f"{pair} is not symmetric: by name {name!r} belongs to {other!r}", home[name])
        if left not in partner and right not in partner:
            yield Problem(f"{left!r} and {right!r} are left and right by name but are missing from flip", ("flip",))


def _shape_problems(plain: Mapping[str, Any]) -> Iterator[Problem]:
    for key in plain:
        if key not in KEYS:
            yield Problem(f"unknown key {key!r}{nearest(str(key), KEYS)}", (key,))
    for key in ("name", "keypoints"):
        if key not in plain:
            yield Problem(f"{key} is missing", ())
    for key in ("name", "title", "source"):
        if not isinstance(plain.get(key, ""), str):
            yield Problem(f"{key} must be text, not {plain[key]!r}", (key,))
    if plain.get("name") == "":
        yield Problem("name is empty", ("name",))
    for key in ("keypoints", "upper_body", "edges", "flip"):
        yield from _list_problems(key, plain.get(key, []))
    for key in ("sigmas", "weights"):
        yield from _table_problems(key, plain.get(key, {}))


def _list_problems(key: str, values: Any) -> Iterator[Problem]:
    pairs = key in {"edges", "flip"}
    if not isinstance(values, (list, tuple)):
        yield Problem(f"{key} must be a list of {'pairs of names' if pairs else 'names'}, not {values!r}", (key,))
        return
    for position, value in enumerate(values):
        if not pairs and not isinstance(value, str):
            yield Problem(f"{key} must hold names, not {value!r}", (key, position))
        if pairs and not (isinstance(value, (list, tuple)) and [type(name) for name in value] == [str, str]):
            yield Problem(f"{key} must hold pairs of names, not {value!r}", (key, position))


def _table_problems(key: str, values: Any) -> Iterator[Problem]:
    if not isinstance(values, Mapping):
        yield Problem(f"{key} must be a table of numbers by keypoint name", (key,))
        return
    for name, value in values.items():
        known = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not known or (isinstance(value, int) and value.bit_length() > 64):
            yield Problem(f"{key} of {name!r} must be a number, not {reprlib.repr(value)}", (key, name))


def _plain_problems(plain: Mapping[str, Any]) -> Iterator[Problem]:
    names = plain["keypoints"]
    edges = [(a, b) for a, b in plain.get("edges", ())]
    flip = [(a, b) for a, b in plain.get("flip", ())]
    yield from problems(names, edges, flip, plain.get("upper_body", ()))
    for field in ("sigmas", "weights"):
        values = plain.get(field) or {}
        for name in values:
            yield from _unknown_names(field, [name], set(names), (field, name))
        missing = list((Counter(names) - Counter(values.keys())).keys()) if values else []
        if missing:
            message = f"{field} gives no number for {missing[0]!r}; give all keypoints or none"
            yield Problem(message, (field,))
        yield from number_problems(field, names, [float(values[name]) for name in names] if values else [])
