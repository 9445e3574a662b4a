"""Everybody in several pictures, in batches: transforms → crops → heatmaps → points.

Where the crops are made and read is a lane: in memory, for any engine, or on an engine's device
(``engines/ondevice.py``). What is done to them is the same.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError, VitPoseError
from vitpose.core.geometry import CropTransform, Size
from vitpose.engines.base import Engine
from vitpose.pipeline.multiscale import Scales, scaled

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

Part = tuple[int, CropTransform]
"""Number of a picture, and where some people in it are."""

Fetched = Callable[[], tuple[Floats, Floats]]
"""Waits for what was found: ``(people, keypoints, 2)`` points in crop pixels and ``(people, keypoints)`` scores."""

Pixels = TypeVar("Pixels", NDArray[np.uint8], Tensor)
"""``(people, height, width, 3)`` uint8 RGB crops: an array, or a tensor on a device."""

_Spans = list[tuple[int, slice]]
"""A batch: numbers of pictures, and which of their people."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """How crops become points.

    Attributes:
        codec: of the head.
        crop: size of the crops in pixels.
        mirror: for every keypoint its mirror partner, to run the mirrored crops too and average; None does not.
    """

    codec: Codec
    crop: Size
    mirror: tuple[int, ...] | None = None

    def __call__(self, crops: Pixels, run: Callable[[Pixels], Tensor]) -> tuple[Tensor, Tensor]:
        """Return ``(people, keypoints, 2)`` points in crop pixels and ``(people, keypoints)`` scores.

        Args:
            crops: ``(people, height, width, 3)`` uint8 RGB.
            run: the model, crops to heatmaps.
        """
        heatmaps = run(crops)
        if self.mirror is not None:
            heatmaps = self.codec.merge_flipped(heatmaps, run(_mirrored(crops)), self.mirror)
        return self.codec.decode(heatmaps, self.crop)


class Lane(Protocol):
    """Takes the people of some pictures from crop to point."""

    def points(self, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
        """Return points in crop pixels and scores of all people of the parts, in order.

        Raises:
            torch.OutOfMemoryError: they are too many at a time.
        """

    def fetch(self, points: Tensor, scores: Tensor) -> Fetched:
        """Start to bring points and scores into memory."""


@dataclass(frozen=True, slots=True)
class MemoryLane:
    """Crops in memory, for every engine.

    Attributes:
        images: ``(height, width, 3)`` uint8 RGB pictures.
        engine: runs the model.
        read: from its heatmaps to points.
    """

    images: Sequence[Image]
    engine: Engine
    read: Reading

    def points(self, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
        """Cut, run and read; see ``Lane``.

        Raises:
            UsageError: the engine does not keep to its protocol.
        """
        crops = np.concatenate([transform.warp(self.images[i]) for i, transform in parts])
        return self.read(crops, self._heatmaps)

    def fetch(self, points: Tensor, scores: Tensor) -> Fetched:
        """Nothing to wait for."""
        return lambda: (points.numpy(), scores.numpy())

    def _heatmaps(self, crops: NDArray[np.uint8]) -> Tensor:
        heatmaps = self.engine(crops)
        expected = (len(crops), self.engine.num_keypoints, *self.engine.heatmap_size)
        if heatmaps.shape != expected or heatmaps.dtype != np.float32:
            raise UsageError(
                f"engine {self.engine.name!r} gave heatmaps {heatmaps.shape} of {heatmaps.dtype} for {len(crops)}"
                f" crops; they must be {expected} of float32"
            )
        return torch.from_numpy(heatmaps)


class Batches:
    """Cuts the people of several pictures into batches and joins what was found; may be called from several threads.

    When the memory does not suffice for a batch, batches are halved from then on, and a warning says so once.
    """

    def __init__(self, scales: Scales, size: int, keypoints: int) -> None:
        """Prepare.

        Args:
            scales: that every person is looked at in.
            size: people a batch.
            keypoints: of the head.
        """
        self._scales, self._keypoints = scales, keypoints
        self._size, self._room = size, size
        self._lock = threading.Lock()

    def __call__(self, lane: Lane, transforms: Sequence[CropTransform]) -> tuple[list[Floats], list[Floats]]:
        """Return the points in picture pixels and the scores of everybody in every picture.

        Args:
            lane: does the work.
            transforms: where the people of each picture are.

        Raises:
            VitPoseError: the memory does not suffice for a single person.
        """
        points = [np.zeros((len(people), self._keypoints, 2), np.float32) for people in transforms]
        scores = [np.zeros((len(people), self._keypoints), np.float32) for people in transforms]
        started = [
            (spans, fetched)
            for batch in _cut([len(people) for people in transforms], self._size)
            for spans, fetched in self._run(lane, transforms, batch)
        ]
        for spans, fetched in started:
            found, worth = fetched()
            start = 0
            for i, people in spans:
                stop = start + people.stop - people.start
                points[i][people] = transforms[i][people].to_image(found[start:stop])
                scores[i][people] = worth[start:stop]
                start = stop
        return points, scores

    def _run(self, lane: Lane, transforms: Sequence[CropTransform], batch: _Spans) -> Iterator[tuple[_Spans, Fetched]]:
        """Start a batch, in one piece where the memory suffices."""
        done, people = 0, _count(batch)
        while done < people:
            spans = _some(batch, done, min(done + self._room, people))
            fetched = self._try(lane, transforms, spans)
            if fetched is not None:
                yield spans, fetched
                done += _count(spans)

    def _try(self, lane: Lane, transforms: Sequence[CropTransform], spans: _Spans) -> Fetched | None:
        """Start some people; ``None`` means the memory did not suffice and batches are smaller from now on."""
        try:
            found = [
                lane.points([(i, scaled(transforms[i][people], scale)) for i, people in spans])
                for scale in self._scales.factors
            ]
            return lane.fetch(*self._scales.join(found))
        except torch.OutOfMemoryError as error:
            if _count(spans) == 1:
                raise VitPoseError(
                    "there is not enough memory on the device for one person; use a smaller model or another device"
                ) from error
        # Outside the handler, so that the failed attempt's memory is no longer held by the exception.
        torch.cuda.empty_cache()
        self._shrink(_count(spans) // 2)
        return None

    def _shrink(self, room: int) -> None:
        with self._lock:
            first = self._room == self._size
            self._room = min(room, self._room)
        if first:
            _log.warning(
                "not enough memory for %d people at a time: halving that until it fits; a smaller batch_size avoids the"
                " failed attempts",
                2 * room,
            )


def _mirrored(crops: Pixels) -> Pixels:
    return crops.flip(2) if isinstance(crops, Tensor) else np.ascontiguousarray(crops[:, :, ::-1])


def _cut(people: Sequence[int], size: int) -> Iterator[_Spans]:
    """Cut the people of several pictures into batches of at most ``size``."""
    batch: _Spans = []
    room = size
    for image, count in enumerate(people):
        start = 0
        while start < count:
            stop = min(start + room, count)
            batch.append((image, slice(start, stop)))
            room -= stop - start
            start = stop
            if room == 0:
                yield batch
                batch, room = [], size
    if batch:
        yield batch


def _count(spans: _Spans) -> int:
    return sum(people.stop - people.start for _, people in spans)


def _some(spans: _Spans, start: int, stop: int) -> _Spans:
    """Return the people from ``start`` to before ``stop`` of a batch."""
    chosen, first = [], 0
    for image, people in spans:
        low, high = max(start - first, 0), min(stop - first, people.stop - people.start)
        if low < high:
            chosen.append((image, slice(people.start + low, people.start + high)))
        first += people.stop - people.start
    return chosen
