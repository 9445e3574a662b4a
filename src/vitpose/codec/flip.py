"""Averaging a crop's heatmaps with those of its mirror image."""

from collections.abc import Iterable

import torch
from torch import Tensor

from vitpose.core.errors import UsageError


def merge_flipped(heatmaps: Tensor, flipped: Tensor, flip_indices: Iterable[int], *, shift: bool) -> Tensor:
    """Average heatmaps with those of the mirrored crops, turned back.

    Args:
        heatmaps: ``(people, keypoints, height, width)`` of the crops.
        flipped: the same of the crops mirrored left to right.
        flip_indices: for every keypoint, the index of its mirror partner.
        shift: move the turned-back heatmaps right by one pixel, keeping column 0. Heads of the ``msra`` convention
            need it: ``size / region`` is not symmetric under mirroring, by about one heatmap pixel; ``udp`` is.

    Returns:
        ``(people, keypoints, height, width)`` float32; the arguments are not changed.

    Raises:
        UsageError: shapes differ, or ``flip_indices`` is not a permutation of the keypoints.
    """
    if heatmaps.ndim != 4 or heatmaps.shape != flipped.shape:
        raise UsageError(
            "merge_flipped: both heatmaps must be (people, keypoints, height, width) of one shape, not"
            f" {tuple(heatmaps.shape)} and {tuple(flipped.shape)}"
        )
    indices = [int(index) for index in flip_indices]
    if sorted(indices) != list(range(heatmaps.shape[1])):
        raise UsageError(
            f"merge_flipped: flip_indices must name each of the {heatmaps.shape[1]} keypoints once, not {indices}"
        )
    # One slice a keypoint and not a tensor of indices: copying that to a device waits for all that is going on there.
    swapped = torch.stack([flipped[:, index] for index in indices], dim=1)
    turned = swapped.flip(-1).to(heatmaps.device, torch.float32)
    if shift:
        turned = torch.cat([turned[..., :1], turned[..., :-1]], dim=-1)
    return (heatmaps.to(torch.float32) + turned) / 2
