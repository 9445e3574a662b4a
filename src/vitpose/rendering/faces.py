"""Where faces are, as ellipses that cover them: from whatever keypoints there are, and generously.

A face that is missed is worse than a wall that is hidden. So a head's size is the largest that any hint allows, and
where the keypoints of the face itself are in doubt, the place is guessed from the rest of the body and covered besides.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vitpose.core.coco import ANIMALS
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Ellipse: TypeAlias = tuple[float, float, float, float]

# Part of the body by the words of the keypoint's name, in lower case and in one, without its side.
_PARTS = {
    **dict.fromkeys(("face", "mouth", "lip", "lips", "upperlip", "lowerlip", "cheek", "eyebrow", "nostril"), "face"),
    "eye": "eye",
    "pupil": "eye",
    "ear": "ear",
    "earbase": "ear",
    "nose": "nose",
    **dict.fromkeys(("head", "headtop", "tophead", "forehead"), "top"),
    **dict.fromkeys(("neck", "upperneck", "neckbase", "baseneck", "headbottom", "throat", "chin", "jaw"), "neck"),
    "shoulder": "shoulder",
    "hip": "hip",
    "midhip": "hip",
    "elbow": "elbow",
    "wrist": "wrist",
    "knee": "knee",
    "ankle": "ankle",
}
_HEAD_PARTS = ("face", "eye", "ear", "nose", "top", "neck")
_FACE_POINT = re.compile(r"(face|kpt)-\d+", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")
"""Words of a name, whatever separates them: a mark, a number, or a capital letter as in ``LeftEye`` and ``LEye``."""
_UNIMPORTANT = frozenset({"inner", "outer", "corner", "center", "centre", "middle", "tip", "end", "joint", "of", "the"})
"""Words that say where on a part of the body a keypoint lies."""
_SIDES = {"left": "l", "right": "r", "l": "l", "r": "r"}
_FINGERS = ("thumb", "finger", "forefinger", "pinky")

_LENGTHS_MM = {
    ("eye", "eye"): 63,
    ("eye", "nose"): 50,
    ("ear", "eye"): 105,
    ("ear", "nose"): 125,
    ("ear", "ear"): 145,
    ("neck", "top"): 290,
    ("nose", "top"): 190,
    ("neck", "nose"): 190,
    ("shoulder", "shoulder"): 340,
    ("neck", "shoulder"): 180,
    ("hip", "shoulder"): 480,
    ("hip", "neck"): 520,
    ("elbow", "shoulder"): 290,
    ("elbow", "wrist"): 250,
    ("hip", "knee"): 430,
    ("ankle", "knee"): 410,
    ("face", "face"): 200,
}
"""Usual lengths of an adult's body. In a picture a length is foreshortened, never longer: each gives a scale that is
too small, and the largest of them is the best."""

_HEAD_MM, _MARGIN_MM = 135, 50
"""Radius of a disc about the middle of a face that covers it, and from a face's outermost keypoint to the rim."""
_TRUSTED = 0.3
"""Least score of a keypoint that a face is hidden by, however low the threshold is at which keypoints are shown."""
_BODY_MM = 2000
"""Longest side of a whole person's box, arms raised."""
_RISE_MM, _GUESSED_MM = 180, 300
"""From between the shoulders towards the middle of the face, and a radius that allows for heads that lean."""
_RISE_FROM_ONE_MM, _GUESSED_FROM_ONE_MM = 100, 400
"""The same from one shoulder, when it is not known on which side of it the head is."""

_ANIMAL_SKELETONS = frozenset({"animalpose20", "ap10k17", "atrw15", "horse22", "macaque17"})


def face_regions(poses: Poses, *, animals: bool = False) -> Floats:
    """Return ellipses that together cover the faces of everybody in a picture.

    From a face's own keypoints at or above the threshold and a score of 0.3: eyes, ears, nose, the points of a face
    skeleton, the top of the head and the neck. Where fewer than two are, also where the others of them seem to be, and
    above the shoulders or, without those, the top of the box. So everybody has at least one ellipse, people seen from
    behind too. Keypoints are known by their English names, however these are written. A skeleton that names neither
    head nor shoulders has the top of the box, and that is logged once; a hand's has nothing.

    Args:
        poses: the people, in picture pixels.
        animals: also those whose skeleton or label is an animal's.

    Returns:
        ``(regions, 4)``: x and y of the centre and the two radii, in picture pixels; at least 1.5 pixels.
    """
    layout = _layout(poses.skeleton)
    found: list[Ellipse] = []
    for person in () if layout.hand else range(len(poses)):
        beast = poses.skeleton.name in _ANIMAL_SKELETONS or poses.labels[person] in ANIMALS
        if animals or not beast:
            if not layout.has_head:
                _warn(poses.skeleton)
            sure = poses.visible[person] & (poses.scores[person] >= _TRUSTED)
            seen = sure & np.isfinite(poses.xy[person]).all(axis=-1)
            found += _person(poses.xy[person].astype(float), seen, poses.boxes[person].astype(float), layout)
    regions = np.array(found, dtype=float).reshape(-1, 4)
    regions[:, 2:] = np.maximum(regions[:, 2:], 1.5)
    return regions


@cache
def _warn(skeleton: Skeleton) -> None:
    """Say, once a skeleton, that faces are hidden by guess."""
    log.warning(
        "skeleton %r names no part of a head and no shoulder in English (left_eye, nose, right_shoulder), so it is"
        " unknown where faces are: the top of everybody's box is hidden; look at what is written before passing it on",
        skeleton.name,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """What a skeleton's keypoints say about heads.

    Attributes:
        parts: positions of the keypoints by part of the body.
        head: positions of those on the head.
        pairs: ``(pairs, 2)`` positions of keypoints whose distance is known.
        lengths_mm: ``(pairs,)``.
        hand: it is a hand's.
    """

    parts: Mapping[str, NDArray[np.int64]]
    head: NDArray[np.int64]
    pairs: NDArray[np.int64]
    lengths_mm: Floats
    hand: bool

    @property
    def has_head(self) -> bool:
        """Whether it says anything of where heads are."""
        return not {*_HEAD_PARTS, "shoulder"}.isdisjoint(self.parts)


@cache
def _layout(skeleton: Skeleton) -> _Layout:
    part_of: dict[int, str] = {}
    side_of: dict[int, str] = {}
    known = frozenset("".join(_words(name)) for name in skeleton.keypoints)
    for index, name in enumerate(skeleton.keypoints):
        side, plain = _split(_words(name), known)
        part = "face" if _FACE_POINT.fullmatch(name) else _PARTS.get(plain)
        if part is not None:
            part_of[index], side_of[index] = part, side
    pairs = []
    for i, j in combinations(part_of, 2):
        a, b = sorted((part_of[i], part_of[j]))
        across = a != b and side_of[i] and side_of[j] and side_of[i] != side_of[j]
        if (a, b) in _LENGTHS_MM and not across:
            pairs.append((i, j, _LENGTHS_MM[a, b]))
    table = np.array(pairs, dtype=np.int64).reshape(-1, 3)
    parts = {part: np.array([i for i in part_of if part_of[i] == part]) for part in part_of.values()}
    head = np.array([i for i in part_of if part_of[i] in {*_HEAD_PARTS} - {"neck"}], dtype=np.int64)
    fingers = any(word in _FINGERS for name in skeleton.keypoints for word in _words(name))
    return _Layout(parts, head, table[:, :2], table[:, 2].astype(float), fingers and parts.keys() <= {"wrist"})


def _words(name: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(name)]


def _split(words: Sequence[str], known: frozenset[str]) -> tuple[str, str]:
    """Return the side, ``l``, ``r`` or nothing, and what the rest of a name says, in one word.

    Args:
        words: of the name.
        known: all names of the skeleton, each in one word: ``lear`` is an ear where ``rear`` is another keypoint.
    """
    side = next((_SIDES[word] for word in words if word in _SIDES), "")
    plain = "".join(word for word in words if word not in _SIDES and word not in _UNIMPORTANT)
    if side:
        return side, plain
    for word in ("left", "right"):
        bare = plain.removeprefix(word) if plain.startswith(word) else plain.removesuffix(word)
        if bare in _PARTS:
            return (_SIDES[word] if bare != plain else ""), bare
    for letter, other in ("lr", "rl"):
        for bare, partner in ((plain[1:], other + plain[1:]), (plain[:-1], plain[:-1] + other)):
            if bare in _PARTS and plain in (letter + bare, bare + letter) and partner in known:
                return letter, bare
    return "", plain


def _person(xy: Floats, seen: NDArray[np.bool_], box: Floats, layout: _Layout) -> list[Ellipse]:
    points = {part: xy[indices[seen[indices]]] for part, indices in layout.parts.items()}
    scale = max(_scale(xy, seen, layout), max(box[2] - box[0], box[3] - box[1]) / _BODY_MM)
    own = _own(points, scale)
    if own is not None and sum(len(points.get(part, ())) for part in _HEAD_PARTS) >= 2:
        return [own]
    shoulders = points.get("shoulder", np.zeros((0, 2)))
    if len(shoulders):
        guess = _above_shoulders(shoulders, points, scale)
    else:
        guess = _top_of(box, only_face=set(layout.parts) == {"face"})
    regions = [guess] if own is None else [own, guess]
    doubted = _doubted(xy[layout.head], box, scale)
    return regions if doubted is None else [*regions, doubted]


def _scale(xy: Floats, seen: NDArray[np.bool_], layout: _Layout) -> float:
    """Return pixels a millimetre, the largest that any two keypoints suggest."""
    pairs = layout.pairs
    apart = np.linalg.norm(xy[pairs[:, 0]] - xy[pairs[:, 1]], axis=-1) / layout.lengths_mm
    return float(np.max(apart, initial=0.0, where=seen[pairs].all(axis=1)))


def _own(points: Mapping[str, Floats], scale: float) -> Ellipse | None:
    """Return the disc over a face's own keypoints."""
    front = np.concatenate([np.zeros((0, 2)), *(points[part] for part in ("face", "eye", "nose") if part in points)])
    ears, top, neck = (points.get(part, np.zeros((0, 2))) for part in ("ear", "top", "neck"))
    if len(front):
        middle = (front.min(axis=0) + front.max(axis=0)) / 2
    elif len(ears):
        middle = ears.mean(axis=0)
    elif len(top) and len(neck):
        middle = 0.55 * top.mean(axis=0) + 0.45 * neck.mean(axis=0)
    else:
        return None
    covered = np.concatenate([front, ears])
    reach = np.linalg.norm(covered - middle, axis=-1).max() if len(covered) else 0.0
    radius = max(_HEAD_MM * scale, reach + _MARGIN_MM * scale)
    return float(middle[0]), float(middle[1]), radius, radius


def _doubted(head: Floats, box: Floats, scale: float) -> Ellipse | None:
    """Return a disc about the middle of the head's keypoints, whatever their scores, if it lies about in the box."""
    finite = head[np.isfinite(head).all(axis=-1)]
    if not len(finite):
        return None
    x, y = np.median(finite, axis=0)
    corner, size = box[:2], box[2:] - box[:2]
    if (np.abs((x, y) - corner - size / 2) > 0.6 * size).any():
        return None
    return float(x), float(y), _HEAD_MM * scale, _HEAD_MM * scale


def _above_shoulders(shoulders: Floats, points: Mapping[str, Floats], scale: float) -> Ellipse:
    """Return a disc where a head sits on shoulders, away from the hips, or up where there are none."""
    between = shoulders.mean(axis=0)
    hips = points.get("hip", np.zeros((0, 2)))
    body = between - hips.mean(axis=0) if len(hips) else np.array([0.0, -1.0])
    length = np.linalg.norm(body)
    up = body / length if length > 1e-6 else np.array([0.0, -1.0])
    both = len(shoulders) > 1
    x, y = between + up * (_RISE_MM if both else _RISE_FROM_ONE_MM) * scale
    radius = (_GUESSED_MM if both else _GUESSED_FROM_ONE_MM) * scale
    return float(x), float(y), radius, radius


def _top_of(box: Floats, *, only_face: bool) -> Ellipse:
    """Return an ellipse over the square at the top of a box; over all of a face's box."""
    width, height = box[2] - box[0], box[3] - box[1]
    top = height if only_face else min(height, width)
    return float(box[0] + width / 2), float(box[1] + top / 2), 0.65 * width, 0.65 * top
