"""What every engine promises: uint8 crops in, float32 heatmaps out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size

Crops = NDArray[np.uint8]
Heatmaps = NDArray[np.float32]


class Engine(Protocol):
    """Runs one model with one head. Normalisation and casting happen inside, so callers never see either."""

    @property
    def name(self) -> str:
        """What runs and where, for provenance: for instance ``eager-cpu-fp32``."""

    @property
    def input_size(self) -> Size:
        """Size of the crops in pixels."""

    @property
    def heatmap_size(self) -> Size:
        """Size of the heatmaps in pixels."""

    @property
    def num_keypoints(self) -> int:
        """Heatmaps a crop."""

    def __call__(self, crops: Crops) -> Heatmaps:
        """Return ``(people, keypoints, height, width)`` float32 for ``(people, height, width, 3)`` uint8 RGB crops.

        A crop's heatmaps do not depend on the other crops, up to rounding. No crops give no heatmaps.

        Raises:
            UsageError: crops of another type or size.
        """

    def close(self) -> None:
        """Give back what the engine holds; it cannot be called afterwards. Closing twice is allowed."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A model on its device, for callers whose crops are there already. It is what an engine offers, not an engine.

    Attributes:
        device: where crops are taken and heatmaps given.
        run: ``(people, height, width, 3)`` uint8 RGB crops on the device to ``(people, keypoints, height, width)``
            float32 heatmaps there; raises ``torch.OutOfMemoryError`` for too many.
        module: holds the weights that ``run`` reads.
        recordable: ``run`` only starts kernels, so they can be recorded as a CUDA graph.
    """

    device: torch.device
    run: Callable[[Tensor], Tensor]
    module: nn.Module
    recordable: bool = False


@runtime_checkable
class OffersDevice(Protocol):
    """An engine that need not be fed from memory."""

    def resident(self) -> Resident | None:
        """Return its model where it is at present; None where feeding it from memory is as good, as on a CPU.

        Raises:
            UsageError: the engine is closed.
        """


def check_crops(crops: Crops | Tensor, size: Size) -> None:
    """Refuse crops an engine cannot run.

    Args:
        crops: should be ``(people, height, width, 3)`` uint8.
        size: the engine's input size.

    Raises:
        UsageError: another type, number of channels or size.
    """
    known = isinstance(crops, (np.ndarray, Tensor))
    shape = tuple(crops.shape) if known else ()
    if not known or crops.dtype not in (np.uint8, torch.uint8) or len(shape) != 4 or shape[1:] != (*size, 3):
        given = f"{crops.dtype} {shape}" if known else type(crops).__name__
        raise UsageError(
            f"crops must be a uint8 array (people, {size.height}, {size.width}, 3) in RGB, not {given};"
            " CropTransform.warp makes such crops"
        )


class FakeEngine:
    """An engine without a model, for tests and dry runs: every crop has its keypoints at the same places."""

    name = "fake"

    def __init__(
        self,
        places: Sequence[tuple[float, float]],
        *,
        input_size: Size = Size(256, 192),
        heatmap_size: Size = Size(64, 48),
        codec: Codec | None = None,
    ) -> None:
        """Choose the places.

        Args:
            places: for every keypoint x, y as fractions of the crop: 0, 0 is the centre of its top left pixel and 1, 1
                that of its bottom right one.
            input_size: size of the crops in pixels.
            heatmap_size: size of the heatmaps in pixels.
            codec: draws the heatmaps; the default is ``Codec()``.
        """
        self.input_size = input_size
        self.heatmap_size = heatmap_size
        self.num_keypoints = len(places)
        xy = np.asarray(places, dtype=np.float32).reshape(1, -1, 2) * [input_size.width - 1, input_size.height - 1]
        visible = np.ones(xy.shape[:2])
        self._heatmaps: Heatmaps = (codec or Codec()).encode(xy, visible, input_size, heatmap_size)[0].numpy()

    def __call__(self, crops: Crops) -> Heatmaps:
        """Return the same heatmaps for every crop; see ``Engine``."""
        check_crops(crops, self.input_size)
        return np.repeat(self._heatmaps, len(crops), axis=0)

    def close(self) -> None:
        """Nothing to give back."""
