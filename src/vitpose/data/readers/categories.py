"""From the ``categories`` of a COCO-style file to a skeleton and the names of what is labelled."""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from vitpose.core.errors import InputError
from vitpose.core.skeleton import Skeleton, builtin_skeletons, load_skeleton
from vitpose.data.matching import same_name
from vitpose.data.readers.checks import Entry, identifier, numbers, table
from vitpose.data.records import Identifier


def category_names(categories: Sequence[Any], where: str) -> dict[Identifier, str]:
    """Return the name of each category by id.

    Raises:
        InputError: an entry without id.
    """
    names: dict[Identifier, str] = {}
    for index, entry in enumerate(categories):
        place = f"{where}: category {index}"
        names[identifier(table(entry, place), "id", place)] = str(entry.get("name", ""))
    return names


def without_keypoints(categories: Sequence[Any]) -> frozenset[Identifier]:
    """Return the ids of categories that name no keypoints beside others that do: what they are about has no pose."""
    named = [isinstance(entry, dict) and bool(entry.get("keypoints")) for entry in categories]
    pairs = zip(categories, named, strict=True) if any(named) else ()
    return frozenset(entry["id"] for entry, has in pairs if not has)


def skeleton_of(categories: Sequence[Any], where: str) -> Skeleton | None:
    """Return the skeleton the categories describe, or None when they name no keypoints.

    A built-in skeleton is taken where the names agree with it in order, case and separators aside, and so do sigmas
    and weights where they are given. Otherwise edges are
    read as COCO writes them, counted from 1 (from 0 where a 0 occurs), and mirror pairs come from ``flip_pairs``,
    pairs of positions counted from 0, or from the names.

    Raises:
        InputError: categories with different keypoints, or a list that contradicts itself.
    """
    described = [entry for entry in categories if isinstance(entry, dict) and entry.get("keypoints")]
    if not described:
        return None
    first = described[0]
    place = f"{where}: category {first.get('name', first.get('id', 0))!r}"
    for entry in described:
        keypoints = entry["keypoints"]
        if not isinstance(keypoints, list) or not all(isinstance(name, str) for name in keypoints):
            raise InputError(f"{place}: field 'keypoints' must be a list of names")
        if keypoints != first["keypoints"]:
            raise InputError(
                f"{where}: categories {first.get('name')!r} and {entry.get('name')!r} have different keypoints;"
                " keep one kind of skeleton in a file"
            )
    builtin = _builtin(first)
    return builtin if builtin is not None and _agrees(builtin, first, place) else _own(first, place)


def _agrees(known: Skeleton, entry: Entry, place: str) -> bool:
    """Say whether what else an entry says of its keypoints is what the skeleton says."""
    for key, mine in (("sigmas", known.sigma_array), ("weights", known.weights or [1.0] * len(known))):
        given = entry.get(key)
        if isinstance(given, list) and len(given) == len(mine) and not np.allclose(numbers(entry, key, place), mine):
            return False
    return True


def _builtin(entry: Entry) -> Skeleton | None:
    names = [same_name(name) for name in entry["keypoints"]]
    first = str(entry.get("skeleton_name", "coco17"))
    for name in sorted(builtin_skeletons(), key=lambda name: name != first):
        known = load_skeleton(name)
        if [same_name(keypoint) for keypoint in known.keypoints] == names:
            return known
    return None


def _own(entry: Entry, place: str) -> Skeleton:
    names: list[str] = entry["keypoints"]
    label = str(entry.get("skeleton_name") or entry.get("name") or "own")
    plain: dict[str, Any] = {
        "name": re.sub(r"\W+", "_", label).strip("_") or "own",
        "keypoints": names,
        "edges": _pairs(entry, "skeleton", names, place),
    }
    if "flip_pairs" in entry:
        plain["flip"] = _pairs(entry, "flip_pairs", names, place, counted_from=0)
    if isinstance(entry.get("upper_body_ids"), list):
        plain["upper_body"] = [names[index] for index in _positions(entry["upper_body_ids"], names, place)]
    for key in ("sigmas", "weights"):
        if isinstance(entry.get(key), list) and len(entry[key]) == len(names):
            plain[key] = dict(zip(names, entry[key], strict=True))
    return Skeleton.from_dict(plain, where=place)


def _pairs(
    entry: Entry, key: str, names: Sequence[str], place: str, *, counted_from: int | None = None
) -> list[list[str]]:
    """Return pairs of names from pairs of positions, or of names themselves.

    ``counted_from`` None: from 0 if a 0 occurs, else from 1.
    """
    pairs = entry.get(key) or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise InputError(f"{place}: field {key!r} must be a list of pairs of positions")
    if pairs and all(name in names for name in chain.from_iterable(pairs)):
        return [list(pair) for pair in pairs]
    start = (0 if 0 in chain.from_iterable(pairs) else 1) if counted_from is None else counted_from
    return [
        [names[index] for index in _positions(pair, names, f"{place}: {key} {pair}", counted_from=start)]
        for pair in pairs
    ]


def _positions(values: Sequence[Any], names: Sequence[str], place: str, *, counted_from: int = 0) -> list[int]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value - counted_from < len(names):
            raise InputError(f"{place} points to a keypoint that does not exist: there are {len(names)}")
    return [value - counted_from for value in values]
