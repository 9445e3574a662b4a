"""Exported ``.xml`` and ``.onnx`` files, run by OpenVINO."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from vitpose.core.errors import UsageError, WeightsError, nearest
from vitpose.core.extras import require
from vitpose.core.geometry import Size
from vitpose.engines.base import Crops, Heatmaps, check_crops
from vitpose.engines.description import CROPS, ENTRY, HEATMAPS, Description
from vitpose.engines.dynamic import compress_weights
from vitpose.engines.threads import fit_forked_threads, usable_cores

DYNAMIC = "int8-dynamic"

PRECISIONS = ("fp32", "fp16", "bf16", "int8", DYNAMIC)


_CORES: dict[int, Any] = {}


def shared_core(openvino: Any) -> Any:
    """Return this process's one ``Core``, which lives as long as the process; a forked child gets its own.

    The CPU plugin of a ``Core`` gives the calling thread another stack for signals and takes it away when the ``Core``
    is gone. If several go in the order they came, the thread is left with a stack that was freed, and the next Ctrl-C
    is a segmentation fault (seen with OpenVINO 2026.4).
    """
    process = os.getpid()
    if process not in _CORES:
        _CORES[process] = openvino.Core()
    return _CORES[process]


class OpenVinoEngine:
    """Runs an exported file on the CPU; may be called from several threads and after a fork."""

    def __init__(
        self, path: str | Path, *, precision: str | None = None, threads: int | None = None, batch_size: int = 16
    ) -> None:
        """Open a file.

        Args:
            path: a file written by ``vitpose export``, for OpenVINO or ONNX.
            precision: of the arithmetic; what the file was exported for by default. ``bf16`` is several times faster
                than ``fp32`` where the CPU has it, and runs as ``fp32`` where it has not; ``int8-dynamic`` rounds the
                linear layers of a file in higher precision while it runs (see ``dynamic.py``).
            threads: for one call; the cores there are by default.
            batch_size: crops run at a time.

        Raises:
            MissingExtraError: OpenVINO is not installed.
            WeightsError: not a file, or not one of ours.
            UsageError: an unknown precision, or a batch size below 1.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        self._openvino: Any = require("openvino", "openvino", "running a model with OpenVINO")
        self._path = Path(path)
        self._threads = threads or usable_cores()
        self._batch = batch_size
        self._lock = threading.Lock()
        self._local = threading.local()
        graph = read_graph(self._openvino, self._path)
        self.description = describe_graph(graph, str(path))
        self.precision = precision or self.description.precision
        if self.precision not in PRECISIONS:
            raise UsageError(f"unknown precision {self.precision!r}{nearest(self.precision, PRECISIONS)}")
        self._compiled: Any = self._compile(graph)
        self._process = os.getpid()
        self.name = f"openvino-cpu-{self.precision}"
        self.dataset = self.description.head.dataset
        self.input_size: Size = self.description.spec.input_size
        self.heatmap_size: Size = self.description.spec.heatmap_size
        self.num_keypoints = self.description.head.keypoints

    def __call__(self, crops: Crops) -> Heatmaps:
        """Return ``(people, keypoints, height, width)`` float32; see ``Engine``.

        Raises:
            UsageError: crops of another type or size, or the engine is closed.
        """
        check_crops(crops, self.input_size)
        result: Heatmaps = np.empty((len(crops), self.num_keypoints, *self.heatmap_size), dtype=np.float32)
        request = self._request()
        for start in range(0, len(crops), self._batch):
            part = np.ascontiguousarray(crops[start : start + self._batch])
            request.infer({CROPS: part}, share_inputs=True)
            result[start : start + len(part)] = request.get_tensor(HEATMAPS).data
        return result

    def outputs(self, crops: Crops, names: list[str]) -> list[Any]:
        """Return the named outputs for one batch: keypoints and scores of an end-to-end file.

        Raises:
            UsageError: crops of another type or size, or the engine is closed.
        """
        check_crops(crops, self.input_size)
        request = self._request()
        request.infer({CROPS: np.ascontiguousarray(crops)}, share_inputs=True)
        return [np.array(request.get_tensor(name).data) for name in names]

    def close(self) -> None:
        """Let go of the compiled model."""
        with self._lock:
            self._compiled = None
            self._process = 0
            self._local = threading.local()

    def _compile(self, graph: Any) -> Any:
        width, rest = self.description.spec.backbone.width, self.description.rest
        return compile_graph(self._openvino, graph, self.precision, threads=self._threads, width=width, rest=rest)

    def _request(self) -> Any:
        """Return this thread's request; a child process compiles anew, for threads do not survive a fork."""
        with self._lock:
            if self._process == 0:
                raise UsageError(f"engine {self.name} is closed")
            if self._process != os.getpid():
                # Freeing the parent's model would wait for threads that are not here.
                self._parents = self._compiled, self._local
                self._compiled = self._compile(read_graph(self._openvino, self._path))
                self._process, self._local = fit_forked_threads(self._process), threading.local()
            if not hasattr(self._local, "request"):
                self._local.request = self._compiled.create_infer_request()
            return self._local.request


def read_graph(openvino: Any, path: Path) -> Any:
    """Read an ``.xml`` or ``.onnx`` file.

    Raises:
        WeightsError: no such file, or OpenVINO cannot read it.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
        raise WeightsError(f"{path} has its weights in {path.with_suffix('.bin').name}, which is not beside it")
    try:
        return shared_core(openvino).read_model(str(path))
    except RuntimeError as error:
        raise WeightsError(f"{path} is not a model OpenVINO reads, or is damaged: export it again") from error


def describe_graph(graph: Any, where: str) -> Description:
    """Return the description a graph carries; ONNX properties arrive in OpenVINO's ``framework`` section.

    Raises:
        WeightsError: there is none, or it cannot be read.
    """
    for place in ([ENTRY], ["framework", ENTRY]):
        if graph.has_rt_info(place):
            return Description.from_json(str(graph.get_rt_info(place).value), where)
    return Description.from_json(None, where)


def compile_graph(openvino: Any, graph: Any, precision: str, *, threads: int, width: int, rest: str = "bf16") -> Any:
    """Compile for this CPU; bf16 runs as fp32 where the CPU has none.

    Args:
        openvino: the package.
        graph: with ``int8-dynamic`` its weights are replaced.
        precision: one of ``PRECISIONS``.
        threads: for one call.
        width: of the tokens; so many activations share a scale where it is found while the model runs.
        rest: precision of what is not int8 in such a graph: ``bf16`` or ``fp32``.

    Raises:
        UsageError: ``int8-dynamic`` for a file that has no layers in higher precision.
    """
    core = shared_core(openvino)
    can = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    wanted = rest if precision == "int8" else "bf16" if precision == DYNAMIC else precision
    hint = "bf16" if wanted == "bf16" and "BF16" in can else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if precision == DYNAMIC:
        if not compress_weights(graph):
            raise UsageError(f"a file of int8 layers runs as it is: leave out {DYNAMIC!r}")
        # The default of 32 spends as much time on scales as int8 saves.
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = width
    return core.compile_model(graph, "CPU", settings)
