"""The GPU path: throughput against the card's own matmul rate, latency, pictures against `transformers`, float8.

    python benchmarks/gpu_study.py [--sizes s,b,l,h] [--minutes 9.5] [--out FILE]
    python benchmarks/gpu_study.py --cpu --small          # does it run? no CUDA device needed, figures mean nothing

Random weights: how long arithmetic takes does not depend on them. The parts, each with its own row or error in the
results, which are written after every part, so that one that fails or a run that is cut short loses no other:

- `crops`: 256 crops in the card's memory to keypoints there, as they are and compiled, bf16, as a fraction of the
  fastest large bf16 matrix product seen in the same run, with the peak memory;
- `pictures`: a 1080p picture in memory with 20 people to poses in memory, in turns with `transformers` as documented on
  the same card; and a stream of them, where copies and computation overlap;
- `one_person`: latency of one picture with one box to its pose, and of one crop, from a recording and without;
- `agreement`: heatmaps in bf16 against the CPU's in fp32;
- `float8`: the same as `crops` with float8 linear layers (per-tensor scales), and with torchao where it is installed;
- `attention`: ViTPose-B by input size, stride and attention: people a second, memory for answers and for training.

Parts that do not fit into the minutes are left out and say so. Needs transformers for `pictures`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attention_cost import CASES
from gpu_float8 import float8, scaled_products, torchao_rows
from gpu_harness import Study, backend, crops_to_keypoints, rate, reading
from harness import RESULTS
from torch import Tensor

from vitpose.core.skeleton import load_skeleton
from vitpose.engines.base import Crops, Heatmaps, Resident
from vitpose.engines.captured import Recordings
from vitpose.engines.deploy import DeployModel
from vitpose.engines.eager import EagerEngine
from vitpose.models.cost import count_macs
from vitpose.models.pose import VitPose, create_model
from vitpose.pipeline.bench import Scene, matmul_peak
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head
from vitpose.pipeline.options import Options
from vitpose.pipeline.peer import TransformersPeer

SKELETON = load_skeleton("coco17")
QUESTION = (
    "throughput as a fraction of the card's matmul rate, latency of one person, float8, attention at 1/8 resolution,"
    " and times faster than transformers on the same card"
)


class Offered:
    """An engine that offers its model on a CPU, too, so that ``--cpu`` runs the GPU's code."""

    def __init__(self, engine: EagerEngine) -> None:
        self.name, self.num_keypoints = engine.name, engine.num_keypoints
        self.input_size, self.heatmap_size = engine.input_size, engine.heatmap_size
        self._engine, self._deploy = engine, DeployModel(engine.model).eval()

    def resident(self) -> Resident:
        """Return the model where it is."""
        return self._engine.resident() or Resident(torch.device("cpu"), self._deploy, self._deploy)

    def __call__(self, crops: Crops) -> Heatmaps:
        """Run crops from memory, which nothing here does."""
        return self._engine(crops)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


def estimator(study: Study, model: VitPose, **options: Any) -> PoseEstimator:
    engine = Offered(EagerEngine(model, device=str(study.device), dtype="bf16"))
    return PoseEstimator({"coco": Head(model.spec.head(), SKELETON, engine)}, options=Options(**options))


def pictures(study: Study, size: str) -> dict[str, Any]:
    """A picture with 20 people in turns with transformers, then a stream of pictures."""
    model, people = study.model(size), 4 if study.small else 20
    scene = Scene.made_up(people)
    ours = estimator(study, model, batch_size=study.batch)
    row: dict[str, Any] = {"people": people}
    once = study.seconds(lambda: ours(scene.image, boxes=scene.boxes))
    row["picture_ms"] = round(1000 * statistics.median(once), 3)
    several = 2 if study.small else 32
    with study.peak_memory() as memory:
        stream = study.seconds(lambda: ours([scene.image] * several, boxes=[scene.boxes] * several), 3)
    row["stream"] = rate(study, model, min(stream), several * people) | memory
    theirs = TransformersPeer(model, SKELETON, device=str(study.device))
    turns = []
    for _ in range(1 if study.small else 12):
        fast = study.seconds(lambda: ours(scene.image, boxes=scene.boxes), 1)[0]
        slow = study.seconds(lambda: theirs(scene.image, scene.boxes), 1)[0]
        turns.append((slow / fast, fast, slow))
    ratio, fast, slow = (statistics.median(column) for column in zip(*turns, strict=True))
    row |= {"times_faster": round(ratio, 2), "ours_ms": round(1000 * fast, 3), "transformers_ms": round(1000 * slow, 3)}
    row["stream_times_faster"] = round(slow * several / min(stream), 2)
    return row


def one_person(study: Study, size: str) -> dict[str, Any]:
    """Latency with a recorded graph and without."""
    model = study.model(size)
    scene = Scene.made_up(1)
    pose, row = estimator(study, model), {}
    took = study.seconds(lambda: pose(scene.image, boxes=scene.boxes), 100)
    row["picture_to_pose_ms"] = summary(took)
    row["recorded"] = bool(pose._recordings._known)
    version, read = study.on_device(model), reading(model)
    deploy = DeployModel(version).eval()
    crop, recordings = study.crops(model, 1).cpu(), Recordings(read)
    resident = Resident(study.device, deploy, version, recordable=study.device.type == "cuda")

    def run(way: Callable[[Tensor], Any]) -> Callable[[], Any]:
        return lambda: [part.cpu() for part in way(crop.to(study.device))]

    with torch.inference_mode():
        row["crop_as_it_is_ms"] = summary(study.seconds(run(lambda crops: read(crops, deploy)), 100))
        row["crop_recorded_ms"] = summary(study.seconds(run(lambda crops: recordings(resident, crops)), 100))
        fast = torch.compile(deploy, dynamic=False, fullgraph=True, backend=backend(study))
        compiled = Resident(study.device, fast, version, recordable=resident.recordable)
        both = Recordings(read)
        row["crop_compiled_and_recorded_ms"] = summary(study.seconds(run(lambda crops: both(compiled, crops)), 100))
    return row


def summary(took: list[float]) -> dict[str, float]:
    values = np.array(took) * 1000
    return {name: round(float(np.quantile(values, at)), 3) for name, at in (("median", 0.5), ("p95", 0.95))}


def agreement(study: Study, size: str) -> dict[str, Any]:
    """How far bf16 on the device is from fp32 on the CPU, in heatmaps: random weights have no keypoints to compare."""
    model = study.model(size)
    crops = study.crops(model, 2 if study.small else 8).cpu().numpy()
    expected = EagerEngine(model, device="cpu", dtype="fp32")(crops)
    found = EagerEngine(model, device=str(study.device), dtype="bf16")(crops)
    apart = np.abs(found - expected)
    spread = float(expected.std())
    return {"mean_error_by_spread": float(apart.mean()) / spread, "largest_by_spread": float(apart.max()) / spread}


def attention(study: Study, case: str) -> dict[str, Any]:
    """One row of the table of attention at 1/8 resolution."""
    parts, paper = CASES[case]
    name = "vitpose-b"
    model = create_model(name, seed=0, **parts).to(study.device, torch.bfloat16)
    people = 2 if study.small else 64
    crops = study.crops(model, people)
    deploy = DeployModel(model)
    row: dict[str, Any] = {"batch": people, "gmacs_backbone": round(count_macs(model.spec).backbone / 1e9, 2)}
    if paper:
        row["gmacs_paper"] = paper
    deploy.eval()
    with torch.inference_mode(), study.peak_memory() as memory:
        took = study.seconds(lambda: deploy(crops), 10)
    row |= rate(study, model, statistics.median(took), people) | {"answering": memory}
    deploy.train()

    def step() -> None:
        deploy(crops).square().mean().backward()
        deploy.zero_grad()

    with study.peak_memory() as memory:
        took = study.seconds(step, 3)
    return row | {"training": memory | {"people_a_second": round(people / statistics.median(took), 1)}}


def compiled_sizes(sizes: list[str]) -> list[str]:
    """The middle sizes first: compiling takes longest, and they matter most."""
    return sorted(sizes, key=lambda size: "blshti".find(size[0]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default=None, help="s,b,l,h by default; ti with --small")
    parser.add_argument("--minutes", type=float, default=9.5, help="parts that begin later are left out")
    parser.add_argument("--cpu", action="store_true", help="without a CUDA device: only to see that it runs")
    parser.add_argument("--small", action="store_true", help="few people, few repeats")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_study.json")
    given = parser.parse_args()
    device = torch.device("cpu") if given.cpu else torch.device("cuda", 0)
    study = Study(device, given.small, time.perf_counter() + 60 * given.minutes, given.out, QUESTION)
    sizes = (given.sizes or ("ti" if given.small else "s,b,l,h")).split(",")
    study.found["gpu"] = "none" if given.cpu else torch.cuda.get_device_name(device)
    study.found["torch"] = torch.__version__
    matmul = matmul_peak("bf16", str(device), **({"size": 256, "repeats": 2} if given.small else {"repeats": 30}))
    study.found["matmul_peak_gflops"] = round(matmul, 1)

    def throughput(size: str, *, compiled: bool) -> dict[str, Any]:
        model = study.model(size)
        return crops_to_keypoints(study, model, study.on_device(model), compiled=compiled)

    for size in sizes:
        study.part("crops", size, partial(throughput, size, compiled=False))
        study.part("pictures", size, partial(pictures, study, size))
        study.part("one_person", size, partial(one_person, study, size))
    for size in compiled_sizes(sizes):
        study.part("crops_compiled", size, partial(throughput, size, compiled=True))
    for case in list(CASES)[: 2 if given.small else None]:
        study.part("attention", case, partial(attention, study, case))
    for size in compiled_sizes(sizes)[:2]:
        study.part("float8", size, partial(float8, study, size, scaled_products))
        study.part("float8_torchao", size, partial(float8, study, size, torchao_rows))
    for size in sizes:
        study.part("agreement", size, partial(agreement, study, size))
    print(given.out)


if __name__ == "__main__":
    main()
