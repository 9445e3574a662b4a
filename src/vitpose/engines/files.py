"""Engines for models in memory that run from a file: exported once into the cache, then opened like any other."""

import hashlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from vitpose._version import __version__
from vitpose.core.errors import UsageError, VitPoseError, WeightsError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton
from vitpose.engines.base import Crops, Engine, Heatmaps
from vitpose.engines.graph import describe, single, weights_digest, write_onnx
from vitpose.models.pose import VitPose

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return where this package keeps what it can make again.

    ``VITPOSE_HOME``, else ``vitpose`` in ``XDG_CACHE_HOME`` or ``~/.cache``: where downloaded weights go, too.
    """
    named = os.environ.get("VITPOSE_HOME")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vitpose"


def cached_onnx(model: VitPose, dataset: str | None = None) -> Path:
    """Return an fp32 ONNX file of one head of a model, exported on the first call.

    Raises:
        MissingExtraError: the packages for ONNX are not installed.
        VitPoseError: the cache cannot be written.
    """
    head = model.spec.head(dataset)
    # Another version may write another graph of the same weights.
    facts = hashlib.sha256(json.dumps([__version__, model.spec.to_dict()], sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "engines" / f"{weights_digest(model)[:24]}-{facts[:8]}-{head.dataset}.onnx"
    if path.is_file():
        return path
    _log.info("exporting %s (%s) to ONNX once, into %s", model.spec.name, head.dataset, path)
    dense = single(model, dataset)
    # Names only: who runs a cached file has the model, and with it the real skeleton.
    names = Skeleton(name=head.skeleton, keypoints=tuple(f"keypoint_{index}" for index in range(head.keypoints)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as folder:
            write_onnx(dense, Path(folder) / path.name, describe(dense, names))
            for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name):
                file.replace(path.with_name(file.name))
    except OSError as error:
        raise VitPoseError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def from_cache(model: VitPose, dataset: str | None, build: Callable[[Path], Engine]) -> Engine:
    """Return an engine on the cached file of one head; a file that was damaged is exported again, once.

    Raises:
        WeightsError: the file that was just written cannot be opened either.
        MissingExtraError: the packages for ONNX are not installed.
        VitPoseError: the cache cannot be written.
    """
    path = cached_onnx(model, dataset)
    try:
        return build(path)
    except WeightsError:
        _log.warning("%s is damaged: it is exported again", path)
        path.unlink(missing_ok=True)
        return build(cached_onnx(model, dataset))


class DeferredEngine:
    """An engine that is built when it is first called: of six heads, usually one is used."""

    def __init__(
        self, name: str, model: VitPose, build: Callable[[VitPose, str], Engine], dataset: str | None = None
    ) -> None:
        """Choose the head; nothing slow happens.

        Args:
            name: what the engine will be called.
            model: the model.
            build: makes the engine of one head.
            dataset: which head; the first by default.

        Raises:
            UsageError: no such head.
        """
        head = model.spec.head(dataset)
        self.name = name
        self.dataset = head.dataset
        self.num_keypoints = head.keypoints
        self.input_size: Size = model.spec.input_size
        self.heatmap_size: Size = model.spec.heatmap_size
        self._model = model
        self._build = build
        self._engine: Engine | None = None
        self._closed = False
        self._lock = threading.Lock()

    def for_dataset(self, dataset: str) -> "DeferredEngine":
        """Return an engine for another head of the same model."""
        if dataset == self.dataset:
            return self
        return DeferredEngine(self.name, self._model, self._build, dataset)

    def __call__(self, crops: Crops) -> Heatmaps:
        """Return heatmaps, building the engine first if need be; see ``Engine``."""
        with self._lock:
            if self._closed:
                raise UsageError(f"engine {self.name} is closed")
            if self._engine is None:
                self._engine = self._build(self._model, self.dataset)
            engine = self._engine
        return engine(crops)

    def close(self) -> None:
        """Close the engine if it was built."""
        with self._lock:
            self._closed = True
            if self._engine is not None:
                self._engine.close()
