"""CUDA graphs: all launches of a call recorded once and played back together.

For few people a GPU waits for the next kernel to be started longer than it computes, so playing back a recording is
what makes one crop fast.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitpose.core.geometry import Size
from vitpose.engines.base import Resident

SIZES = (1, 2, 4, 8)
"""Numbers of people recordings are made for; fewer are padded. With more, starting kernels costs next to nothing."""

Outputs = tuple[Tensor, ...]

Read = Callable[[Tensor, Callable[[Tensor], Tensor]], tuple[Tensor, Tensor]]
"""From crops, and the model that makes heatmaps of them, to points and scores, all on the device."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Captured:
    """A CUDA graph of one batch size."""

    graph: Any
    crops: Tensor
    outputs: Outputs

    @classmethod
    def of(cls, run: Callable[[Tensor], Outputs], size: int, input_size: Size, device: torch.device) -> "Captured":
        """Warm up on a side stream, as capture demands, and record.

        Args:
            run: from ``(people, height, width, 3)`` uint8 crops on the device to tensors there; must neither wait for
                the device nor look at what is computed on it.
            size: people.
            input_size: of the crops.
            device: a CUDA device.
        """
        crops = torch.zeros((size, *input_size, 3), dtype=torch.uint8, device=device)
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                run(crops)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may allocate meanwhile; by default that would break the recording.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            outputs = run(crops)
        return cls(graph, crops, outputs)

    def __call__(self, crops: Tensor) -> Outputs:
        """Copy crops in, at most as many as were recorded, play back, and return what the next call overwrites."""
        self.crops[: len(crops)].copy_(crops, non_blocking=True)
        self.graph.replay()
        return self.outputs


def addresses(module: nn.Module) -> tuple[int, ...]:
    """Return where the weights are: a recording reads there, whatever has become of them."""
    return tuple(tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers()))


class Recordings:
    """Runs few people from recordings and many as they are; may be called from several threads.

    A recording is thrown away when the weights were moved, and made again. Where a recording cannot be made, that is
    said once, and everything runs without.
    """

    def __init__(self, read: Read) -> None:
        """Keep what is done to crops; nothing is recorded yet.

        Args:
            read: from crops to points and scores.
        """
        self._read = read
        self._lock = threading.Lock()
        self._known: dict[int, Captured] = {}
        self._made_of: tuple[object, ...] = ()
        self._impossible = False
        self._last: Any = None

    def __call__(self, resident: Resident, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return points in crop pixels and scores on the device.

        Args:
            resident: the model.
            crops: ``(people, height, width, 3)`` uint8 RGB on its device.

        Raises:
            torch.OutOfMemoryError: too many at a time.
        """
        people = len(crops)
        if resident.recordable and 0 < people <= SIZES[-1] and not self._impossible:
            with self._lock:
                captured = self._recording(resident, crops, next(size for size in SIZES if size >= people))
                if captured is not None:
                    return self._play(captured, crops)
        return self._read(crops, resident.run)

    def _play(self, captured: Captured, crops: Tensor) -> tuple[Tensor, Tensor]:
        stream = torch.cuda.current_stream(crops.device)
        if self._last is not None:
            # Another thread's stream may still be reading what the recording is about to overwrite.
            stream.wait_event(self._last)
        points, scores = (output[: len(crops)].clone() for output in captured(crops))
        self._last = stream.record_event()
        return points, scores

    def _recording(self, resident: Resident, crops: Tensor, size: int) -> Captured | None:
        made_of = (resident.module, addresses(resident.module))
        if made_of != self._made_of:
            self._known.clear()
            self._made_of = made_of
        if size not in self._known:
            try:
                self._known[size] = Captured.of(
                    lambda pixels: self._read(pixels, resident.run), size, Size(*crops.shape[1:3]), crops.device
                )
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._impossible = True
                _log.warning("no CUDA graph can be recorded, so few people at a time run slower: %s", error)
                return None
        return self._known[size]
