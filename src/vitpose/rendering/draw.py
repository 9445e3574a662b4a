"""Poses drawn on pictures: antialiased lines, dots, boxes and ids, to a fraction of a pixel."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton

LEFT, RIGHT, MIDDLE, BOX = "#FF8C2E", "#2E9BFF", "#3FD07F", "#F2F2F2"
"""Colours of the person's left, of the right, of what lies on the middle line, and of boxes."""

UNTRACKED_COLOR = "#A0A0A0"
"""Colour of people whom the tracker has given no id."""

_TURN = (5**0.5 - 1) / 2
"""The golden section of a turn: colours of ids that follow each other lie far apart, and none comes back soon."""

_FAR = 1 << 15
"""OpenCV's lines are in whole numbers of 32 bits; beyond this they end somewhere outside any picture."""

_SHIFT = 4
"""Binary digits after the point of OpenCV's coordinates: lines begin and end at sixteenths of a pixel."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX

Colour = tuple[int, int, int]
Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What to draw and how large.

    Attributes:
        boxes: draw the boxes with their scores.
        scale: factor on every line width and dot size.
        tracks: where people are tracked, give each limbs, box and label in the colour of the track; those without id
            are grey.
    """

    boxes: bool = True
    scale: float = 1.0
    tracks: bool = True


def draw_poses(image: NDArray[np.uint8], poses: Poses, style: Style | None = None) -> NDArray[np.uint8]:
    """Return a copy of ``image`` with the poses on it; keypoints below the threshold are left out.

    Args:
        image: ``(height, width, 3)`` uint8 RGB, the upright picture the poses belong to.
        poses: the people to draw, in that picture's pixels.
        style: what to draw.
    """
    style = style or Style()
    scene = image.copy()
    if not len(poses):
        return scene
    ids = [] if poses.track_ids is None else poses.track_ids.tolist()
    painted = [_rgb(track_color(track)) for track in ids] if style.tracks else []
    widths, sides = _line_widths(poses, style.scale), _sides(poses.skeleton)
    # Those in front come last: large people over small ones, tracked ones over those without id.
    order = np.argsort(np.array(ids) >= 0 if painted else widths, kind="stable")
    for i in order.tolist():
        width, visible = int(widths[i]), poses.visible[i]
        if style.boxes:
            box = poses.boxes[i].reshape(2, 2)
            _rectangle(scene, box, painted[i] if painted else _rgb(BOX), max(width // 2, 1))
        for color, edges, _ in sides:
            known = edges[visible[edges].all(axis=1)]
            ends = poses.xy[i, known]
            _lines(scene, ends[:, 0], ends[:, 1], painted[i] if painted else _rgb(color), width)
        for color, _, members in sides:
            _dots(scene, poses.xy[i, members & visible], _rgb(color), width + 1)
    if painted:
        _draw_ids(scene, poses, painted, style.scale)
    elif style.boxes and ids:
        for box, label, track in zip(poses.boxes, poses.labels, ids, strict=True):
            _label(scene, box, f"{label} {track}", _rgb(BOX), 0.4)
    return scene


def _rgb(color: str) -> Colour:
    """Return ``"#RRGGBB"`` as three numbers."""
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def track_color(track_id: int) -> str:
    """Return the colour of a track as ``"#RRGGBB"``, the same in every frame and every film; grey without id (-1)."""
    if track_id < 0:
        return UNTRACKED_COLOR
    value = (1.0, 0.8, 0.9)[track_id % 3]
    red, green, blue = colorsys.hsv_to_rgb(track_id * _TURN % 1, 0.75, value)
    return f"#{round(255 * red):02X}{round(255 * green):02X}{round(255 * blue):02X}"


def _lines(image: NDArray[np.uint8], start: Points, end: Points, color: Colour, thickness: int) -> None:
    """Draw lines from ``(lines, 2)`` to ``(lines, 2)`` x, y; those with an end that is not finite are left out."""
    known = np.isfinite(start).all(axis=1) & np.isfinite(end).all(axis=1)
    for a, b in _fixed(np.stack([start, end], axis=1)[known]).tolist():
        cv2.line(image, a, b, color, thickness, cv2.LINE_AA, _SHIFT)


def _dots(image: NDArray[np.uint8], centers: Points, color: Colour, radius: int) -> None:
    for center in _fixed(centers[np.isfinite(centers).all(axis=1)]).tolist():
        cv2.circle(image, center, radius << _SHIFT, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _rectangle(image: NDArray[np.uint8], corners: Points, color: Colour, thickness: int) -> None:
    if np.isfinite(corners).all():
        a, b = _fixed(np.rint(corners)).tolist()
        cv2.rectangle(image, a, b, color, thickness, cv2.LINE_8, _SHIFT)


def _fixed(points: Points) -> NDArray[np.int64]:
    """Return x, y as OpenCV's whole numbers."""
    return np.rint(np.clip(points, -_FAR, _FAR) * (1 << _SHIFT)).astype(np.int64)


def _label(image: NDArray[np.uint8], box: Points, text: str, color: Colour, size: float) -> None:
    """Write above a box, or as near to that as the picture goes, in black on ``color``."""
    if not np.isfinite(box).all():
        return
    (wide, high), below = cv2.getTextSize(text, _FONT, size, 1)
    pad = max(round(5 * size), 2)
    across, up = wide + 2 * pad, high + below + 2 * pad
    left = int(np.clip(box[0], 0, max(image.shape[1] - across, 0)))
    top = int(np.clip(box[1] - up, 0, max(image.shape[0] - up, 0)))
    cv2.rectangle(image, (left, top), (left + across - 1, top + up - 1), color, cv2.FILLED)
    cv2.putText(image, text, (left + pad, top + pad + high), _FONT, size, (0, 0, 0), 1, cv2.LINE_AA)


def _draw_ids(image: NDArray[np.uint8], people: Poses, colors: Sequence[Colour], scale: float) -> None:
    """Write every id above its box; with the class where there are several."""
    ids = np.array(people.track_ids)
    tracked = np.flatnonzero(ids >= 0).tolist()
    one_class = len({people.labels[i] for i in tracked}) == 1
    size = 0.4 * max(image.shape[0] / 720, 1.0) * scale
    for i in tracked:
        _label(image, people.boxes[i], f"{ids[i]}" if one_class else f"{people.labels[i]} {ids[i]}", colors[i], size)


def _line_widths(poses: Poses, scale: float) -> NDArray[np.int64]:
    """Lines grow with the person, so that a crowd stays readable and a portrait does not look thin."""
    heights = poses.boxes[:, 3] - poses.boxes[:, 1]
    return np.clip(np.rint(heights / 110 * scale), 1, max(round(12 * scale), 1)).astype(np.int64)


def _sides(skeleton: Skeleton) -> list[tuple[str, NDArray[np.int64], NDArray[np.bool_]]]:
    """Split edges ``(edges, 2)`` and keypoints into middle, left and right, by the skeleton's mirror pairs."""
    side = np.zeros(len(skeleton), dtype=int)
    for left, right in skeleton.flip_pairs:
        side[skeleton.index(left)], side[skeleton.index(right)] = 1, 2
    parts = []
    for color, wanted in ((MIDDLE, 0), (LEFT, 1), (RIGHT, 2)):
        edges = [(int(a), int(b)) for a, b in skeleton.edge_indices if _edge_side(side[a], side[b]) == wanted]
        parts.append((color, np.array(edges, dtype=np.int64).reshape(-1, 2), side == wanted))
    return parts


def _edge_side(a: int, b: int) -> int:
    """An edge to the middle line takes the side of its other end; one across the body is middle."""
    if a and b and a != b:
        return 0
    return int(max(a, b))
