"""``engine="auto"``: the fastest engine of this machine, once there is enough work to find it out."""

import logging
import threading

import numpy as np

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton
from vitpose.engines.base import Crops, Engine, Heatmaps
from vitpose.engines.choose import candidates, choose_engine, make_engine, recall
from vitpose.engines.gate import Limits
from vitpose.models.pose import VitPose

_log = logging.getLogger(__name__)

ENOUGH = 64
"""Crops after which measuring pays and the gate has seen enough real people."""


class AutoEngine:
    """Starts with PyTorch, which needs no preparation, and changes to what is fastest.

    What was chosen before on this machine for this model is used at once. Otherwise the first ``ENOUGH`` crops that
    come through are the real people on which the other engines are compared with the reference and measured; they are
    kept in memory only, and dropped afterwards. Small jobs never wait for this.
    """

    def __init__(
        self,
        model: VitPose,
        skeleton: Skeleton,
        *,
        dataset: str | None = None,
        device: str = "auto",
        enough: int = ENOUGH,
        limits: Limits | None = None,
    ) -> None:
        """Recall the choice for this machine and model, or start collecting crops.

        Args:
            model: the model.
            skeleton: of ``dataset``.
            dataset: which head; the first by default.
            device: ``auto``, ``cpu``, ``cuda`` and so on.
            enough: crops to collect.
            limits: of the gate.
        """
        head = model.spec.head(dataset)
        self.dataset = head.dataset
        self.num_keypoints = head.keypoints
        self.input_size: Size = model.spec.input_size
        self.heatmap_size: Size = model.spec.heatmap_size
        self._model, self._skeleton, self._device = model, skeleton, device
        self._enough, self._limits = enough, limits
        self._lock = threading.Lock()
        self._seen: list[Crops] | None = []
        known = recall(model, dataset=self.dataset, device=device)
        if known is not None or len(candidates(device)) == 1:
            self._seen = None
        if known is not None:
            _log.info("%s (remembered)", known.summary)
        self._engine: Engine | None = self._make(known.name if known is not None else "eager")

    @property
    def name(self) -> str:
        """What runs at present."""
        return self._open().name

    def __call__(self, crops: Crops) -> Heatmaps:
        """Return ``(people, keypoints, height, width)`` float32; see ``Engine``."""
        heatmaps = self._open()(crops)
        if self._seen is not None:
            with self._lock:
                self._collect(crops)
        return heatmaps

    def close(self) -> None:
        """Close the engine in use."""
        with self._lock:
            engine, self._engine, self._seen = self._engine, None, None
        if engine is not None:
            engine.close()

    def _open(self) -> Engine:
        engine = self._engine
        if engine is None:
            raise UsageError("engine auto is closed")
        return engine

    def _make(self, name: str) -> Engine:
        engine: Engine = make_engine(name, self._model, dataset=self.dataset, device=self._device)
        return engine

    def _collect(self, crops: Crops) -> None:
        """Keep copies until there are enough, then measure and change over; who is running finishes undisturbed."""
        if self._seen is None:
            return
        self._seen.append(np.array(crops[: self._enough]))
        if sum(map(len, self._seen)) < self._enough:
            return
        seen = np.concatenate(self._seen)[: self._enough]
        self._seen = None
        choice = choose_engine(
            self._model,
            seen,
            skeleton=self._skeleton,
            dataset=self.dataset,
            device=self._device,
            limits=self._limits,
        )
        _log.info("%s", choice.summary)
        self._engine = self._make(choice.name)
