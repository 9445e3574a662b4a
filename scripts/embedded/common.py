"""What the stages share: the data folder's splits, settings by size, time limits, and logs on standard error."""

import argparse
import contextlib
import json
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.data.batch import Batch
from vitpose.data.mixture import Source
from vitpose.training.config import RunConfig
from vitpose.training.detector_labels import LabelledPicture, read_pictures
from vitpose.training.logs import Quiet, make_display
from vitpose.training.loop import Outcome
from vitpose.training.material import Material, load_material
from vitpose.training.recipe import load_config
from vitpose.training.run import train

log = logging.getLogger("embedded")

RECIPES = Path(__file__).parent / "recipes"

SIZES = {
    "ti": {"width": 192, "depth": 12, "heads": 3},
    "ti3": {"width": 192, "depth": 3, "heads": 3},
    "ti6": {"width": 192, "depth": 6, "heads": 3},
    "s6": {"width": 384, "depth": 6, "heads": 12},
    "s": {"width": 384, "depth": 12, "heads": 12},
    "b": {"width": 768, "depth": 12, "heads": 12},
}
"""Backbones by name. S in float16 takes 44 MB; S with half the blocks takes 22 and is what fits beside Ti."""

SMALL = (
    "model.backbone.width=32",
    "model.backbone.depth=2",
    "model.backbone.heads=2",
    "model.input_size=[64,48]",
    "loop.batch_size=4",
    "loop.precision=fp32",
    "loop.compile=false",
    "loop.flip_test=false",
    "schedule.warmup_steps=2",
    "objective.masked.decoder_width=32",
    "objective.masked.decoder_depth=1",
    "objective.masked.decoder_heads=2",
)
"""Changes that make a recipe run anywhere in seconds, for trying the chain out."""

SMALL_PEOPLE = 8
"""People a set has then."""


def parser(purpose: str) -> argparse.ArgumentParser:
    """Return a parser with what every stage takes."""
    found = argparse.ArgumentParser(description=purpose)
    found.add_argument("--data", type=Path, required=True, help="folder with coco, lspet, lsp, no_people, splits.json")
    found.add_argument("--out", type=Path, required=True, help="folder of this stage's run; run again to go on")
    found.add_argument("--minutes", type=float, default=0.0, help="stop in good order after so long; 0 for no limit")
    found.add_argument("--cpu", action="store_true", help="leave an accelerator alone")
    found.add_argument("--small", action="store_true", help="tiny model and a handful of people: tries the chain out")
    return found


def start(arguments: argparse.Namespace) -> torch.device:
    """Set logging up and return the device of a stage.

    Raises:
        UsageError: several processes cannot measure together how long a run may be.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if getattr(arguments, "fit_minutes", 0.0) and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--fit-minutes measures one process: under torchrun, say --epochs instead")
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = device_of(arguments)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return device


def device_of(arguments: argparse.Namespace) -> torch.device:
    """Return the device of this process; ``torchrun`` gives each its own."""
    if torch.cuda.is_available() and not arguments.cpu:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def is_first() -> bool:
    """Say whether this is the only process, or the first of those ``torchrun`` started."""
    return int(os.environ.get("RANK", "0")) == 0


def configured(recipe: str, arguments: argparse.Namespace, size: str, *changes: str) -> RunConfig:
    """Return a recipe of this folder for a size; a run that was begun keeps the settings it was begun with."""
    begun = arguments.out / "config.toml"
    if begun.exists():
        return load_config(begun, [f"data.root={json.dumps(str(arguments.data))}"])
    given = [f"model.backbone.{key}={value}" for key, value in SIZES[size].items()]
    given += [f"data.root={json.dumps(str(arguments.data))}"]
    if arguments.cpu or not torch.cuda.is_available():
        given += ["loop.precision=fp32", "loop.compile=false"]
    config = load_config(RECIPES / f"{recipe}.toml", [*given, *changes, *(SMALL if arguments.small else ())])
    if not arguments.small:
        return config
    few = [replace(one, first=SMALL_PEOPLE) for one in config.data.train]
    judges = [replace(one, first=SMALL_PEOPLE) for one in config.data.validation]
    return replace(config, data=replace(config.data, train=tuple(few), validation=tuple(judges)))


def run_stage(config: RunConfig, arguments: argparse.Namespace, material: Material | None = None) -> Outcome:
    """Train, or go on, for at most ``--minutes``; where asked, first find out how many epochs fit in a time."""
    people = load_material(config, device=device_of(arguments)) if material is None else material
    fit = getattr(arguments, "fit_minutes", 0.0)
    if fit and not (arguments.out / "config.toml").exists():
        config = fitted(config, people, fit, cpu=arguments.cpu)
    with time_limit(arguments.minutes):
        outcome = train(config, arguments.out, material=people, resume=True, display=make_display(), cpu=arguments.cpu)
    log.info("%s: %s at step %d", config.name, outcome.ending, outcome.progress.step)
    return outcome


@contextlib.contextmanager
def time_limit(minutes: float) -> Iterator[None]:
    """Ask the loop to stop, as a terminal would, after so many minutes; it saves its state first."""
    timer = threading.Timer(60 * minutes, lambda: os.kill(os.getpid(), signal.SIGTERM))
    timer.daemon = True
    if minutes > 0:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@dataclass(frozen=True)
class Few:
    """The first people of a source, for measuring how fast steps are."""

    source: Source
    people: int

    def __len__(self) -> int:
        return self.people

    def name_of(self, index: int) -> str:
        """Say which picture and person an index is."""
        return self.source.name_of(index % len(self.source))

    def draw(self, indices: NDArray[np.int64], seeds: NDArray[np.int64]) -> Batch:
        """Return varied crops of the people ``indices``."""
        return self.source.draw(indices % len(self.source), seeds)


def fitted(config: RunConfig, material: Material, minutes: float, *, cpu: bool) -> RunConfig:
    """Return the configuration with as many epochs as fit in ``minutes``, found by 24 steps in a folder of its own."""
    steps = 24
    probe = replace(
        config,
        schedule=replace(config.schedule, epochs=1),
        loop=replace(config.loop, log_every=steps // 3, evaluate_every=1000),
    )
    few = Few(material.train, steps * config.loop.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        train(probe, folder, material=Material(train=few, people=material.people), display=Quiet(), cpu=cpu)
        lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rate = max(json.loads(line).get("people_per_s", 0.0) for line in lines)
    # The rest is for evaluations and saves.
    epochs = max(int(0.85 * 60 * minutes * rate / len(material.train)), 1)
    log.info("%.0f people/s: %d epochs fit in %.1f minutes", rate, epochs, minutes)
    every = max(epochs // 3, 1)
    return replace(
        config,
        schedule=replace(config.schedule, epochs=epochs),
        loop=replace(config.loop, evaluate_every=every),
    )


@dataclass(frozen=True)
class DetectorPictures:
    """Whole pictures of one side of the split."""

    train: tuple[LabelledPicture, ...]
    validation: tuple[LabelledPicture, ...]


def detector_pictures(data: Path, *, athletes: int = 1500) -> DetectorPictures:
    """Read the pictures the detector learns from and is judged on.

    Args:
        data: the data folder.
        athletes: also learn from so many of the single people of ``lspet``, whose surroundings are not labelled; all
            of them would be four pictures in five.

    Raises:
        InputError: a file of the data folder is missing or faulty.
    """
    empty = read_pictures(data / "no_people" / "images.json", data / "no_people" / "images")
    held = set(splits(data)["no_people"]["val"])
    coco = data / "coco" / "images"
    training = [*read_pictures(data / "coco" / "person_keypoints_train.json", coco)]
    training += [one for one in empty if one.path.name not in held]
    if athletes:
        people = read_pictures(data / "lspet" / "annotations.json", data / "lspet" / "images", complete=False)
        training += people[:9500][:: max(9500 // athletes, 1)][:athletes]
    judged = [*read_pictures(data / "coco" / "person_keypoints_val.json", coco)]
    judged += [one for one in empty if one.path.name in held]
    return DetectorPictures(tuple(training), tuple(judged))


def splits(data: Path) -> dict[str, dict[str, list[str]]]:
    """Read which pictures are for validation.

    Raises:
        InputError: the file is missing or faulty.
    """
    try:
        found: dict[str, dict[str, list[str]]] = json.loads((data / "splits.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{data / 'splits.json'} cannot be read: {error}") from error
    return found
