"""The reference engine: PyTorch as it is."""

import copy
import logging
import os
import threading
from typing import Literal, cast, overload

import numpy as np
import torch
from torch import Tensor, nn

from vitpose.core.errors import UsageError, VitPoseError, nearest
from vitpose.core.geometry import Size
from vitpose.engines.base import Crops, Heatmaps, Resident, check_crops
from vitpose.engines.deploy import DeployModel
from vitpose.engines.threads import fit_forked_threads, fit_torch_threads
from vitpose.models.devices import pick_device
from vitpose.models.pose import VitPose

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_BATCH = {"cpu": 16, "cuda": 256}
"""Crops run at a time unless told otherwise: enough to keep the device busy, small enough for ViT-H."""

_log = logging.getLogger(__name__)


class EagerEngine:
    """Runs a model with PyTorch, in chunks, on any device; for several threads and, on a CPU, after a fork."""

    def __init__(
        self,
        model: VitPose,
        *,
        dataset: str | None = None,
        device: str = "auto",
        dtype: Precision = "auto",
        batch_size: int | None = None,
    ) -> None:
        """Make a model ready to run.

        The model is used as it is where it already is in evaluation mode, on the device and of the type asked for;
        otherwise a copy is, and the caller's model is left alone. In half precision the last layer of each head has
        float32 weights and computes in float32: maps are read to a hundredth of a pixel, and which of two like peaks is
        higher decides between places, which eight bits do not carry.

        Args:
            model: the model.
            dataset: which head to run; the first by default.
            device: ``auto`` (CUDA, else Apple's MPS, else CPU) or a PyTorch device.
            dtype: type of the weights and the arithmetic; ``auto`` is bf16 on CUDA (fp16 where the GPU has no bf16)
                and fp32 elsewhere.
            batch_size: crops run at a time. When a GPU's memory does not suffice, it is halved until it does.

        Raises:
            UsageError: no such head, device or type, or a batch size below 1.
        """
        place = pick_device(device)
        if place.type == "cpu":
            fit_torch_threads()
        precision = _precision(dtype, place)
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        self._deploy: DeployModel | None = DeployModel(_ready(model, place, _TYPES[precision]), dataset)
        self._device = place
        self._batch = batch_size or _BATCH.get(place.type, _BATCH["cpu"])
        self._warned = False
        self._lock = threading.Lock()
        self._process = os.getpid()
        self.name = f"eager-{place}-{precision}"
        self.dataset = self._deploy.head.dataset
        self.num_keypoints = self._deploy.head.keypoints
        self.input_size: Size = model.spec.input_size
        self.heatmap_size: Size = model.spec.heatmap_size

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._device

    @property
    def model(self) -> VitPose:
        """The model as it runs: in evaluation mode, on the device, in the type of the arithmetic.

        Raises:
            UsageError: the engine is closed.
        """
        return self._open().model

    def for_dataset(self, dataset: str) -> "EagerEngine":
        """Return an engine for another head of the same model; the weights are shared.

        Raises:
            UsageError: the model has no such head, or the engine is closed.
        """
        deploy = self._open()
        other = copy.copy(self)
        other._deploy = DeployModel(deploy.model, dataset).eval()
        other._lock = threading.Lock()
        other.dataset = other._deploy.head.dataset
        other.num_keypoints = other._deploy.head.keypoints
        return other

    def resident(self) -> Resident | None:
        """Return the model for crops that are on its GPU already; None on other devices.

        Raises:
            UsageError: the engine is closed.
        """
        deploy = self._open()
        # Where the weights are now: whoever shares the model may have moved it since.
        place = deploy.model.backbone.pos_embed.device
        return Resident(place, deploy, deploy, recordable=True) if place.type == "cuda" else None

    @overload
    def __call__(self, crops: Crops) -> Heatmaps: ...

    @overload
    def __call__(self, crops: Tensor) -> Tensor: ...

    def __call__(self, crops: Crops | Tensor) -> Heatmaps | Tensor:
        """Return ``(people, keypoints, height, width)`` float32 for ``(people, height, width, 3)`` uint8 RGB crops.

        An array gives an array; a tensor, on any device, gives a tensor on the engine's device.

        Raises:
            UsageError: crops of another type or size, or the engine is closed.
            VitPoseError: the GPU's memory does not suffice for a single crop.
        """
        deploy = self._open()
        check_crops(crops, self.input_size)
        self._process = fit_forked_threads(self._process)
        shape = (len(crops), self.num_keypoints, *self.heatmap_size)
        if isinstance(crops, Tensor):
            result = torch.empty(shape, dtype=torch.float32, device=self._device)
        else:
            result = torch.empty(shape, dtype=torch.float32)
        start = 0
        with torch.inference_mode():
            while start < len(crops):
                size = self._batch
                part = self._run(deploy, crops[start : start + size], size)
                if part is not None:
                    result[start : start + len(part)] = part
                    start += len(part)
        return result if isinstance(crops, Tensor) else result.numpy()

    def close(self) -> None:
        """Let go of the model; engines made with ``for_dataset`` keep theirs."""
        self._deploy = None

    def _open(self) -> DeployModel:
        if self._deploy is None:
            raise UsageError(f"engine {self.name} is closed")
        return self._deploy

    def _run(self, deploy: DeployModel, crops: Crops | Tensor, size: int) -> Tensor | None:
        """Run one chunk; ``None`` means the memory did not suffice and the chunks are smaller from now on."""
        try:
            # The copy makes read-only and mirrored arrays fit for PyTorch; it is small beside the model's work.
            chunk = crops if isinstance(crops, Tensor) else torch.from_numpy(np.array(crops))
            # Where the weights are now: whoever shares the model may have moved it since.
            heatmaps: Tensor = deploy(chunk.to(deploy.model.backbone.pos_embed.device))
        except torch.OutOfMemoryError as error:
            if len(crops) == 1:
                raise VitPoseError(
                    f"{self._device} has not enough memory for one crop; use a smaller model or another device"
                ) from error
        else:
            return heatmaps
        # Outside the handler, so that the failed attempt's memory is no longer held by the exception.
        torch.cuda.empty_cache()
        self._shrink(min(size, len(crops)) // 2)
        return None

    def _shrink(self, size: int) -> None:
        with self._lock:
            self._batch = min(size, self._batch)
            if not self._warned:
                self._warned = True
                _log.warning(
                    "not enough memory on %s for %d crops at a time: halving that until it fits; a smaller batch_size"
                    " avoids the failed attempts",
                    self._device,
                    2 * size,
                )


def _precision(name: str, device: torch.device) -> str:
    if name == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name not in _TYPES:
        raise UsageError(f"unknown dtype {name!r}{nearest(name, ('auto', *_TYPES))}")
    return name


def _ready(model: VitPose, device: torch.device, dtype: torch.dtype) -> VitPose:
    """Return the model, or a copy of it, in evaluation mode on ``device`` as ``dtype``."""
    last = {id(tensor) for head in model.heads.values() for tensor in cast(nn.Module, head.out).parameters()}
    fits = all(
        (tensor.device, tensor.dtype) == (device, torch.float32 if id(tensor) in last else dtype)
        for tensor in model.parameters()
    )
    if fits and not any(module.training for module in model.modules()):
        return model
    ready = copy.deepcopy(model).to(device=device, dtype=dtype).eval()
    for name, head in ready.heads.items():
        exact = copy.deepcopy(cast(nn.Module, model.heads[name].out))  # not by way of the shorter type
        head.out = exact.to(device=device, dtype=torch.float32).eval()
    return ready
