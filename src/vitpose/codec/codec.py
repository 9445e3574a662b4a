"""One object with two directions: keypoints to target heatmaps, and heatmaps back to keypoints.

Conventions, chosen per head (a head must be decoded the way it was trained):

- ``udp``: heatmap pixels = crop pixels * (heatmap - 1) / (crop - 1), targets centred with sub-pixel precision (Huang et
  al. 2020), decoded by one Newton step on the logarithm of the blurred heatmap (DARK, Zhang et al. 2020);
- ``msra``: heatmap pixels = crop pixels * heatmap / crop, targets centred on whole pixels, decoded by a quarter of a
  pixel towards the higher neighbour (Xiao et al. 2018).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitpose.codec.decode import find_keypoints
from vitpose.codec.flip import merge_flipped
from vitpose.codec.targets import draw_targets
from vitpose.core.errors import UsageError, nearest
from vitpose.core.geometry import Convention, Size, sigma_on

Array = Tensor | NDArray[np.generic]


class HasCodec(Protocol):
    """What ``Codec.for_head`` needs to know about a head: ``models.variants.HeadSpec`` has it."""

    @property
    def codec(self) -> Convention:
        """The convention the head was trained with."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How the heatmaps of one head and the points in its crop relate.

    ``decode(encode(x))`` is ``x`` to within 0.001 heatmap pixels for ``udp``, anywhere on the heatmap. For ``msra`` it
    is within 0.5 heatmap pixels an axis, which is what rounding costs, and within ``1 - heatmap / crop`` (0.75) for the
    last half pixel at the right and at the bottom, whose target is centred just outside.

    Attributes:
        convention: ``udp`` or ``msra``.
        sigma: standard deviation of a target Gaussian in heatmap pixels.
        decode_sigma: standard deviation of the blur before the Newton step, in heatmap pixels; ``udp`` only. From 1 up,
            a peak at the rim is continued beyond it (``docs/decisions/003-decoding-at-the-border.md``); below 1 the
            arithmetic is that of Hugging Face ``transformers``, which uses 0.8.
    """

    convention: Convention = "udp"
    sigma: float = 2.0
    decode_sigma: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what cannot be encoded.

        Raises:
            UsageError: an unknown convention, or a sigma that is not a positive number.
        """
        known = get_args(Convention)
        if self.convention not in known:
            raise UsageError(f"unknown convention {self.convention!r}{nearest(str(self.convention), known)}")
        for name, value in (("sigma", self.sigma), ("decode_sigma", self.decode_sigma)):
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} must be a positive number of heatmap pixels, not {value!r}")

    @classmethod
    def for_head(cls, head: HasCodec, heatmap_size: Size, *, decode_sigma: float = 2.0) -> "Codec":
        """Return the codec of a head for the heatmaps of its model.

        The published sigma of 2 belongs to heatmaps 64 pixels high (inputs of 256x192); both sigmas grow with the
        heatmap's height, see ``core.geometry.sigma_on``.

        Args:
            head: anything with a ``codec`` attribute that names the convention, usually a ``HeadSpec``.
            heatmap_size: size of the model's heatmaps.
            decode_sigma: blur for heatmaps 64 pixels high. A value below 1 asks for the arithmetic of ``transformers``,
                which does not know about heatmap sizes, and is kept as it is.
        """
        return cls(
            convention=head.codec,
            sigma=sigma_on(heatmap_size),
            decode_sigma=decode_sigma if decode_sigma < 1 else sigma_on(heatmap_size, decode_sigma),
        )

    def encode(self, xy: Array, visible: Array, crop_size: Size, heatmap_size: Size) -> tuple[Tensor, Tensor]:
        """Draw the heatmaps a head should answer with.

        Args:
            xy: ``(people, keypoints, 2)`` x, y in crop pixels; may be NaN where not visible.
            visible: ``(people, keypoints)``, any number type; above 0 means labelled.
            crop_size: size of the crops in pixels.
            heatmap_size: size of the heatmaps in pixels.

        Returns:
            ``(people, keypoints, height, width)`` float32 heatmaps on the device of ``xy``, and ``(people, keypoints)``
            float32 weights: 1 for a labelled keypoint whose Gaussian, cut at 3 sigma, touches the heatmap, else 0 (and
            then the heatmap is all zeros).

        Raises:
            UsageError: shapes that do not fit.
        """
        points, seen = torch.as_tensor(xy), torch.as_tensor(visible)
        if points.ndim != 3 or points.shape[-1] != 2 or seen.shape != points.shape[:2]:
            raise UsageError(
                f"encode: xy must be (people, keypoints, 2) and visible (people, keypoints), not {tuple(points.shape)}"
                f" and {tuple(seen.shape)}"
            )
        scale = torch.tensor(self._heatmap_per_crop(crop_size, heatmap_size), device=points.device)
        means = points.to(torch.float32) * scale
        return draw_targets(means, seen.to(points.device) > 0, heatmap_size, self.sigma, self.convention)

    def decode(self, heatmaps: Array, crop_size: Size) -> tuple[Tensor, Tensor]:
        """Read the keypoints out of heatmaps.

        The result for one person does not depend, to the last bit, on who else is in the batch. Memory beyond the
        arguments and results is bounded, however many people there are.

        Args:
            heatmaps: ``(people, keypoints, height, width)``, any floating type, any device.
            crop_size: size of the crops in pixels.

        Returns:
            ``(people, keypoints, 2)`` float32 x, y in crop pixels and ``(people, keypoints)`` float32 scores, both on
            the heatmaps' device. The score is the heatmap's maximum. Where that is not finite (a NaN anywhere makes it
            so), the score is 0 and the place the heatmap's centre; where it is not above 0, the place is that of the
            maximum, not refined.

        Raises:
            UsageError: not four dimensions, not a floating type, or a heatmap less than 2 pixels high or wide.
        """
        maps = torch.as_tensor(heatmaps)
        if maps.ndim != 4 or not maps.is_floating_point() or min(maps.shape[2:]) < 2:
            raise UsageError(
                "decode: heatmaps must be (people, keypoints, height, width) of a floating type and at least 2x2, not"
                f" {tuple(maps.shape)} of {maps.dtype}"
            )
        xy, scores = find_keypoints(maps, self.convention, self.sigma, self.decode_sigma)
        across, down = self._heatmap_per_crop(crop_size, Size(*maps.shape[2:]))
        # Numbers and not a tensor: copying one to a device waits for all that is going on there.
        return torch.stack([xy[..., 0] / across, xy[..., 1] / down], dim=-1), scores

    def merge_flipped(self, heatmaps: Array, flipped: Array, flip_indices: Iterable[int]) -> Tensor:
        """Average the heatmaps of crops with those of the mirrored crops; see ``flip.merge_flipped``.

        Args:
            heatmaps: ``(people, keypoints, height, width)`` of the crops.
            flipped: the same for the crops mirrored left to right, as the model gave them.
            flip_indices: for every keypoint, the index of its mirror partner (its own if it has none).

        Returns:
            ``(people, keypoints, height, width)`` float32.

        Raises:
            UsageError: shapes differ, or ``flip_indices`` is not a permutation of the keypoints.
        """
        return merge_flipped(
            torch.as_tensor(heatmaps), torch.as_tensor(flipped), flip_indices, shift=self.convention == "msra"
        )

    def _heatmap_per_crop(self, crop: Size, heatmap: Size) -> tuple[float, float]:
        """Heatmap pixels per crop pixel as x, y."""
        less = 1 if self.convention == "udp" else 0
        if crop.height <= less or crop.width <= less:
            raise UsageError(f"crop size {tuple(crop)} is too small")
        return (heatmap.width - less) / (crop.width - less), (heatmap.height - less) / (crop.height - less)
