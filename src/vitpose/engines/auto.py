"""``engine="auto"``: the fastest engine of this machine, once there is enough work to find it out."""

import contextlib
import copy
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton
from vitpose.engines.base import Crops, Engine, Heatmaps, OffersDevice, Resident
from vitpose.engines.choose import candidates, choose_engine, make_engine, recall
from vitpose.engines.eager import EagerEngine
from vitpose.engines.gate import Limits
from vitpose.engines.graph import weights_digest
from vitpose.models.pose import VitPose

_log = logging.getLogger(__name__)

ENOUGH = 256
"""Crops after which measuring pays: it costs about as much time as they did."""

COMPARED = 64
"""How many of them are kept for the gate."""


class AutoEngine:
    """Starts with PyTorch, which needs no preparation, and changes to what is fastest.

    What was chosen before on this machine for this model is used at once. Otherwise the first crops that come through
    are the real people on which the other engines are compared with the reference and measured; they are kept in memory
    only, and dropped afterwards. Small jobs never wait for this.
    """

    def __init__(
        self,
        model: VitPose,
        skeletons: Mapping[str, Skeleton],
        *,
        dataset: str | None = None,
        device: str = "auto",
        digest: str | None = None,
        enough: int = ENOUGH,
        limits: Limits | None = None,
    ) -> None:
        """Recall the choice for this machine and model, or start collecting crops.

        Args:
            model: the model.
            skeletons: of the heads, by dataset.
            dataset: which head; the first by default.
            device: ``auto``, ``cpu``, ``cuda`` and so on.
            digest: identifies the weights; computed if not given.
            enough: crops to see before measuring.
            limits: of the gate.
        """
        self._model, self._skeletons, self._device = model, skeletons, device
        self._digest = digest or weights_digest(model)
        self._enough, self._limits = enough, limits
        self._start(make_engine("eager", model, dataset=dataset, device=device))

    def _start(self, eager: EagerEngine) -> None:
        self._eager = eager
        self.dataset = eager.dataset
        self.num_keypoints = eager.num_keypoints
        self.input_size: Size = eager.input_size
        self.heatmap_size: Size = eager.heatmap_size
        self._lock = threading.Lock()
        self._kept: list[Crops] = []
        self._seen = self._held = 0
        known = recall(self._digest, dataset=self.dataset, device=self._device)
        self._waiting = known is None and len(candidates(self._device)) > 1
        if known is not None:
            _log.info("%s (remembered)", known.summary)
        self._chosen = "eager" if known is None else known.name
        self._engine: Engine | None = self._make(known.name) if known is not None else eager

    def for_dataset(self, dataset: str) -> "AutoEngine":
        """Return an engine for another head of the same model; it makes its own choice."""
        if dataset == self.dataset:
            return self
        other = copy.copy(self)
        other._start(self._eager.for_dataset(dataset))
        return other

    @property
    def name(self) -> str:
        """What runs at present."""
        return self._open().name

    def __call__(self, crops: Crops) -> Heatmaps:
        """Return ``(people, keypoints, height, width)`` float32; see ``Engine``."""
        heatmaps = self._open()(crops)
        if self._waiting and not self._held:
            with self._lock:
                self._collect(crops)
        return heatmaps

    @property
    def undecided(self) -> bool:
        """Whether what runs may still change."""
        return self._waiting

    def decide(self, crops: Crops) -> None:
        """Measure now, on ``(people, height, width, 3)`` uint8 crops of at least 8 real people."""
        with self._lock:
            self._choose(crops)

    @contextlib.contextmanager
    def held(self, name: str | None = None) -> Iterator[str]:
        """Keep to one engine while the block runs, so that a long result is of one piece.

        Args:
            name: the engine a result was begun with, as this gave it; None keeps what runs.

        Yields:
            The engine's name, as ``make_engine`` takes it.
        """
        with self._lock:
            self._held += 1
            before = self._engine, self._chosen
            borrowed = self._make(name) if name is not None and name != self._chosen else None
            if borrowed is not None and name is not None:
                self._engine, self._chosen = borrowed, name
        try:
            yield self._chosen
        finally:
            with self._lock:
                self._held -= 1
                if borrowed is not None and self._engine is borrowed:
                    self._engine, self._chosen = before
            if borrowed is not None:
                borrowed.close()

    def resident(self) -> Resident | None:
        """Return the model of what runs at present, if that offers it; people are collected there as well."""
        engine = self._open()
        offered = engine.resident() if isinstance(engine, OffersDevice) else None
        if offered is None or not self._waiting or self._held:
            return offered
        run = offered.run

        def collecting(crops: Tensor) -> Tensor:
            heatmaps = run(crops)
            # What the choice builds lives on, and must not be made of tensors that are good for inference only.
            with torch.inference_mode(mode=False), self._lock:
                self._collect(crops.cpu().numpy())
            return heatmaps

        return replace(offered, run=collecting, recordable=False)

    def close(self) -> None:
        """Close the engine in use."""
        with self._lock:
            engine, self._engine, self._waiting = self._engine, None, False
            self._kept.clear()
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
        if not self._waiting:
            return
        self._seen += len(crops)
        room = COMPARED - sum(map(len, self._kept))
        if room > 0:
            self._kept.append(np.array(crops[:room]))
        if self._seen < self._enough:
            return
        self._choose(np.concatenate(self._kept))

    def _choose(self, crops: Crops) -> None:
        self._waiting = False
        self._kept.clear()
        choice = choose_engine(
            self._model,
            crops,
            skeleton=self._skeletons[self.dataset],
            dataset=self.dataset,
            device=self._device,
            digest=self._digest,
            limits=self._limits,
        )
        _log.info("%s", choice.summary)
        self._engine, self._chosen = self._make(choice.name), choice.name
