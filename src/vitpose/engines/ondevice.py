"""From pictures to keypoints without leaving the device.

A picture goes up once, as bytes, and three numbers a keypoint come back. Nothing here waits for the device until
results are fetched. Pictures and results travel through page-locked memory, pictures on a stream of their own, so that
the next ones are copied while these are worked on.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vitpose.core.geometry import CropTransform, Size
from vitpose.engines.base import Resident
from vitpose.engines.captured import Recordings

_LARGE = 1 << 25
"""Pixels from which a picture's crops are cut in memory: as float32 it would take 12 bytes a pixel on the device."""

_LONG = 1 << 14
"""Pixels a side from which they are, too: places on the device are float32."""

_AHEAD = 2
"""Batches that are started before the results of the first are waited for, so that memory stays bounded."""


class DeviceLane:
    """Cuts, runs and reads the people of some pictures on one device."""

    def __init__(self, images: Sequence[NDArray[np.uint8]], resident: Resident, recordings: Recordings) -> None:
        """Upload nothing yet: a picture goes up when the first person in it is asked for.

        Args:
            images: ``(height, width, 3)`` uint8 RGB pictures.
            resident: the model.
            recordings: runs it and reads its heatmaps.
        """
        self._images, self._resident, self._recordings = images, resident, recordings
        self._pictures: dict[int, Tensor] = {}
        self._waiting: deque[Any] = deque()
        self._copies: Any = None
        if resident.device.type == "cuda":
            self._copies = torch.cuda.Stream(resident.device)  # type: ignore[no-untyped-call]

    def points(self, parts: Sequence[tuple[int, CropTransform]]) -> tuple[Tensor, Tensor]:
        """Return points in crop pixels and scores of all people of the parts, on the device.

        Args:
            parts: numbers of pictures, and where the people are.

        Raises:
            torch.OutOfMemoryError: they are too many at a time.
        """
        with torch.inference_mode(), self._current():
            crops = [self._crops(image, transform) for image, transform in parts]
            return self._recordings(self._resident, crops[0] if len(crops) == 1 else torch.cat(crops))

    def fetch(self, points: Tensor, scores: Tensor) -> Callable[[], tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Start to bring points and scores into memory; what is returned waits for them."""
        with torch.inference_mode(), self._current():
            found = torch.cat([points, scores[..., None]], dim=-1)
            if self._copies is None:
                return lambda: _parts(found)
            host = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
            host.copy_(found, non_blocking=True)
            done = torch.cuda.current_stream(found.device).record_event()
        self._waiting.append(done)
        if len(self._waiting) > _AHEAD:
            self._waiting.popleft().synchronize()

        def wait() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            done.synchronize()
            return _parts(host)

        return wait

    def _crops(self, image: int, transform: CropTransform) -> Tensor:
        height, width = self._images[image].shape[:2]
        if height * width > _LARGE or max(height, width) > _LONG:
            return self._upload(transform.warp(self._images[image]))
        if image not in self._pictures:
            self._pictures[image] = self._upload(self._images[image])
        return warp(self._pictures[image], self._upload(_grid(transform, Size(height, width))), transform.size)

    def _upload(self, values: NDArray[Any]) -> Tensor:
        """Copy to the device without waiting; what is started afterwards finds it there."""
        if self._copies is None:
            # Arrays may be read-only, which PyTorch's tensors cannot be.
            return torch.from_numpy(np.array(values)).to(self._resident.device)
        host = torch.empty(values.shape, dtype=torch.from_numpy(values[:0].copy()).dtype, pin_memory=True)
        host.numpy()[...] = values
        with torch.cuda.stream(self._copies):
            there = host.to(self._resident.device, non_blocking=True)
        stream = torch.cuda.current_stream(self._resident.device)
        stream.wait_stream(self._copies)
        there.record_stream(stream)
        return there

    def _current(self) -> contextlib.AbstractContextManager[Any]:
        """Streams and events belong to the GPU that is current, which need not be the model's."""
        if self._copies is None:
            return contextlib.nullcontext()
        return torch.cuda.device(self._resident.device)


def warp(picture: Tensor, grid: Tensor, size: Size) -> Tensor:
    """Cut all crops out of a picture in one batched operation: bilinear, black outside, as ``CropTransform.warp``.

    OpenCV 5 interpolates with real numbers as this does, and grey levels differ by 1 at most where rounding falls the
    other way. OpenCV 4 rounds the place of every pixel to 1/32 of a pixel first: there they differ by 1/32 of the
    difference of neighbouring pixels besides.

    Args:
        picture: ``(height, width, 3)`` uint8 on any device.
        grid: ``(people, 2, 3)`` float32 maps from crop pixels to the picture, whose outer edges are -1 and 1.
        size: of the crops.

    Returns:
        ``(people, height, width, 3)`` uint8 on the picture's device.
    """
    rows = torch.arange(size.height, device=picture.device, dtype=torch.float32)
    columns = torch.arange(size.width, device=picture.device, dtype=torch.float32)
    places = (
        columns[None, None, :, None] * grid[:, None, None, :, 0]
        + rows[None, :, None, None] * grid[:, None, None, :, 1]
        + grid[:, None, None, :, 2]
    )
    source = picture.permute(2, 0, 1)[None].to(torch.float32).expand(len(grid), -1, -1, -1)
    crops = F.grid_sample(source, places, mode="bilinear", padding_mode="zeros", align_corners=False)
    return crops.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _grid(transform: CropTransform, picture: Size) -> NDArray[np.float32]:
    """Return ``(people, 2, 3)`` maps from crop pixels to the picture, whose outer edges are -1 and 1."""
    maps = transform.inverse
    # Pixel centres lie half a pixel inside the edges.
    maps[:, :, 2] += 0.5
    maps *= np.array([2 / picture.width, 2 / picture.height])[:, None]
    maps[:, :, 2] -= 1
    return maps.astype(np.float32)


def _parts(found: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    values: NDArray[np.float32] = found.numpy()
    return values[..., :2], values[..., 2]
