"""How alike two boxes or two poses are: IoU and object keypoint similarity."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def box_areas(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return the areas of ``(..., 4)`` xyxy boxes in square pixels; boxes with swapped corners have none."""
    array = np.asarray(boxes, dtype=np.float64)
    areas: NDArray[np.float64] = np.prod(np.clip(array[..., 2:] - array[..., :2], 0, None), axis=-1)
    return areas


def iou_matrix(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union of ``(n, 4)`` and ``(m, 4)`` xyxy boxes as ``(n, m)``."""
    a = np.asarray(first, dtype=np.float64).reshape(-1, 4)
    b = np.asarray(second, dtype=np.float64).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = box_areas(a)[:, None] + box_areas(b)[None, :] - shared
    iou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)
    return iou


def oks_matrix(
    first: ArrayLike,
    second: ArrayLike,
    *,
    sigmas: ArrayLike,
    areas: ArrayLike,
    counted: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Return the object keypoint similarity of every pair of poses.

    OKS is the mean over keypoints of ``exp(-d^2 / (2 * area * (2 * sigma)^2))`` (COCO keypoint evaluation).

    Args:
        first: ``(n, keypoints, 2)`` points in pixels.
        second: ``(m, keypoints, 2)`` points in pixels.
        sigmas: ``(keypoints,)`` OKS constants.
        areas: ``(n,)``, ``(m,)`` broadcastable to ``(n, m)``: the scale of each pair in square pixels.
        counted: optional ``(n, keypoints)`` mask: which keypoints of ``first`` count. A pose of ``first`` without
            any counted keypoint is similar to nothing (0).

    Returns:
        ``(n, m)`` float64 in 0..1.
    """
    a = np.asarray(first, dtype=np.float64)
    b = np.asarray(second, dtype=np.float64)
    squared = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    scale = np.broadcast_to(np.asarray(areas, dtype=np.float64), (len(a), len(b)))[:, :, None]
    variance = (2 * np.asarray(sigmas, dtype=np.float64)) ** 2
    similarity = np.exp(-squared / (2 * np.maximum(scale, np.finfo(np.float64).eps) * variance))
    if counted is None:
        mean: NDArray[np.float64] = similarity.mean(axis=-1) if similarity.shape[-1] else similarity.sum(axis=-1)
        return mean
    mask = np.asarray(counted, dtype=np.float64)[:, None, :]
    total = np.broadcast_to(mask.sum(axis=-1), squared.shape[:2])
    sums = (similarity * mask).sum(axis=-1)
    masked: NDArray[np.float64] = np.divide(sums, total, out=np.zeros(sums.shape), where=total > 0)
    return masked
