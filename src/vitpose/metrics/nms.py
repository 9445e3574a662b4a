"""Duplicate poses taken out: OKS non-maximum suppression as in the top-down evaluation protocols."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitpose.core.geometry import CONTEXT, Size, fit_aspect
from vitpose.core.poses import Poses
from vitpose.core.similarity import oks_matrix

NMS_OKS = 0.9
"""Two poses more alike than this are one person (the ViTPose evaluation protocol)."""


def region_areas(boxes: ArrayLike, input_size: Size, *, square: bool = False) -> NDArray[np.float64]:
    """Return the areas in square pixels of the regions a model sees for ``(people, 4)`` xyxy boxes.

    That is the box grown to the input's aspect ratio and by 1.25; the protocol takes it for the person's size.
    """
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    extents = fit_aspect(array[:, 2:] - array[:, :2], 1.0 if square else input_size.width / input_size.height)
    areas: NDArray[np.float64] = np.prod(extents * CONTEXT, axis=1)
    return areas


def oks_nms(
    xy: ArrayLike, scores: ArrayLike, areas: ArrayLike, *, sigmas: ArrayLike, threshold: float = NMS_OKS
) -> NDArray[np.int64]:
    """Keep the best of every set of near-equal poses, greedily by score.

    Args:
        xy: ``(people, keypoints, 2)`` pixels. All keypoints count, whatever their score.
        scores: ``(people,)`` person scores.
        areas: ``(people,)`` square pixels; a pair is compared at the mean of its two areas.
        sigmas: ``(keypoints,)`` OKS constants.
        threshold: a pose is dropped when its OKS with a better one is above this.

    Returns:
        Positions of the poses that stay, best first.
    """
    points, size = np.asarray(xy, dtype=np.float64), np.asarray(areas, dtype=np.float64)
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        mean = (size[best] + size[rest])[None] / 2
        alike = oks_matrix(points[best][None], points[rest], sigmas=sigmas, areas=mean)[0]
        order = rest[alike <= threshold]
    return np.array(kept, dtype=np.int64)


def suppress(poses: Poses, input_size: Size, *, square: bool = False, threshold: float = NMS_OKS) -> Poses:
    """Return the poses of a picture without duplicates, ranked by ``Poses.score`` (box times mean keypoint score).

    Args:
        poses: people of one picture.
        input_size: of the model, which fixes the regions' aspect ratio.
        square: the head was trained on square regions.
        threshold: see ``oks_nms``.
    """
    areas = region_areas(poses.boxes, input_size, square=square)
    return poses[oks_nms(poses.xy, poses.score, areas, sigmas=poses.skeleton.sigma_array, threshold=threshold)]
