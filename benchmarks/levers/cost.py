"""Memory and speed of a training step, each measured in a process of its own.

On a CPU memory is the growth of the process's largest size from before the model was made: weights, gradients, the
optimiser's moments and activations. It is read from Linux's ``VmHWM``, which starts anew with a program, unlike
``getrusage``, which a child inherits. On a GPU it is the largest amount PyTorch had allocated.
"""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vitpose.core.geometry import Size
from vitpose.data.batch import Batch
from vitpose.training.assemble import build_model, build_objective, make_accelerator
from vitpose.training.config import ObjectiveConfig, OptimConfig, RunConfig
from vitpose.training.optim import make_optimizer, train_mode
from vitpose.training.recipe import load_config
from vitpose.training.step import Stepper

STEPS = 4


def measured(config: RunConfig, *, batch: int, folder: Path, cpu: bool = False, steps: int = STEPS) -> dict[str, float]:
    """Measure a run's step in another process.

    Args:
        config: of the run.
        batch: people a step.
        folder: where the settings are handed over.
        cpu: leave an accelerator alone.
        steps: how many are timed, after one that is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handed = folder / "cost.toml"
    handed.write_text(config.to_toml(), encoding="utf-8")
    given = [str(handed), str(batch), str(steps), "cpu" if cpu else "any", str(torch.get_num_threads())]
    command = [sys.executable, str(Path(__file__).resolve()), *given]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def step_cost(config: RunConfig, batch: int, steps: int, *, cpu: bool) -> dict[str, float]:
    """Do some steps on made-up crops and return ``memory_mib`` and ``people_per_s``."""
    accelerator = make_accelerator(config, cpu=cpu)
    device = accelerator.device
    # A step of a tiny model loads the libraries' own code and buffers, which are not the model's.
    tiny = _tiny(config)
    _stepper(tiny, accelerator)(_people(tiny, 2, device), 0)
    before = largest_size_mib()
    stepper = _stepper(config, accelerator)
    people = _people(config, batch, device)
    seconds = []
    for step in range(steps + 1):
        began = time.perf_counter()
        stepper(people, step)  # its loss comes back as a number, so the work is done
        seconds.append(time.perf_counter() - began)
    memory = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else largest_size_mib() - before
    return {"memory_mib": memory, "people_per_s": batch / statistics.median(seconds[1:]), "batch": batch}


def _tiny(config: RunConfig) -> RunConfig:
    backbone = replace(config.model.backbone, width=32, depth=1, heads=1, hidden=0, experts=0, expert_width=0)
    model = replace(config.model, start="", backbone=backbone)
    return replace(config, model=model, objective=ObjectiveConfig(), optim=OptimConfig())


def largest_size_mib() -> float:
    """Return the largest resident size this program has had."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def _stepper(config: RunConfig, accelerator: Any) -> Stepper:
    model, _ = build_model(config)
    objective = build_objective(config, model, {config.model.heads[0].dataset: 1}).to(accelerator.device)
    train_mode(objective)
    optimizer = make_optimizer(objective, config.optim, config.model.backbone.depth)
    prepared, prepared_optimizer = accelerator.prepare(objective, optimizer)
    return Stepper(
        accelerator=accelerator,
        objective=prepared,
        optimizer=prepared_optimizer,
        clip_norm=config.optim.clip_norm,
        seed=0,
        micro_batch=0,
        notify=print,
    )


def _people(config: RunConfig, batch: int, device: torch.device) -> Batch:
    head, size = config.model.spec().heads[0], Size(*config.model.input_size)
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (batch, *size, 3), dtype=torch.uint8, generator=generator)
    inside = torch.tensor([size.width - 1.0, size.height - 1.0])
    xy = torch.rand(batch, head.keypoints, 2, generator=generator) * inside
    names = (head.dataset,) * batch
    return Batch(crops, xy, torch.ones(batch, head.keypoints), names, tuple(range(batch))).to(device)


def _main() -> None:
    settings, batch, steps, device, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(json.dumps(step_cost(load_config(settings), int(batch), int(steps), cpu=device == "cpu")))


if __name__ == "__main__":
    _main()
