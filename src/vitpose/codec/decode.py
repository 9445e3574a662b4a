"""From heatmaps to keypoints: the peak, then a step to its sub-pixel place.

The ``udp`` step is DARK (Zhang et al. 2020, section 3.2) as the original release computes it: blur, clip to
[1e-3, 50], logarithm, one Newton step from the peak pixel. Two things differ on purpose. Only the patch round each peak
is blurred, because the step reads nothing else. And a step is taken only where it means something: the logarithm curves
down in all directions and the step stays within one pixel of the peak.

Every sum over taps below is written as a chain of element-wise operations, and not as a matrix product, so that a
person's result is the same to the last bit whoever else is in the batch. Patches have the heatmap as their last axis:
the small axes are then strides, and every operation runs over long rows of memory.
"""

import math

import torch
from torch import Tensor

from vitpose.core.geometry import Convention

_CHUNK_PIXELS = 1 << 22
"""Heatmap pixels worked on at a time: 16 MiB as float32."""

_LOWEST, _HIGHEST = 1e-3, 50.0
_RIDGE = 1.1920929e-07

_FLATTER, _STEEPER = 0.6, 1.5
"""How far a measured curvature may lie from the target's: peaks 1.29 to 0.82 times as wide."""


def find_keypoints(
    heatmaps: Tensor, convention: Convention, sigma: float, decode_sigma: float
) -> tuple[Tensor, Tensor]:
    """Find one keypoint a heatmap.

    Args:
        heatmaps: ``(people, keypoints, height, width)`` of any floating type.
        convention: ``udp`` or ``msra``.
        sigma: standard deviation of the targets the head was trained with, in heatmap pixels.
        decode_sigma: standard deviation of the blur, in heatmap pixels.

    Returns:
        ``(people, keypoints, 2)`` float32 x, y in heatmap pixels and ``(people, keypoints)`` float32 scores.
    """
    people, keypoints, height, width = heatmaps.shape
    if torch.compiler.is_compiling():
        # A graph is made for any number of people at once, and whoever runs it bounds the batch.
        places, maxima = _decode_maps(heatmaps.to(torch.float32).flatten(0, 1), convention, sigma, decode_sigma)
        return places.reshape(-1, keypoints, 2), maxima.reshape(-1, keypoints)
    xy = torch.empty((people, keypoints, 2), dtype=torch.float32, device=heatmaps.device)
    scores = torch.empty((people, keypoints), dtype=torch.float32, device=heatmaps.device)
    step = max(1, _CHUNK_PIXELS // max(1, keypoints * height * width))
    for start in range(0, people, step):
        part = heatmaps[start : start + step].to(torch.float32)
        maps = part.reshape(-1, height, width)
        places, maxima = _decode_maps(maps, convention, sigma, decode_sigma)
        xy[start : start + step] = places.reshape(-1, keypoints, 2)
        scores[start : start + step] = maxima.reshape(-1, keypoints)
    return xy, scores


def kernel_radius(decode_sigma: float) -> int:
    """Return how far the blur reaches, in heatmap pixels.

    OpenCV pairs a kernel of ``2 r + 1`` taps with ``sigma = 0.3 (r - 1) + 0.8``; this is its inverse: 5 for sigma 2
    (the 11x11 kernel of the original), 8 for sigma 3 (the 17x17 kernel used with 96x72 heatmaps). It is never below 5,
    which is what ``transformers`` uses with 0.8.
    """
    return max(5, round((decode_sigma - 0.8) / 0.3) + 1)


def _decode_maps(maps: Tensor, convention: Convention, sigma: float, decode_sigma: float) -> tuple[Tensor, Tensor]:
    """Decode ``(maps, height, width)`` float32 into ``(maps, 2)`` heatmap pixels and ``(maps,)`` scores."""
    height, width = maps.shape[1:]
    scores, index = _maxima(maps)
    rows = index.div(width, rounding_mode="floor")
    columns = index - rows * width
    peaks = torch.stack([columns, rows], dim=1).to(torch.float32)
    if convention == "udp":
        offsets = _newton_steps(_log_neighbours(maps, rows, columns, sigma, decode_sigma))
    else:
        offsets = _quarter_steps(maps, rows, columns)
    xy = torch.where((scores > 0)[:, None], peaks + offsets, peaks)
    broken = ~torch.isfinite(scores)
    center = zip(xy.unbind(dim=1), ((width - 1) / 2, (height - 1) / 2), strict=True)
    xy = torch.stack([torch.where(broken, middle, places) for places, middle in center], dim=1)
    return xy, torch.where(broken, 0.0, scores)


def _maxima(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(maps,)`` the maximum and the first place, in row order, that has it.

    PyTorch finds a maximum on a CPU many times faster than its place, so the place is looked for only in the block of
    rows that holds the maximum.
    """
    count, height, width = maps.shape
    together = next(rows for rows in range(max(1, height // 32), 0, -1) if height % rows == 0)
    blocks = maps.reshape(count, height // together, together * width)
    block = blocks.amax(dim=2).argmax(dim=1)
    chosen = blocks[torch.arange(count, device=maps.device), block]
    place = chosen.argmax(dim=1)
    scores = chosen.gather(1, place[:, None])[:, 0]
    return scores, block * (together * width) + place


def _quarter_steps(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``(maps, 2)`` steps of a quarter pixel towards the higher neighbour, none near the rim."""
    height, width = maps.shape[1:]
    flat = maps.flatten(1)
    inside = (columns > 1) & (columns < width - 1) & (rows > 1) & (rows < height - 1)
    center = torch.where(inside, rows * width + columns, 0)
    near = [torch.where(inside, center + delta, 0) for delta in (1, -1, width, -width)]
    right, left, below, above = torch.gather(flat, 1, torch.stack(near, dim=1)).unbind(dim=1)
    slopes = torch.stack([right - left, below - above], dim=1)
    return 0.25 * torch.sign(torch.nan_to_num(slopes))


def _newton_steps(log: Tensor) -> Tensor:
    """Return ``(maps, 2)`` Newton steps from ``(3, 3, maps)`` log values; zero where a step makes no sense."""
    (corner, above, _), (left, middle, right), (_, below, opposite) = (row.unbind() for row in log.unbind())
    twice = 2 * middle
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    dxx = right - twice + left + _RIDGE
    dyy = below - twice + above + _RIDGE
    dxy = 0.5 * (opposite - right - below + twice - left - above + corner)
    determinant = dxx * dyy - dxy * dxy
    steps = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy]) / determinant
    peaked = (dxx < 0) & (determinant > 0)
    near = (steps.abs() <= 1).all(dim=0)  # false for NaN as well
    return torch.where(peaked & near, steps, 0.0).T


def _log_neighbours(maps: Tensor, rows: Tensor, columns: Tensor, sigma: float, decode_sigma: float) -> Tensor:
    """Return ``(3, 3, maps)``: the logarithm of the blurred heatmap at the peak and its eight neighbours.

    Blurring is separable and local, so the patch the nine values depend on gives exactly what blurring the whole
    heatmap would.
    """
    count, height, width = maps.shape
    radius = kernel_radius(decode_sigma)
    reach = torch.arange(-radius - 1, radius + 2, device=maps.device)[:, None]
    extend = decode_sigma >= 1
    inside = _clamped if extend else _mirrored
    first = torch.arange(count, device=maps.device) * (height * width)
    lines = inside(rows + reach, height) * width + first
    index = lines[:, None] + inside(columns + reach, width)[None]
    patch = maps.reshape(-1).index_select(0, index.reshape(-1)).reshape(index.shape)
    taps = _gaussian_taps(decode_sigma, radius)
    if extend:
        profiles = _blur(patch[1:-1], taps, 0)[0], _blur(patch[:, 1:-1], taps, 1)[:, 0]
        distances = torch.stack([columns, width - 1 - columns, rows, height - 1 - rows])
        factors = _continuation(*profiles, distances, sigma)
        if factors is not None:
            patch = patch * factors[0] * factors[1][:, None]
    blurred = _blur(_blur(patch, taps, 0), taps, 1)
    return blurred.clamp_(_LOWEST, _HIGHEST).log_()


def _gaussian_taps(sigma: float, radius: int) -> list[float]:
    weights = [math.exp(-(offset**2) / (2 * sigma**2)) for offset in range(-radius, radius + 1)]
    return [weight / sum(weights) for weight in weights]


def _blur(patch: Tensor, taps: list[float], axis: int) -> Tensor:
    """Blur along ``axis`` and keep the places where the symmetric kernel fits: the middle three, or the middle."""
    middle = len(taps) // 2
    length = patch.shape[axis] - 2 * middle
    total = patch.narrow(axis, middle, length) * taps[middle]
    for offset in range(middle):
        pair = patch.narrow(axis, offset, length) + patch.narrow(axis, 2 * middle - offset, length)
        total += pair.mul_(taps[offset])
    return total


def _clamped(places: Tensor, length: int) -> Tensor:
    """Repeat the edge pixel beyond the edge."""
    return places.clamp(0, length - 1)


def _mirrored(places: Tensor, length: int) -> Tensor:
    """Mirror with the edge pixel repeated, as ``scipy.ndimage`` does in mode ``reflect``.

    The blurred heatmap is then mirrored as well, so that its value one pixel beyond the edge equals the edge's: the
    padding that ``transformers`` gives the logarithm comes out by itself.
    """
    around = places.remainder(2 * length)
    return torch.minimum(around, 2 * length - 1 - around)


def _continuation(across: Tensor, down: Tensor, distances: Tensor, sigma: float) -> tuple[Tensor, Tensor] | None:
    """Return factors that turn repeated edge pixels into the peak's own Gaussian.

    Args:
        across: ``(reach, maps)`` the patch averaged over its rows with the blur's weights.
        down: ``(reach, maps)`` the same over its columns.
        distances: ``(4, maps)`` whole pixels from the peak to the left, right, upper and lower edge.
        sigma: standard deviation of the targets.

    Returns:
        two ``(reach, maps)`` factors, for columns and rows, 1 inside the heatmap; None where all are known to be 1.
        On a CPU, which can look without waiting, only edges within reach of their peak are worked on.
    """
    reach = across.shape[0]
    profiles = torch.stack([across, across.flip(0), down, down.flip(0)], dim=1).reshape(reach, -1)
    distance, room = distances.flatten(), distances[[1, 0, 3, 2]].flatten()
    if profiles.device.type == "cpu" and not torch.compiler.is_compiling():
        near = torch.nonzero(distance < reach // 2)[:, 0]
        if not len(near):
            return None
        found = _fall_off(profiles.index_select(1, near), distance[near], room[near], sigma)
        factors = torch.ones_like(profiles).index_copy_(1, near, found)
    else:
        factors = _fall_off(profiles, distance, room, sigma)
    left, right, upper, lower = factors.reshape(reach, 4, -1).unbind(dim=1)
    return left * right.flip(0), upper * lower.flip(0)


def _fall_off(profile: Tensor, distance: Tensor, room: Tensor, sigma: float) -> Tensor:
    """Return the factors beyond the low edge, which is ``distance`` pixels before the middle of ``profile``.

    A Gaussian's logarithm L is a parabola, so two values inside and its curvature c fix all outside:
    ``L(-n) = L(0) - n (L(1) - L(0)) - c n (n + 1) / 2``. The slope ``L(1) - L(0)`` is one number a heatmap and edge,
    because a Gaussian is separable; it is taken from the averaged profile, and held to what a peak within one pixel of
    the found one allows, so that noise cannot build a second peak outside.
    """
    edge = profile.shape[0] // 2 - distance
    curvature = _curvature(profile, room, sigma)
    first, second = _pick(profile, edge), _pick(profile, edge + 1)
    expected = (2 * distance.to(profile.dtype) - 1) * curvature / 2
    measured = torch.log(second / first)
    slope = torch.where((first > 0) & torch.isfinite(measured), measured, expected)
    slope = torch.minimum(torch.maximum(slope, expected - curvature), expected + curvature)
    places = torch.arange(profile.shape[0], device=profile.device)[:, None]
    beyond = (edge - places).clamp_(min=0).to(profile.dtype)
    # -n s - n (n + 1) c / 2 with n taken out.
    return torch.exp_(beyond * ((beyond + 1) * (-0.5 * curvature) - slope))


def _curvature(profile: Tensor, room: Tensor, sigma: float) -> Tensor:
    """Return ``(maps,)`` how strongly the logarithm of ``profile`` bends from its middle upwards.

    It would be ``1 / sigma^2`` if answers were as wide as the targets. They are often not, so it is measured from three
    values, a sigma apart, on the side where the heatmap goes on for ``room`` pixels, and held near that number.
    """
    middle = profile.shape[0] // 2
    step = min(max(1, round(sigma)), middle // 2)
    first, second, third = profile[middle : middle + 2 * step + 1 : step].log().unbind()
    measured = (2 * second - first - third) / step**2
    target = sigma**-2
    known = torch.isfinite(measured) & (room >= 2 * step)
    return torch.where(known, measured, target).clamp(_FLATTER * target, _STEEPER * target)


def _pick(profile: Tensor, places: Tensor) -> Tensor:
    """Return ``(maps,)``: one value of each profile; the places of edges out of reach do not matter."""
    return torch.gather(profile, 0, places.clamp(0, profile.shape[0] - 1)[None])[0]
