"""What the parts of the GPU study share: timing on a device, results saved part by part, crops to keypoints."""

import copy
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import commit, machine
from torch import Tensor

from vitpose.codec.codec import Codec
from vitpose.engines.deploy import DeployModel
from vitpose.models.cost import count_macs
from vitpose.models.pose import VitPose, create_model
from vitpose.pipeline.batches import Reading


@dataclass
class Study:
    """What is measured where, and what was found so far."""

    device: torch.device
    small: bool
    deadline: float
    out: Path
    question: str
    found: dict[str, Any] = field(default_factory=dict)
    _last: VitPose | None = None

    @property
    def batch(self) -> int:
        """Crops at a time where throughput is measured."""
        return 4 if self.small else 256

    @property
    def repeats(self) -> int:
        """Calls that are timed."""
        return 1 if self.small else 20

    def part(self, name: str, row: str, measure: Callable[[], Any]) -> None:
        """Measure, write down what came out or what went wrong, and save."""
        rows = self.found.setdefault(name, {})
        start = time.perf_counter()
        if start > self.deadline:
            rows[row] = {"skipped": "no time was left"}
        else:
            try:
                rows[row] = measure()
            except Exception as error:  # a study writes down what did not work
                traceback.print_exc()
                rows[row] = {"failed": f"{type(error).__name__}: {str(error)[:500]}"}
            rows[row]["took_s"] = round(time.perf_counter() - start, 1)
            self.clean()
        print(name, row, json.dumps(rows[row]), file=sys.stderr, flush=True)
        self.save()

    def save(self) -> None:
        """Write what there is so far."""
        document = {
            "question": self.question,
            "command": " ".join(["python", *sys.argv]),
            "date": time.strftime("%Y-%m-%d"),
            "commit": commit(),
            "machine": machine(),
            "result": self.found,
        }
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(document, indent=1) + "\n")

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def clean(self) -> None:
        """Give back memory and compiled code, so that parts do not disturb each other."""
        torch.compiler.reset()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def seconds(self, run: Callable[[], Any], repeats: int | None = None) -> list[float]:
        """Time calls one by one, each to the end of its work on the device."""
        for _ in range(1 if self.small else 5):
            run()
        found = []
        for _ in range(min(repeats or self.repeats, 2) if self.small else repeats or self.repeats):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            found.append(time.perf_counter() - start)
        return found

    @contextmanager
    def peak_memory(self) -> Iterator[dict[str, float]]:
        """What the block takes at most, and what it began with, in MiB."""
        row: dict[str, float] = {}
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            row["memory_before_mib"] = round(torch.cuda.memory_allocated(self.device) / 2**20, 1)
        yield row
        if self.device.type == "cuda":
            row["peak_memory_mib"] = round(torch.cuda.max_memory_allocated(self.device) / 2**20, 1)

    def model(self, size: str) -> VitPose:
        """Return a model with random weights in memory, the one of last time if it is of that size."""
        if self._last is None or self._last.spec.name != f"vitpose-{size}":
            self._last = create_model(f"vitpose-{size}", seed=0).eval()
        return self._last

    def on_device(self, model: VitPose) -> VitPose:
        """Return a copy on the device, in bf16."""
        return copy.deepcopy(model).to(self.device, torch.bfloat16)

    def crops(self, model: VitPose, people: int) -> Tensor:
        """Return noise on the device."""
        shape = (people, *model.spec.input_size, 3)
        return torch.randint(0, 256, shape, dtype=torch.uint8, device=self.device)


def reading(model: VitPose) -> Reading:
    """Return what turns the heatmaps of a model's first head into points."""
    return Reading(Codec.for_head(model.spec.head(), model.spec.heatmap_size), model.spec.input_size)


def rate(study: Study, model: VitPose, took: float, people: int) -> dict[str, float]:
    """Return speed, and how near it is to the device's fastest matrix product."""
    gflops = 2 * count_macs(model.spec).total * people / took / 1e9
    return {
        "people_a_second": round(people / took, 1),
        "tflops": round(gflops / 1000, 2),
        "fraction_of_matmul": round(gflops / study.found["matmul_peak_gflops"], 4),
    }


def crops_to_keypoints(study: Study, model: VitPose, version: VitPose, *, compiled: bool) -> dict[str, Any]:
    """Crops in the device's memory to points there; ``version`` is the model as it runs."""
    crops, read, deploy = study.crops(model, study.batch), reading(model), DeployModel(version).eval()
    function = partial(read, run=deploy)
    if compiled:
        function = torch.compile(function, dynamic=False, fullgraph=True, backend=backend(study))
    with torch.inference_mode(), study.peak_memory() as memory:
        took = study.seconds(lambda: function(crops))
        model_only = study.seconds(lambda: deploy(crops)) if not compiled else []
    row = {"batch": study.batch, "median_ms": round(1000 * statistics.median(took), 3)} | memory
    if model_only:
        row["model_alone"] = rate(study, model, statistics.median(model_only), study.batch)
    return row | rate(study, model, statistics.median(took), study.batch)


def backend(study: Study) -> str:
    return "inductor" if study.device.type == "cuda" else "eager"
