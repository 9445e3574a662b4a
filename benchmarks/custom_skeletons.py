"""Fine-tuning to skeletons of one's own: bees, mice and flies, from a human model and from random weights.

    python benchmarks/custom_skeletons.py --data FOLDER --model human.safetensors [--sets bee fly] [--steps 1500]

Each set becomes a plain folder with COCO JSONs, and ``vitpose train finetune`` plans and runs the rest: its validation
part decides when to stop and which weights are kept. What is reported comes from a third part that neither saw: the
distance of each keypoint over the longer side of the box, with the weights it began with and with those it ended with.
"Before" a keypoint without a namesake in the human model has a random row in the head; ``guess`` puts every keypoint at
its median place in the box. ``results/custom_skeletons.json`` grows set by set; what is in it is not run again unless
model or steps have changed.
"""

import argparse
import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import RESULTS, write_result
from levers.scoring import median_pose
from skeleton_sets import ANIMALS, converted

from vitpose.data.readers.read import read_labelled
from vitpose.data.records import LabelledSet
from vitpose.evaluation.run import evaluate
from vitpose.metrics.pck import box_sides, distances
from vitpose.models.pose import VitPose
from vitpose.training.assemble import build_model
from vitpose.training.config import RunConfig
from vitpose.training.finetune import DATASET, plan_finetuning
from vitpose.training.logs import PlainLines
from vitpose.training.recipe import parse_config
from vitpose.training.run import train
from vitpose.training.state import RunFolder
from vitpose.training.validate import ValidationSet, estimator_for
from vitpose.weights.load import load_model

STARTS = ("human", "random")
NAME = "custom_skeletons"


def errors(model: VitPose, labelled: LabelledSet, device: torch.device) -> dict[str, float]:
    """Return the mean error of each keypoint and of all, in percent of the longer side of the box."""
    estimator = estimator_for(model.to(device).eval(), ValidationSet(DATASET, labelled), device)
    people = evaluate(estimator, labelled, flip_test=False, metrics=["pck"]).people
    apart = distances(people.xy, people.truth, people.visibility > 0)
    return in_percent(apart / box_sides(people.boxes)[:, None], people.names)


def in_percent(relative: np.ndarray[Any, np.dtype[np.float64]], names: tuple[str, ...]) -> dict[str, float]:
    """Return the means of ``(animals, keypoints)`` distances with NaN where nothing is labelled."""
    labelled = ~np.isnan(relative)
    each = {
        name: round(100 * float(np.nanmean(relative[:, place])), 2)
        for place, name in enumerate(names)
        if labelled[:, place].any()
    }
    return {"all": round(100 * float(np.nanmean(relative)), 2), **each}


def guess(training: LabelledSet, labelled: LabelledSet) -> dict[str, float]:
    """Return the error of putting every keypoint at its median place in the box."""
    records = labelled.records
    truth = np.stack([record.keypoints for record in records]).astype(np.float64)
    seen = np.stack([record.visibility for record in records]) > 0
    apart = distances(median_pose(training, labelled), truth, seen)
    sides = box_sides(np.stack([record.box for record in records]))
    return in_percent(apart / sides[:, None], labelled.skeleton.keypoints)


def planned(folder: Path, out: Path, model: Path, start: str, steps: int) -> RunConfig:
    """Return what the fine-tune command would run; ``steps`` above 0 bounds its length."""
    changes = ("data.workers=0",) if start == "human" else ("data.workers=0", 'model.start=""')
    plan = plan_finetuning(folder, out, model=str(model), annotations=None, changes=changes)
    plan.write_skeleton()
    config = plan.config
    if steps == 0:
        return config
    people = len(read_labelled("coco", folder / "train.json").for_training())
    epochs = max(math.ceil(steps / max(people // config.loop.batch_size, 1)), 1)
    shorter = (
        f"schedule.epochs={epochs}",
        f"loop.evaluate_every={max(epochs // 10, 1)}",
        f"schedule.warmup_steps={min(100, max(steps // 10, 1))}",
    )
    return parse_config(config.to_toml(), "the planned settings", shorter)


def study(name: str, start: str, chosen: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Fine-tune to one set from one start, or go on with it, and compare before and after."""
    display = PlainLines(sys.stderr, every_s=30.0)
    folder = converted(name, chosen.data, chosen.out / "sets")
    config = planned(visible(folder), out, chosen.model, start, chosen.steps)
    training, test = (read_labelled("coco", folder / f"{part}.json").for_training() for part in ("train", "test"))
    device = torch.device("cuda" if torch.cuda.is_available() and not chosen.cpu else "cpu")
    model, notes = build_model(config)
    before = errors(model, test, device)
    outcome = train(config, out, resume=True, force=True, display=display, cpu=chosen.cpu)
    if outcome.ending == "interrupted":
        raise SystemExit(130)
    after = errors(load_model(RunFolder(out).best).model, test, device)
    display.say(f"{name} from {start}: {before['all']:.2f} % -> {after['all']:.2f} % of the box's longer side")
    return {
        "keypoints": len(test.skeleton),
        "training": len(training),
        "tested": len(test),
        "steps": outcome.progress.step,
        "best_step": outcome.progress.best_step,
        "notes": [note for note in notes if "head" in note],
        "guess": guess(training, test),
        "before": before,
        "after": after,
    }


def visible(folder: Path) -> Path:
    """Return a folder that shows the fine-tune command the training and validation parts only."""
    target = folder.with_name(f"{folder.name}-shown")
    target.mkdir(exist_ok=True)
    for part in ("train.json", "val.json"):
        (target / part).write_bytes((folder / part).read_bytes())
    if not (target / "images").exists():
        (target / "images").symlink_to((folder / "images").resolve(), target_is_directory=True)
    return target


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder with bee, fly, mouse_mirror, mouse_reaching")
    parser.add_argument("--model", type=Path, required=True, help="checkpoint of a human model; its size is used")
    parser.add_argument("--sets", nargs="*", default=list(ANIMALS), choices=list(ANIMALS))
    parser.add_argument("--starts", nargs="*", default=list(STARTS), choices=STARTS, help="weights to begin with")
    parser.add_argument("--steps", type=int, default=0, help="bound on the length; 0 for what the command plans")
    parser.add_argument("--out", type=Path, default=Path("runs/skeletons"), help="folder of sets and runs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu", action="store_true", help="leave an accelerator alone")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    digest = hashlib.sha256(chosen.model.read_bytes()).hexdigest()[:12]
    path = RESULTS / f"{NAME}.json"
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"] if path.exists() else {}
    if (result.get("weights"), result.get("bound")) != (digest, chosen.steps):
        result = {"model": chosen.model.name, "weights": digest, "bound": chosen.steps, "sets": {}}
    runs = chosen.out / f"{digest}-{chosen.steps}"
    for name in chosen.sets:
        for start in chosen.starts:
            if start not in result["sets"].setdefault(name, {}):
                result["sets"][name][start] = study(name, start, chosen, runs / f"{name}-{start}")
                write_result(NAME, "how well does fine-tuning learn a skeleton of one's own?", result)


if __name__ == "__main__":
    main()
