"""Which engine is fastest here? Measured on this machine, among those that find the same keypoints, and remembered."""

import json
import logging
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import torch

from vitpose._version import __version__
from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError, VitPoseError, nearest
from vitpose.core.files import atomic_write_text
from vitpose.core.skeleton import Skeleton
from vitpose.engines.base import Crops, Engine
from vitpose.engines.compiled import CompiledEngine
from vitpose.engines.eager import EagerEngine
from vitpose.engines.files import DeferredEngine, cache_folder, from_cache
from vitpose.engines.gate import Limits, compare
from vitpose.engines.graph import weights_digest
from vitpose.engines.onnxruntime import OnnxRuntimeEngine
from vitpose.engines.openvino import OpenVinoEngine
from vitpose.engines.processor import has_bf16, has_int8, processor_name
from vitpose.engines.threads import usable_cores
from vitpose.models.pose import VitPose

_log = logging.getLogger(__name__)

REFERENCE = "eager-fp32"

_BATCH = 8
_REPEATS = 3

Build = Callable[[VitPose, str | None, str], Engine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One candidate: milliseconds a crop in batches of 8, and why it was refused ("" if it was not)."""

    name: str
    ms: float
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is fastest on a machine for a model, and what else was tried."""

    name: str
    tried: tuple[Tried, ...]

    @property
    def summary(self) -> str:
        """One line for people."""
        shown = ", ".join(
            f"{one.name} {one.ms:.1f} ms" + (f" ({one.refused})" if one.refused else "")
            for one in sorted(self.tried, key=lambda one: one.ms)
        )
        return f"engine {self.name}: fastest here of {shown}"


def make_engine(name: str, model: VitPose, *, dataset: str | None = None, device: str = "auto") -> Any:
    """Return an engine by name for one head of a model; it has ``for_dataset`` for the others.

    Args:
        name: ``eager``, ``compiled``, ``onnxruntime`` or ``openvino``, each with ``-fp32``, ``-bf16`` or ``-fp16``
            where it has that; ``openvino-int8-dynamic``.
        model: the model.
        dataset: which head; the first by default.
        device: ``auto``, ``cpu``, ``cuda`` and so on; OpenVINO runs on the CPU.

    Raises:
        UsageError: no such engine; the nearest one is named.
    """
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}{nearest(name, ENGINES)}")
    return ENGINES[name](model, dataset, device)


def choose_engine(
    model: VitPose,
    crops: Crops,
    *,
    skeleton: Skeleton,
    dataset: str | None = None,
    device: str = "auto",
    digest: str | None = None,
    limits: Limits | None = None,
    names: tuple[str, ...] | None = None,
) -> Choice:
    """Measure the candidates for this machine and remember the fastest that finds the reference's keypoints.

    Args:
        model: the model.
        crops: ``(people, height, width, 3)`` uint8 of real people, at least 8.
        skeleton: of ``dataset``.
        dataset: which head; the first by default.
        device: where to run.
        digest: identifies the weights; computed if not given.
        limits: of the gate.
        names: candidates; what this machine can run, by default.

    Raises:
        UsageError: too few crops, or an unknown candidate.
    """
    if len(crops) < _BATCH:
        raise UsageError(f"choosing an engine needs at least {_BATCH} crops, not {len(crops)}")
    codec = Codec.for_head(model.spec.head(dataset), model.spec.heatmap_size)
    reference = make_engine(REFERENCE, model, dataset=dataset, device=device)
    tried = [Tried(name=REFERENCE, ms=_milliseconds(reference, crops))]
    for name in names or candidates(device):
        if name == REFERENCE:
            continue
        engine = None
        try:
            engine = make_engine(name, model, dataset=dataset, device=device)
            report = compare(reference, engine, crops, skeleton=skeleton, codec=codec, limits=limits)
            refused = "; ".join(report.failures)
            tried.append(Tried(name=name, ms=_milliseconds(engine, crops), refused=refused))
        except (VitPoseError, RuntimeError) as error:
            _log.info("engine %s cannot run here: %s", name, error)
        finally:
            if engine is not None:
                engine.close()
    best = min((one for one in tried if not one.refused), key=lambda one: one.ms)
    choice = Choice(name=best.name, tried=tuple(tried))
    _remember(_choice_path(digest or weights_digest(model), model.spec.head(dataset).dataset, device), choice)
    return choice


def candidates(device: str = "auto") -> tuple[str, ...]:
    """Return the engines worth measuring on this machine.

    Compiling for a CPU takes minutes and gains little over OpenVINO, so it is not among them there.
    """
    if torch.cuda.is_available() and device.partition(":")[0] in ("auto", "cuda"):
        return ("eager-fp32", "eager-bf16", "compiled-bf16", "compiled-fp16")
    names = ["eager-fp32"]
    bf16 = has_bf16()
    if bf16:
        names.append("eager-bf16")
    if all(map(util.find_spec, ("onnx", "onnxscript"))):
        if util.find_spec("onnxruntime"):
            names.append("onnxruntime-fp32")
        if util.find_spec("openvino"):
            known = {"openvino-fp32": True, "openvino-bf16": bf16, "openvino-int8-dynamic": has_int8()}
            names += [name for name, runs in known.items() if runs]
    return tuple(names)


def recall(digest: str, *, dataset: str, device: str = "auto") -> Choice | None:
    """Return what was chosen for weights on this machine, if anything was, with the versions installed now."""
    return _read(_choice_path(digest, dataset, device))


def machine() -> dict[str, Any]:
    """Describe what a choice depends on: processor, cores, GPU and versions."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    packages = ("torch", "onnxruntime", "openvino")
    found = {name: metadata.version(name) for name in packages if util.find_spec(name)}
    cpu = f"{platform.machine()} {processor_name()}"
    return {"cpu": cpu, "cores": usable_cores(), "gpu": gpu, "vitpose": __version__, "packages": found}


def remembered() -> list[tuple[str, Choice]]:
    """Return all choices in the cache that hold for this machine, as (file name, choice), for people to look at."""
    found = []
    for path in sorted((cache_folder() / "choices").glob("*.json")):
        choice = _read(path)
        if choice is not None:
            found.append((path.stem, choice))
    return found


def _choice_path(digest: str, dataset: str, device: str) -> Path:
    return cache_folder() / "choices" / f"{digest[:24]}-{dataset}-{device.replace(':', '')}.json"


def _read(path: Path) -> Choice | None:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["machine"] != machine() or plain["name"] not in ENGINES:
            return None
        return Choice(name=plain["name"], tried=tuple(Tried(**one) for one in plain["tried"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(path: Path, choice: Choice) -> None:
    plain = {"machine": machine(), "name": choice.name, "tried": [asdict(one) for one in choice.tried]}
    try:
        atomic_write_text(path, json.dumps(plain, indent=1) + "\n")
    except VitPoseError as error:
        _log.warning("the choice of engine is not remembered: %s", error)


def _milliseconds(engine: Engine, crops: Crops) -> float:
    """Return the best of a few measurements, a crop: other work on the machine only ever adds time."""
    batch = crops[:_BATCH]
    engine(batch)
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        engine(batch)
        times.append(time.perf_counter() - start)
    return 1000 * min(times) / len(batch)


def _eager(precision: Any) -> Build:
    return lambda model, dataset, device: EagerEngine(model, dataset=dataset, device=device, dtype=precision)


def _compiled(precision: Any) -> Build:
    return lambda model, dataset, device: CompiledEngine(model, dataset=dataset, device=device, dtype=precision)


def _onnxruntime(model: VitPose, dataset: str | None, device: str) -> Engine:
    place = "cuda" if device.startswith("cuda") else "cpu"
    where = device if place == "cuda" else "cpu"
    return DeferredEngine(
        f"onnxruntime-{place}-fp32",
        model,
        lambda model, dataset: from_cache(model, dataset, lambda path: OnnxRuntimeEngine(path, device=where)),
        dataset,
    )


def _openvino(precision: str) -> Build:
    def build(model: VitPose, dataset: str | None, device: str) -> Engine:
        if device.partition(":")[0] not in ("auto", "cpu"):
            raise UsageError(f"engine openvino runs on the CPU, not on {device!r}")
        return DeferredEngine(
            f"openvino-cpu-{precision}",
            model,
            lambda model, dataset: from_cache(model, dataset, lambda path: OpenVinoEngine(path, precision=precision)),
            dataset,
        )

    return build


ENGINES: Mapping[str, Build] = {
    "eager": _eager("auto"),
    "eager-fp32": _eager("fp32"),
    "eager-bf16": _eager("bf16"),
    "eager-fp16": _eager("fp16"),
    "compiled": _compiled("auto"),
    "compiled-fp32": _compiled("fp32"),
    "compiled-bf16": _compiled("bf16"),
    "compiled-fp16": _compiled("fp16"),
    "onnxruntime": _onnxruntime,
    "onnxruntime-fp32": _onnxruntime,
    "openvino": _openvino("fp32"),
    "openvino-fp32": _openvino("fp32"),
    "openvino-bf16": _openvino("bf16"),
    "openvino-int8-dynamic": _openvino("int8-dynamic"),
}
"""Engines by name; ``auto`` is ``engines.auto.AutoEngine``."""
