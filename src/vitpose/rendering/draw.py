"""Poses drawn on pictures, with ``supervision``'s annotators."""

import colorsys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.extras import require
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
    sv = require("supervision", "all", "drawing poses")
    if not len(poses):
        return image.copy()
    scene = _swapped(image)  # supervision draws in BGR
    if poses.track_ids is not None and style.tracks:
        return _swapped(_draw_tracked(sv, scene, poses, poses.track_ids, style))
    widths = _line_widths(poses, style.scale)
    sides = _sides(poses.skeleton)
    for width in np.unique(widths):
        people = poses[widths == width]
        keypoints = people.to_supervision()
        if style.boxes:
            scene = _draw_boxes(sv, scene, people, int(width))
        for color, edges, _ in sides:
            if edges:
                pen = sv.EdgeAnnotator(color=sv.Color.from_hex(color), thickness=int(width), edges=edges)
                scene = pen.annotate(scene, keypoints)
        scene = _draw_dots(sv, scene, keypoints, sides, int(width))
    return _swapped(scene)


def _swapped(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy with red and blue exchanged, ten times as fast as numpy's."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), dtype=np.uint8)


def draw_frame(
    image: NDArray[np.uint8], poses: Poses, *, style: Style | None = None, trails: "Trails | None" = None
) -> NDArray[np.uint8]:
    """Return a copy of a film's frame with the poses on it, and behind them the trails of those that are tracked.

    Args:
        image: ``(height, width, 3)`` uint8 RGB.
        poses: the people to draw, in that picture's pixels.
        style: what to draw.
        trails: where people were in the frames before; this frame is added to it.
    """
    if trails is not None:
        trails.add(poses)
        image = trails.draw(image, _line_widths(poses, (style or Style()).scale))
    return draw_poses(image, poses, style)


def track_color(track_id: int) -> str:
    """Return the colour of a track as ``"#RRGGBB"``, the same in every frame and every film; grey without id (-1)."""
    if track_id < 0:
        return UNTRACKED_COLOR
    value = (1.0, 0.8, 0.9)[track_id % 3]
    red, green, blue = colorsys.hsv_to_rgb(track_id * _TURN % 1, 0.75, value)
    return f"#{round(255 * red):02X}{round(255 * green):02X}{round(255 * blue):02X}"


class Trails:
    """Where tracked people were in the last frames. Memory is bounded by that number of frames.

    What is drawn depends on those frames alone: a run that goes on in the middle of a film adds as many frames before
    its first, and draws the same.
    """

    def __init__(self, frames: int = 30, keypoints: Sequence[str] = ()) -> None:
        """Begin without a past.

        Args:
            frames: how many frames a trail is long, the present one included.
            keypoints: names of those that leave a trail; without names the middle of the box does.

        Raises:
            UsageError: fewer than two frames.
        """
        if frames < 2:
            raise UsageError(f"a trail needs at least 2 frames, not {frames}")
        self.frames = frames
        self._keypoints = tuple(keypoints)
        self._past: deque[dict[int, NDArray[np.float32]]] = deque(maxlen=frames)

    def add(self, poses: Poses) -> None:
        """Take in the next frame. Keypoints below the threshold interrupt their trail.

        Raises:
            UsageError: the skeleton lacks one of the keypoints.
        """
        chosen = [poses.skeleton.index(name) for name in self._keypoints]
        points = np.where(poses.visible[:, chosen, None], poses.xy[:, chosen], np.nan)
        if not self._keypoints:
            points = ((poses.boxes[:, :2] + poses.boxes[:, 2:]) / 2)[:, None]
        ids = [] if poses.track_ids is None else poses.track_ids.tolist()
        self._past.append({track: where for track, where in zip(ids, points, strict=False) if track >= 0})

    def draw(self, image: NDArray[np.uint8], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return a copy of ``image`` with the trails of the people in the last frame that was added.

        Args:
            image: ``(height, width, 3)`` uint8 RGB.
            widths: of the lines of the people in that frame; trails are as wide as the widest of them at most.
        """
        drawn = np.array(image)
        now = self._past[-1] if self._past else {}
        width = int(np.median(widths)) if len(widths) else 1
        steps = list(enumerate(pairwise(self._past), start=self.frames - len(self._past)))
        for track in now:
            color = tuple(int(track_color(track)[i : i + 2], 16) for i in (1, 3, 5))
            for age, (before, after) in steps:
                if track in before and track in after:
                    thickness = max(round(width * (age + 1) / self.frames), 1)
                    _lines(drawn, before[track], after[track], color, thickness)
        return drawn


def _lines(
    image: NDArray[np.uint8], start: NDArray[np.float32], end: NDArray[np.float32], color: Any, thickness: int
) -> None:
    known = np.isfinite(start).all(axis=1) & np.isfinite(end).all(axis=1)
    corners = np.clip(np.rint(np.stack([start, end], axis=1)[known]), -_FAR, _FAR).astype(int)
    for a, b in corners.tolist():
        cv2.line(image, a, b, color, thickness, cv2.LINE_AA)


def _draw_tracked(
    sv: Any, scene: NDArray[np.uint8], poses: Poses, ids: NDArray[np.int64], style: Style
) -> NDArray[np.uint8]:
    """Draw everybody in the colour of the track, those without id first, so that they hide nobody."""
    widths = _line_widths(poses, style.scale)
    sides = _sides(poses.skeleton)
    edges = [edge for _, some, _ in sides for edge in some]
    for i in np.argsort(ids >= 0, kind="stable"):
        person, color, width = poses[int(i)], sv.Color.from_hex(track_color(int(ids[i]))), int(widths[i])
        if style.boxes:
            box = sv.Detections(xyxy=np.array(person.boxes), class_id=np.zeros(1, dtype=int))
            scene = sv.BoxAnnotator(color=color, thickness=max(width // 2, 1)).annotate(scene, box)
        keypoints = person.to_supervision()
        if edges:
            scene = sv.EdgeAnnotator(color=color, thickness=width, edges=edges).annotate(scene, keypoints)
        scene = _draw_dots(sv, scene, keypoints, sides, width)
    return _draw_ids(sv, scene, poses[ids >= 0], ids[ids >= 0], style.scale)


def _draw_ids(
    sv: Any, scene: NDArray[np.uint8], people: Poses, ids: NDArray[np.int64], scale: float
) -> NDArray[np.uint8]:
    """Write every id above its box, or inside where the picture ends; with the class where there are several."""
    height, width = scene.shape[:2]
    size = 0.4 * max(height / 720, 1.0) * scale
    one_class = len(set(people.labels)) == 1
    boxes = np.array(people.boxes)
    boxes[:, 0] = np.clip(boxes[:, 0], 0, max(width - 60 * size, 0))
    boxes[:, 1] = np.clip(boxes[:, 1], 40 * size, max(height - 1, 40 * size))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    for box, label, track in zip(boxes, people.labels, ids, strict=True):
        color = sv.Color.from_hex(track_color(int(track)))
        pen = sv.LabelAnnotator(color=color, text_color=sv.Color.BLACK, text_scale=size, text_padding=round(5 * size))
        place = sv.Detections(xyxy=box[None], class_id=np.zeros(1, dtype=int))
        scene = pen.annotate(scene, place, labels=[str(track) if one_class else f"{label} {track}"])
    return np.asarray(scene)


def _draw_boxes(sv: Any, scene: NDArray[np.uint8], people: Poses, width: int) -> NDArray[np.uint8]:
    detections = sv.Detections(
        xyxy=np.array(people.boxes), confidence=np.array(people.box_scores), class_id=np.zeros(len(people), dtype=int)
    )
    color = sv.Color.from_hex(BOX)
    boxed = sv.BoxAnnotator(color=color, thickness=max(width // 2, 1)).annotate(scene, detections)
    if people.track_ids is None:
        return np.asarray(boxed)
    names = [f"{label} {track}" for label, track in zip(people.labels, people.track_ids, strict=True)]
    pen = sv.LabelAnnotator(color=color, text_color=sv.Color.BLACK, text_scale=0.4, text_padding=2)
    return np.asarray(pen.annotate(boxed, detections, labels=names))


def _draw_dots(sv: Any, scene: NDArray[np.uint8], keypoints: Any, sides: list[Any], width: int) -> NDArray[np.uint8]:
    visible = np.array(keypoints.visible)
    for color, _, members in sides:
        keypoints.visible = visible & members
        dots = sv.VertexAnnotator(color=sv.Color.from_hex(color), radius=width + 1)
        scene = dots.annotate(scene, keypoints)
    keypoints.visible = visible
    return scene


def _line_widths(poses: Poses, scale: float) -> NDArray[np.int64]:
    """Lines grow with the person, so that a crowd stays readable and a portrait does not look thin."""
    heights = poses.boxes[:, 3] - poses.boxes[:, 1]
    return np.clip(np.rint(heights / 110 * scale), 1, max(round(12 * scale), 1)).astype(np.int64)


def _sides(skeleton: Skeleton) -> list[tuple[str, list[tuple[int, int]], NDArray[np.bool_]]]:
    """Split edges and keypoints into left, right and middle, by the skeleton's mirror pairs."""
    side = np.zeros(len(skeleton), dtype=int)
    for left, right in skeleton.flip_pairs:
        side[skeleton.index(left)], side[skeleton.index(right)] = 1, 2
    parts = []
    for color, wanted in ((MIDDLE, 0), (LEFT, 1), (RIGHT, 2)):
        # supervision counts keypoints from 1 in edges.
        edges = [(int(a) + 1, int(b) + 1) for a, b in skeleton.edge_indices if _edge_side(side[a], side[b]) == wanted]
        parts.append((color, edges, side == wanted))
    return parts


def _edge_side(a: int, b: int) -> int:
    """An edge to the middle line takes the side of its other end; one across the body is middle."""
    if a and b and a != b:
        return 0
    return int(max(a, b))
