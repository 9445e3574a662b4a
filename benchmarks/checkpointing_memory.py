"""How much memory does computing activations again save in training, and what does it cost in time?

    python benchmarks/checkpointing_memory.py [--sizes s b] [--batches 8 16] [--precision bf16]

A training step of ViTPose with the classic head at 256 x 192: weights, gradients, the optimiser's moments and
activations, with and without ``loop.checkpointing``. Each case is a process of its own and its memory the growth of its
largest size; on a GPU it is the largest amount PyTorch had allocated. Processes take turns, so that a slow minute hits
neighbours alike. The results file keeps the cases of earlier calls with the same settings.
"""

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from harness import RESULTS, write_result
from levers.cost import measured

from vitpose.models.variants import published_spec
from vitpose.training.config import (
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LoopConfig,
    ModelConfig,
    RunConfig,
    SetConfig,
)

KINDS = {"kept": False, "computed again": True}


def config_of(size: str, precision: str, *, checkpointing: bool) -> RunConfig:
    """Return settings of a step of one size."""
    backbone = published_spec(f"vitpose-{size}").backbone
    return RunConfig(
        name="memory",
        model=ModelConfig(
            name="memory",
            backbone=BackboneConfig(width=backbone.width, depth=backbone.depth, heads=backbone.heads),
            heads=(HeadConfig(dataset="coco", skeleton="coco17"),),
        ),
        data=DataConfig(train=(SetConfig(dataset="coco", images=""),)),
        loop=LoopConfig(precision=precision, checkpointing=checkpointing),  # type: ignore[arg-type] # argparse checks
    )


def case(size: str, batch: int, precision: str, *, repeats: int, steps: int, cpu: bool) -> dict[str, Any]:
    """Return memory and speed of both kinds, and what one saves and costs."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for kind, again in KINDS.items():
                config = config_of(size, precision, checkpointing=again)
                found[kind].append(measured(config, batch=batch, folder=Path(folder), cpu=cpu, steps=steps))
    rows = {
        kind: {key: statistics.median(one[key] for one in runs) for key in ("memory_mib", "people_per_s")}
        for kind, runs in found.items()
    }
    kept, less = (rows[kind] for kind in KINDS)
    return {
        **rows,
        "memory_saved": 1 - less["memory_mib"] / kept["memory_mib"],
        "time_added": kept["people_per_s"] / less["people_per_s"] - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="*", default=["s", "b"], choices=["ti", "s", "b", "l", "h"])
    parser.add_argument("--batches", nargs="*", type=int, default=[8, 16])
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu", action="store_true", help="leave an accelerator alone")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    gpu = torch.cuda.is_available() and not chosen.cpu
    name = f"checkpointing_memory_{'gpu' if gpu else 'cpu'}"
    settings = {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "precision": chosen.precision,
        "threads": chosen.threads,
    }
    path = RESULTS / f"{name}.json"
    known = json.loads(path.read_text(encoding="utf-8"))["result"] if path.exists() else {}
    rows = known.get("rows", {}) if settings.items() <= known.items() else {}
    for size, batch in itertools.product(chosen.sizes, chosen.batches):
        rows[f"vitpose-{size}, batch {batch}"] = case(
            size, batch, chosen.precision, repeats=chosen.repeats, steps=chosen.steps, cpu=not gpu
        )
        write_result(
            name, "memory of a training step with activations kept or computed again", settings | {"rows": rows}
        )


if __name__ == "__main__":
    main()
