"""Exported ``.onnx`` files, run by ONNX Runtime."""

import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from vitpose.core.errors import UsageError, VitPoseError, WeightsError
from vitpose.core.extras import require
from vitpose.core.geometry import Size
from vitpose.engines.base import Crops, Heatmaps, check_crops
from vitpose.engines.description import CROPS, ENTRY, HEATMAPS, Description
from vitpose.engines.threads import fit_forked_threads, usable_cores

_log = logging.getLogger(__name__)


class OnnxRuntimeEngine:
    """Runs an exported file; may be called from several threads and after a fork."""

    def __init__(
        self, path: str | Path, *, device: str = "cpu", threads: int | None = None, batch_size: int = 16
    ) -> None:
        """Open a file.

        Args:
            path: a file written by ``vitpose export``.
            device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto`` (CUDA where this ONNX Runtime has it).
            threads: for one call; the cores there are by default.
            batch_size: crops run at a time.

        Raises:
            MissingExtraError: ONNX Runtime is not installed.
            WeightsError: not a file, or not one of ours.
            UsageError: a device this ONNX Runtime cannot use, a batch size below 1, or a precision it cannot run.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        self._runtime: Any = require("onnxruntime", "onnx", "running an .onnx file")
        self._path = Path(path)
        self._provider = _provider(self._runtime, device)
        self._number = int(device.partition(":")[2] or 0)
        self._threads = threads or usable_cores()
        self._batch = batch_size
        self._lock = threading.Lock()
        self._session: Any = self._start()
        self._process = os.getpid()
        properties = self._session.get_modelmeta().custom_metadata_map
        self.description = Description.from_json(properties.get(ENTRY), str(path))
        place = "cuda" if self._provider.startswith("CUDA") else "cpu"
        self.name = f"onnxruntime-{place}-{self.description.precision}"
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
        session = self._open()
        for start in range(0, len(crops), self._batch):
            part = np.ascontiguousarray(crops[start : start + self._batch])
            result[start : start + len(part)] = session.run([HEATMAPS], {CROPS: part})[0]
        return result

    def outputs(self, crops: Crops, names: list[str]) -> list[Any]:
        """Return the named outputs for one batch, as they come: keypoints and scores of an end-to-end file.

        Raises:
            UsageError: crops of another type or size, or the engine is closed.
        """
        check_crops(crops, self.input_size)
        found: list[Any] = self._open().run(names, {CROPS: np.ascontiguousarray(crops)})
        return found

    def close(self) -> None:
        """Let go of the session."""
        with self._lock:
            self._session = None
            self._process = 0

    def _open(self) -> Any:
        """Return the session, a new one in a child process: threads do not survive a fork."""
        with self._lock:
            if self._process == 0:
                raise UsageError(f"engine {self.name} is closed")
            if self._process != os.getpid():
                # Freeing the parent's session would wait for threads that are not here.
                self._parents = self._session
                self._session, self._process = self._start(), fit_forked_threads(self._process)
            return self._session

    def _start(self) -> Any:
        if not self._path.is_file():
            raise WeightsError(f"there is no file {self._path}")
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads make the next call start sooner and everything else on the machine slower.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        choice = {"device_id": self._number} if self._provider.startswith("CUDA") else {}
        try:
            session = self._runtime.InferenceSession(str(self._path), options, providers=[(self._provider, choice)])
        except Exception as error:  # the runtime's exceptions have no common base
            text = str(error).strip().splitlines()[-1][:300]
            if "NOT_IMPLEMENTED" in text or "NotImplemented" in type(error).__name__:
                raise UsageError(
                    f"ONNX Runtime cannot run {self._path} on this machine: {text}; export it as fp32"
                ) from error
            # A file without content is an invalid argument, a cut one an invalid protocol buffer.
            if any(word in text + type(error).__name__ for word in ("INVALID_", "InvalidProtobuf", "InvalidArgument")):
                raise WeightsError(
                    f"{self._path} is not an ONNX file, or is damaged: get or export it again"
                ) from error
            raise VitPoseError(f"ONNX Runtime cannot open {self._path}: {text}") from error
        used = session.get_providers()[0]
        if used != self._provider:  # it goes on without a word where the libraries of CUDA are missing
            raise UsageError(
                f"ONNX Runtime cannot use {self._provider} here and would take {used}: choose --device cpu"
            )
        return session


def _provider(runtime: Any, device: str) -> str:
    known = runtime.get_available_providers()
    if device == "auto":
        return "CUDAExecutionProvider" if "CUDAExecutionProvider" in known else "CPUExecutionProvider"
    kind, _, number = device.partition(":")
    if number and not number.isdecimal():
        raise UsageError(f"unknown device {device!r}: give cpu, cuda or cuda:1")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(kind)
    if provider is None or provider not in known:
        raise UsageError(f"this ONNX Runtime has no device {device!r}; it has {', '.join(known)}")
    return provider
