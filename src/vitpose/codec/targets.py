"""Target heatmaps: one Gaussian a keypoint, cut off at three standard deviations."""

import torch
from torch import Tensor

from vitpose.core.geometry import Convention, Size


def draw_targets(
    means: Tensor, visible: Tensor, size: Size, sigma: float, convention: Convention
) -> tuple[Tensor, Tensor]:
    """Draw one Gaussian a keypoint.

    ``udp`` keeps the fraction of the mean, so a peak between pixels is below 1 (Huang et al. 2020); ``msra`` rounds the
    mean to a whole pixel (Xiao et al. 2018). Both fill a square patch that reaches 3 sigma from the nearest pixel.

    Args:
        means: ``(people, keypoints, 2)`` float32 x, y in heatmap pixels.
        visible: ``(people, keypoints)`` bool.
        size: the heatmaps' size.
        sigma: standard deviation in heatmap pixels.
        convention: ``udp`` or ``msra``.

    Returns:
        ``(people, keypoints, height, width)`` float32 heatmaps and ``(people, keypoints)`` float32 weights, see
        ``Codec.encode``.
    """
    usable = visible & torch.isfinite(means).all(dim=-1)
    means = torch.where(usable[..., None], means, torch.zeros_like(means))
    if convention == "udp":
        centers = torch.floor(means + 0.5)
    else:
        # The original truncates towards zero, so a point up to 1.5 pixels left of the crop lands on column 0.
        centers = torch.trunc(means + 0.5)
        means = centers
    radius = round(3 * sigma)
    last = torch.tensor([size.width - 1, size.height - 1], dtype=means.dtype, device=means.device)
    touches = ((centers + radius >= 0) & (centers - radius <= last)).all(dim=-1)
    weights = (usable & touches).to(torch.float32)
    rows = _profile(means[..., 1], centers[..., 1], size.height, sigma, radius)
    columns = _profile(means[..., 0], centers[..., 0], size.width, sigma, radius)
    # A Gaussian is separable: the product of the two profiles is the patch.
    return (weights[..., None] * rows)[..., :, None] * columns[..., None, :], weights


def _profile(means: Tensor, centers: Tensor, length: int, sigma: float, radius: int) -> Tensor:
    """Return ``(people, keypoints, length)``: the Gaussian along one axis, zero beyond ``radius`` of the centre."""
    positions = torch.arange(length, dtype=means.dtype, device=means.device)
    values = torch.exp(-((positions - means[..., None]) ** 2) / (2 * sigma**2))
    return values * ((positions - centers[..., None]).abs() <= radius)
