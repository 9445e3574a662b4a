"""PyTorch's compiler: one graph for each of a few batch sizes, captured as a CUDA graph on a GPU."""

import copy
import shutil
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.engines.base import Crops, Heatmaps, Resident, check_crops
from vitpose.engines.captured import Captured, addresses
from vitpose.engines.deploy import DeployModel
from vitpose.engines.eager import EagerEngine, Precision
from vitpose.models.pose import VitPose

BATCHES = (1, 4, 16, 64)
"""A batch is padded to the next of these, so that there are never more graphs than this, whatever people do."""


class CompiledEngine:
    """Runs a compiled model; may be called from several threads, which take turns."""

    def __init__(
        self,
        model: VitPose,
        *,
        dataset: str | None = None,
        device: str = "auto",
        dtype: Precision = "auto",
        batch_sizes: tuple[int, ...] = BATCHES,
        backend: str = "inductor",
    ) -> None:
        """Make a model ready; each batch size is compiled when it is first needed.

        Args:
            model: left alone.
            dataset: which head; the first by default.
            device: see ``EagerEngine``.
            dtype: see ``EagerEngine``.
            batch_sizes: sizes that batches are padded to; larger ones are cut.
            backend: of ``torch.compile``.

        Raises:
            UsageError: no such head, device or type, no batch sizes, or no C++ compiler where one is needed.
        """
        if not batch_sizes or min(batch_sizes) < 1 or len(set(batch_sizes)) > 8:
            raise UsageError(f"batch_sizes must be one to eight numbers from 1 up, not {batch_sizes}")
        self._eager = EagerEngine(model, dataset=dataset, device=device, dtype=dtype)
        place = self._eager.device
        if backend == "inductor":
            check_compiler(place)
        self._backend = backend
        self._sizes = tuple(sorted(set(batch_sizes)))
        self._lock = threading.Lock()
        self._start()
        self.name = self._eager.name.replace("eager", "compiled")
        self.dataset = self._eager.dataset
        self.num_keypoints = self._eager.num_keypoints
        self.input_size: Size = self._eager.input_size
        self.heatmap_size: Size = self._eager.heatmap_size

    def _start(self) -> None:
        self._functions: dict[int, Any] | None = {}
        self._recordings: dict[int, Captured] = {}
        self._recorded_at: tuple[int, ...] = ()

    def for_dataset(self, dataset: str) -> "CompiledEngine":
        """Return an engine for another head of the same model; the weights are shared, the graphs are its own."""
        other = copy.copy(self)
        other._eager = self._eager.for_dataset(dataset)
        other._lock = threading.Lock()
        other._start()
        other.dataset, other.num_keypoints = dataset, other._eager.num_keypoints
        return other

    def __call__(self, crops: Crops) -> Heatmaps:
        """Return ``(people, keypoints, height, width)`` float32; see ``Engine``.

        Raises:
            UsageError: crops of another type or size, or the engine is closed.
        """
        check_crops(crops, self.input_size)
        result: Heatmaps = np.empty((len(crops), self.num_keypoints, *self.heatmap_size), dtype=np.float32)
        start = 0
        while start < len(crops):
            part = crops[start : start + self._sizes[-1]]
            result[start : start + len(part)] = self._run(part)
            start += len(part)
        return result

    def close(self) -> None:
        """Let go of the model and all graphs."""
        with self._lock:
            self._functions = None
            self._recordings.clear()
        self._eager.close()

    def resident(self) -> Resident | None:
        """Return the compiled model for crops that are on its GPU already; None on other devices.

        Raises:
            UsageError: the engine is closed.
        """
        model = self._eager.model
        place = model.backbone.pos_embed.device
        return Resident(place, self._run_there, model, recordable=True) if place.type == "cuda" else None

    def _run_there(self, crops: Tensor) -> Tensor:
        """Run crops on the device, padded and cut as those in memory are."""
        parts = []
        for part in torch.split(crops, self._sizes[-1]):
            size = next(size for size in self._sizes if size >= len(part))
            padded = (
                part if len(part) == size else torch.cat([part, part.new_zeros((size - len(part), *part.shape[1:]))])
            )
            with self._lock:
                parts.append(self._function(size)(padded)[: len(part)])
        return torch.cat(parts)

    def _run(self, crops: Crops) -> Heatmaps:
        size = next(size for size in self._sizes if size >= len(crops))
        padded = np.zeros((size, *self.input_size, 3), dtype=np.uint8)
        padded[: len(crops)] = crops
        with self._lock, torch.inference_mode():
            heatmaps: Tensor = self._graph(size)(torch.from_numpy(padded))
            found: Heatmaps = heatmaps[: len(crops)].cpu().numpy()
        return found

    def _graph(self, size: int) -> Any:
        """Return what runs one batch size from memory: on a GPU a recording, made again when the weights were moved."""
        function = self._function(size)
        place = self._eager.model.backbone.pos_embed.device
        if place.type != "cuda":
            return function
        weights = addresses(self._eager.model)
        if self._recorded_at != weights:
            self._recordings.clear()
            self._recorded_at = weights
        if size not in self._recordings:
            self._recordings[size] = Captured.of(lambda crops: (function(crops),), size, self.input_size, place)
        return lambda crops: self._recordings[size](crops)[0]

    def _function(self, size: int) -> Any:
        """Compile for one batch size, once: a graph with a free size would be compiled again and again."""
        if self._functions is None:
            raise UsageError(f"engine {self.name} is closed")
        if size not in self._functions:
            deploy = DeployModel(self._eager.model, self.dataset).eval()

            def forward(crops: Tensor) -> Tensor:
                heatmaps: Tensor = deploy(crops)
                return heatmaps

            # The compiler counts how often it compiles each code object and gives up at eight, so every one is its own.
            forward.__code__ = forward.__code__.replace(co_name=f"forward_{self.dataset}_{size}")
            self._functions[size] = torch.compile(forward, backend=self._backend, dynamic=False, fullgraph=True)
        return self._functions[size]


def check_compiler(place: torch.device) -> None:
    """Refuse to compile where that cannot work.

    Raises:
        UsageError: a CPU, and no C++ compiler.
    """
    if place.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise UsageError("compiling for the CPU needs a C++ compiler, and there is none; use engine='eager'")
