"""Which levers of training help, by how much, and how sure is that?

    python benchmarks/lever_study.py --data FOLDER --scale cpu
    python benchmarks/lever_study.py --data FOLDER --scale h200 --part pretraining decay --minutes 8.5

One model a run, on the same people of Leeds Sports Pose Extended and judged by the same held-out people; arms differ
in one thing. ``results/lever_study_SCALE.json`` grows run by run; what is in it is not run again, and a run that was
stopped goes on where it was. ``--part`` chooses levers, ``--minutes`` stops in good order, ``--plan`` lists what is
left. Nothing is chosen by the held-out people: a run ends with its schedule, and its last averaged weights are judged.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from harness import RESULTS, machine
from levers.arms import LEVERS, Arm, arms_of, config_of, order
from levers.cost import measured
from levers.runs import Bench, StoppedError, make, weights_of
from levers.scales import SCALES
from levers.scoring import digits, mean_pose
from levers.summary import summarize

from vitpose.core.files import atomic_write_text
from vitpose.training.logs import PlainLines

COSTED = ("stem", "freezing", "distillation", "windows")
"""Levers whose memory and speed are asked for, too."""


def wanted(parts: list[str], arms: dict[str, Arm]) -> list[Arm]:
    """Return the arms of some levers, or of all, in the order they must run in."""
    levers = [lever for lever in LEVERS if not parts or lever.part in parts]
    return order(arms, [name for lever in levers for name in (lever.baseline, *lever.arms)])


def seeds_of(bench: Bench, arm: Arm, seeds: int) -> list[int]:
    """Return the seeds an arm is to be run with."""
    return sorted({bench.seed_of(arm, seed) for seed in range(seeds)})


def left(bench: Bench, result: dict[str, Any], chosen: list[Arm], seeds: int) -> list[tuple[Arm, int]]:
    """Return the runs that are missing: without numbers, or with weights that such a run needs and that are lost."""
    pairs = [(arm, seed) for arm in chosen for seed in seeds_of(bench, arm, seeds)]
    missing = [(arm, seed) for arm, seed in pairs if str(seed) not in result["runs"].get(arm.name, {})]
    needed = {arm.name for arm in order(arms_of(bench.scale), [arm.name for arm, _ in missing])}
    return [
        (arm, seed)
        for arm, seed in pairs
        if (arm, seed) in missing
        or (arm.name in needed and not arm.tests and not bench.folder(arm, seed).last.exists())
    ]


def begin(bench: Bench, path: Path) -> dict[str, Any]:
    """Return the results so far."""
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"]
        return found
    config = config_of(arms_of(bench.scale)["scratch"], bench.scale, 0, bench.data, {})
    guess = mean_pose(bench.training, bench.judged)
    return {
        "note": bench.scale.note.format(
            width=config.model.backbone.width,
            depth=config.model.backbone.depth,
            people=len(bench.training),
            epochs=config.schedule.epochs,
        ),
        "measure": "PCK at 0.2 of the torso; error: mean distance over the longer side of the box",
        "people": len(bench.training),
        "judged": len(bench.judged),
        "mean_pose": guess.to_dict(),
        "counted": digits(guess.counted),
        "cost": {},
        "runs": {},
    }


def write(path: Path, result: dict[str, Any]) -> None:
    """Write the results with what they come to."""
    document = {
        "question": "which levers of training help, by how much, and how sure is that?",
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "result": result | summarize(LEVERS, _judged(result), result["counted"]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(document, indent=1) + "\n")


def _judged(result: dict[str, Any]) -> dict[str, Any]:
    return {name: runs for name, runs in result["runs"].items() if all("pck" in run for run in runs.values())}


@contextlib.contextmanager
def time_limit(minutes: float) -> Iterator[None]:
    """Ask the run of the moment to stop after so many minutes; its state is saved."""
    timer = threading.Timer(60 * minutes, lambda: os.kill(os.getpid(), signal.SIGTERM))
    timer.daemon = True
    if minutes > 0:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def run_all(bench: Bench, path: Path, result: dict[str, Any], todo: list[tuple[Arm, int]]) -> None:
    """Make the runs that are missing, and write after each."""
    arms = arms_of(bench.scale)
    costed = {name for lever in LEVERS if lever.part in COSTED for name in (lever.baseline, *lever.arms)}
    for number, (arm, seed) in enumerate(todo):
        began = time.perf_counter()
        if arm.name in costed and arm.name not in result["cost"]:
            config = config_of(arm, bench.scale, seed, bench.data, weights_of(bench, arms, arm, seed))
            result["cost"][arm.name] = measured(
                config, batch=bench.scale.cost_batch, folder=bench.out, cpu=bench.device.type == "cpu"
            )
        made = make(bench, arms, arm, seed)
        result["runs"].setdefault(arm.name, {})[str(seed)] = made
        write(path, result)
        shown = f"PCK {made['pck']:.4f}" if "pck" in made else "not judged"
        took = time.perf_counter() - began
        bench.display.say(f"[{number + 1}/{len(todo)}] {arm.name}, seed {seed}: {shown}, {took:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder with lspet and coco")
    parser.add_argument("--scale", choices=tuple(SCALES), default="cpu")
    parser.add_argument("--part", nargs="*", default=[], choices=[lever.part for lever in LEVERS], help="levers; all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/levers"), help="folder of the run folders")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results file")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop in good order after so long; 0 for no limit")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--plan", action="store_true", help="list the runs that are missing, and stop")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = torch.device("cuda" if torch.cuda.is_available() and chosen.scale == "h200" else "cpu")
    bench = Bench.of(
        SCALES[chosen.scale],
        chosen.data,
        chosen.out / chosen.scale,
        device=device,
        display=PlainLines(sys.stderr, every_s=30.0),
    )
    path = chosen.results / f"lever_study_{chosen.scale}.json"
    result = begin(bench, path)
    todo = left(bench, result, wanted(chosen.part, arms_of(bench.scale)), chosen.seeds)
    if chosen.plan:
        for arm, seed in todo:
            print(f"{arm.name}, seed {seed}")
        return
    try:
        with time_limit(chosen.minutes):
            run_all(bench, path, result, todo)
    except StoppedError:
        sys.exit(130)


if __name__ == "__main__":
    main()
