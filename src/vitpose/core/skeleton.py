"""What a set of keypoints is called, how they connect, and which ones change places in a mirror.

A skeleton is one TOML file. Everything in it is by name; indices are derived. Read it top to bottom in
``vitpose/skeletons/coco17.toml``; ``docs/skeletons.md`` lists those that come with the package.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.skeleton_checks import Pair, first_problem, number_problems, pairs_by_name, problems
from vitpose.core.toml_lines import line_of


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
        found = chain(
            problems(self.keypoints, self.edges, self.flip_pairs, sorted(self.upper_body)),
            number_problems("sigmas", self.keypoints, self.sigmas),
            number_problems("weights", self.keypoints, self.weights),
        )
        for problem in found:
            raise InputError(f"skeleton {self.name!r}: {problem.message}")

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

    def coco_category(self, name: str = "person", *, category_id: int = 1, supercategory: str = "") -> dict[str, Any]:
        """Return the entry of a COCO annotation file's ``categories`` that describes this skeleton.

        Args:
            name: what the boxes are boxes of, for instance ``"horse"``.
            category_id: the number that annotations refer to.
            supercategory: COCO's group of categories; the name again when empty.

        COCO counts keypoints from 1 in ``skeleton``, its list of edges.
        """
        return {
            "id": category_id,
            "name": name,
            "supercategory": supercategory or name,
            "keypoints": list(self.keypoints),
            "skeleton": (self.edge_indices + 1).tolist(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], *, where: str = "skeleton") -> "Skeleton":
        """Build a skeleton from what ``to_dict`` or a TOML file holds.

        Raises:
            InputError: a field is missing, unknown, of the wrong kind, or contradicts another.
        """
        problem = first_problem(plain)
        if problem is not None:
            raise InputError(f"{where}: {problem.message}")
        keypoints = tuple(plain["keypoints"])
        flip = plain.get("flip")
        sigmas, weights = plain.get("sigmas"), plain.get("weights")
        return cls(
            name=plain["name"],
            keypoints=keypoints,
            edges=tuple((a, b) for a, b in plain.get("edges", ())),
            flip_pairs=pairs_by_name(keypoints) if flip is None else tuple((a, b) for a, b in flip),
            upper_body=frozenset(plain.get("upper_body", ())),
            sigmas=tuple(float(sigmas[name]) for name in keypoints) if sigmas else (),
            weights=tuple(float(weights[name]) for name in keypoints) if weights else (),
            title=plain.get("title", ""),
            source=plain.get("source", ""),
        )

    @classmethod
    def from_toml(cls, path: str | Path) -> "Skeleton":
        """Read a skeleton file.

        Raises:
            InputError: the file cannot be read, is not TOML, or its table is wrong; the line is named.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
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
        raise InputError(f"{where}{_syntax_line(text, str(error))}: not valid TOML: {error}") from error
    problem = first_problem(plain)
    if problem is not None:
        line = line_of(text, problem.place)
        raise InputError(f"{where}{f', line {line}' if line else ''}: {problem.message}")
    return Skeleton.from_dict(plain, where=where)


def _syntax_line(text: str, message: str) -> str:
    """Return ``", line N"`` for a message of ``tomllib``, which says where it gave up."""
    found = re.search(r"at line (\d+)", message)
    line = int(found.group(1)) if found else text.count("\n") + 1
    return f", line {line}"


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
