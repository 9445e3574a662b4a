"""How fast is it here? Engines by batch, stages, memory, and the distance to the hardware's limit."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.codec.codec import Codec
from vitpose.core.geometry import CropTransform
from vitpose.core.skeleton import Skeleton
from vitpose.engines.base import Engine
from vitpose.engines.choose import make_engine
from vitpose.models.cost import count_macs
from vitpose.models.devices import pick_device
from vitpose.models.pose import VitPose
from vitpose.pipeline.peer import TransformersPeer

_PICTURE = (1080, 1920, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is run: one picture and ``(people, 4)`` xyxy boxes in it."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float64]

    @classmethod
    def made_up(cls, people: int, seed: int = 0) -> "Scene":
        """Return a picture of noise with boxes of a usual size; how long a model takes does not depend on content."""
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, _PICTURE, dtype=np.uint8)
        low = rng.uniform(0, [1600, 600], (people, 2))
        return cls(image=image, boxes=np.concatenate([low, low + rng.uniform([80, 200], [300, 480], (people, 2))], 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is measured.

    Attributes:
        engines: names; see ``engines.choose.ENGINES``.
        batches: people a picture.
        repeats: turns; engines take turns, so that a slow minute of the machine hits all alike.
        device: where to run.
        transformers: also run ``transformers`` on the same weights.
        price: of an hour on this machine, in any currency; 0 leaves cost out.
    """

    engines: tuple[str, ...] = ("eager-fp32",)
    batches: tuple[int, ...] = (1, 8)
    repeats: int = 5
    device: str = "cpu"
    transformers: bool = False
    price: float = 0.0


class Ours:
    """Our way from a picture and boxes to keypoints, in three stages."""

    def __init__(self, engine: Engine, codec: Codec, scene: Scene, *, square: bool = False) -> None:
        self._engine, self._codec, self._scene, self._square = engine, codec, scene, square
        self.name = engine.name

    def before(self) -> tuple[CropTransform, NDArray[np.uint8]]:
        """Boxes to crops."""
        size = self._engine.input_size
        transform = CropTransform.from_boxes(
            self._scene.boxes, size, convention=self._codec.convention, square=self._square
        )
        return transform, transform.warp(self._scene.image)

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops to heatmaps."""
        return self._engine(crops)

    def after(self, transform: CropTransform, heatmaps: NDArray[np.float32]) -> NDArray[np.float64]:
        """Heatmaps to keypoints in the picture."""
        xy, _ = self._codec.decode(heatmaps, self._engine.input_size)
        return transform.to_image(xy.numpy())


def bench(
    model: VitPose,
    skeleton: Skeleton,
    settings: Settings,
    *,
    dataset: str | None = None,
    extra: Mapping[str, Engine] | None = None,
) -> dict[str, Any]:
    """Measure a model and return plain data.

    Args:
        model: the model.
        skeleton: of ``dataset``.
        settings: what is measured.
        dataset: which head; the first by default.
        extra: more engines for that head, by name, ready to run: exported files for instance.

    Raises:
        UsageError: an unknown engine.
        MissingExtraError: a package an engine needs is not installed.
    """
    head = model.spec.head(dataset)
    codec = Codec.for_head(head, model.spec.heatmap_size)
    named = dict.fromkeys(settings.engines)
    engines = {name: make_engine(name, model, dataset=dataset, device=settings.device) for name in named}
    engines |= extra or {}
    peer = TransformersPeer(model, skeleton, dataset=dataset, device=settings.device) if settings.transformers else None
    macs = count_macs(model.spec, dataset=dataset).total
    limits = {name: matmul_peak(_arithmetic(engine.name), settings.device) for name, engine in engines.items()}
    rows = []
    for people in settings.batches:
        scene = Scene.made_up(people)
        sides: dict[str, Callable[[], dict[str, float]]] = {
            name: partial(_ours, Ours(engine, codec, scene, square=head.square_box)) for name, engine in engines.items()
        }
        if peer is not None:
            sides["transformers"] = partial(_theirs, peer, scene)
        seconds = take_turns(sides, settings.repeats)
        rows += [_row(name, people, stages, macs, limits.get(name), settings.price) for name, stages in seconds.items()]
        if peer is not None:
            _add_ratios(rows, people, seconds)
    return {
        "model": model.spec.name,
        "dataset": head.dataset,
        "gmacs_a_person": round(macs / 1e9, 3),
        "matmul_peak_gflops": {name: round(value, 1) for name, value in limits.items()},
        "peak_memory_mib": peak_memory_mib(settings.device),
        "rows": rows,
    }


def take_turns(sides: Mapping[str, Callable[[], dict[str, float]]], repeats: int) -> dict[str, list[dict[str, float]]]:
    """Run each side once to warm up and then in turns; what each returned, turn by turn."""
    for side in sides.values():
        side()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            found[name].append(side())
    return found


def matmul_peak(precision: str, device: str = "cpu", *, size: int = 2048, repeats: int = 5) -> float:
    """Return the best rate of large square matrix products measured here, in GFLOP/s.

    Args:
        precision: ``fp32``, ``bf16``, ``fp16``; ``int8`` is held against bf16, for PyTorch has no product to measure.
        device: where.
        size: of the matrices.
        repeats: the best of so many counts.
    """
    place = pick_device(device)
    kind = {"fp32": torch.float32, "fp16": torch.float16}.get(precision, torch.bfloat16)
    size = size if place.type == "cpu" else 4 * size
    first, second = (torch.randn(size, size, device=place, dtype=kind) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):
        _wait(place)
        start = time.perf_counter()
        torch.mm(first, second)
        _wait(place)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def peak_memory_mib(device: str = "cpu") -> float:
    """Return the largest memory this process has used: of the GPU where one is used, else of the machine.

    It is 0 where the system does not count it.
    """
    if pick_device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    try:
        import resource
    except ImportError:  # Windows has no such counter
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def _arithmetic(name: str) -> str:
    return next((kind for kind in ("bf16", "fp16", "int8") if kind in name), "fp32")


def _ours(path: Ours) -> dict[str, float]:
    times = [time.perf_counter()]
    transform, crops = path.before()
    times.append(time.perf_counter())
    heatmaps = path.run(crops)
    times.append(time.perf_counter())
    path.after(transform, heatmaps)
    times.append(time.perf_counter())
    return _stages(times)


def _theirs(peer: TransformersPeer, scene: Scene) -> dict[str, float]:
    times = [time.perf_counter()]
    inputs = peer.before(scene.image, scene.boxes)
    times.append(time.perf_counter())
    outputs = peer.run(inputs)
    times.append(time.perf_counter())
    peer.after(outputs, scene.boxes)
    times.append(time.perf_counter())
    return _stages(times)


def _stages(times: Sequence[float]) -> dict[str, float]:
    before, model, after = np.diff(times).tolist()
    return {"before": before, "model": model, "after": after, "total": times[-1] - times[0]}


def _row(
    name: str, people: int, turns: list[dict[str, float]], macs: int, peak: float | None, price: float
) -> dict[str, Any]:
    middle = {stage: statistics.median(turn[stage] for turn in turns) for stage in turns[0]}
    row: dict[str, Any] = {
        "engine": name,
        "people": people,
        "latency_ms": round(1000 * middle["total"], 3),
        "ms_a_person": {stage: round(1000 * value / people, 3) for stage, value in middle.items()},
        "people_a_second": round(people / middle["total"], 2),
        "hours_a_million_people": round(middle["total"] / people * 1e6 / 3600, 2),
    }
    if price:
        row["cost_a_million_people"] = round(row["hours_a_million_people"] * price, 2)
    if peak is not None:
        reached = 2 * macs * people / middle["model"] / 1e9
        row["gflops"] = round(reached, 1)
        row["fraction_of_peak"] = round(reached / peak, 3)
    return row


def _add_ratios(rows: list[dict[str, Any]], people: int, seconds: dict[str, list[dict[str, float]]]) -> None:
    """Add how many times faster than transformers each engine is, turn against turn."""
    theirs = seconds["transformers"]
    for row in rows:
        if row["people"] == people and row["engine"] != "transformers":
            ours = seconds[row["engine"]]
            pairs = list(zip(theirs, ours, strict=True))
            row["times_faster"] = {
                "picture_to_keypoints": round(statistics.median(a["total"] / b["total"] for a, b in pairs), 2),
                "crops_to_keypoints": round(
                    statistics.median((a["model"] + a["after"]) / (b["model"] + b["after"]) for a, b in pairs), 2
                ),
            }
