"""Poses drawn on pictures, with ``supervision``'s annotators."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.extras import require
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton

LEFT, RIGHT, MIDDLE, BOX = "#FF8C2E", "#2E9BFF", "#3FD07F", "#F2F2F2"
"""Colours of the person's left, of the right, of what lies on the middle line, and of boxes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What to draw and how large.

    Attributes:
        boxes: draw the boxes with their scores.
        scale: factor on every line width and dot size.
    """

    boxes: bool = True
    scale: float = 1.0


def draw_poses(image: NDArray[np.uint8], poses: Poses, style: Style | None = None) -> NDArray[np.uint8]:
    """Return a copy of ``image`` with the poses on it; keypoints below the threshold are left out.

    Args:
        image: ``(height, width, 3)`` uint8 RGB, the upright picture the poses belong to.
        poses: the people to draw, in that picture's pixels.
        style: what to draw.
    """
    style = style or Style()
    sv = require("supervision", "all", "drawing poses")
    scene = np.ascontiguousarray(image[..., ::-1])  # supervision draws in BGR
    if not len(poses):
        return np.ascontiguousarray(scene[..., ::-1])
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
    return np.ascontiguousarray(scene[..., ::-1])


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
