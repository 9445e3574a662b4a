"""One run of the study: people, training that goes on where it was left, and the numbers that are kept."""

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from harness import commit

from levers.arms import COCO, RECIPE, Arm, config_of, made_labels
from levers.scales import Scale
from levers.scoring import score
from vitpose.core.geometry import Size
from vitpose.data.augment import NONE
from vitpose.data.coco_writer import write_coco
from vitpose.data.mixture import Mixture, Source
from vitpose.data.people import CropPlan, LabelArrays
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import LabelledSet
from vitpose.data.resident import Resident
from vitpose.data.topdown import TopDown
from vitpose.media.images import read_image
from vitpose.pipeline.assemble import load
from vitpose.training.config import RunConfig, SetConfig
from vitpose.training.logs import PlainLines
from vitpose.training.material import Material, read_set
from vitpose.training.pseudo import Trust, label_people
from vitpose.training.recipe import load_config
from vitpose.training.run import train
from vitpose.training.state import RunFolder
from vitpose.weights.load import load_model


class StoppedError(Exception):
    """Training was stopped by a signal or a time limit; its state is saved."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where runs are made, and on what.

    Attributes:
        scale: of the study.
        data: folder with ``lspet`` and ``coco``.
        out: folder of the run folders.
        device: that trains.
        training: the people all arms learn from.
        judged: the people all arms are judged by.
        display: shows progress.
    """

    scale: Scale
    data: Path
    out: Path
    device: torch.device
    training: LabelledSet
    judged: LabelledSet
    display: PlainLines
    _kept: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, scale: Scale, data: Path, out: Path, *, device: torch.device, display: PlainLines) -> "Bench":
        """Read the labels."""
        settings = [f"data.root={data}", f"data.train.0.first={scale.people}"]
        config = load_config(RECIPE, [*settings, f"data.validation.0.first={scale.judged}"])
        training, judged = (
            read_set(config, one).for_training() for one in (config.data.train[0], config.data.validation[0])
        )
        return cls(scale=scale, data=data, out=out, device=device, training=training, judged=judged, display=display)

    def folder(self, arm: Arm, seed: int) -> RunFolder:
        """Return the run folder of an arm and a seed."""
        simple = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in arm.name)
        return RunFolder(self.out / simple / str(seed))

    def seed_of(self, arm: Arm, seed: int) -> int:
        """Return which run of ``arm`` the runs with ``seed`` rest on."""
        if not arm.shared:
            return seed
        return 0 if arm.judged or arm.needs else seed % self.scale.pretrainings

    def material(self, config: RunConfig) -> Material:
        """Return the people of a run; pictures are read once for all runs."""
        sources: list[Source] = []
        counts: dict[str, int] = {}
        for one in config.data.train:
            people = self._people(config, one)
            head = next(head for head in config.model.heads if head.dataset == one.dataset)
            plan = CropPlan(
                dataset=head.dataset,
                size=Size(*config.model.input_size),
                convention=head.codec,
                augmentation=config.augment,
            )
            if config.data.resident:
                sources.append(replace(self._on_device(one.annotations, people), labels=LabelArrays.of(people, plan)))
            else:
                sources.append(TopDown.of(self._decoded(one.annotations, people), plan))
            counts[head.dataset] = counts.get(head.dataset, 0) + len(people)
        return Material(train=sources[0] if len(sources) == 1 else Mixture.of(sources), people=counts)

    def others(self) -> LabelledSet:
        """Return the people of COCO that arms with other people learn from."""
        found = read_labelled(COCO.format, self.data / COCO.annotations, self.data / COCO.images)
        return found.for_training().select(slice(self.scale.others))

    def _people(self, config: RunConfig, one: SetConfig) -> LabelledSet:
        if one == config.data.train[0]:
            return self.training
        return self.others() if one == COCO else read_set(config, one).for_training()

    def _decoded(self, name: str, people: LabelledSet) -> LabelledSet:
        """Return people with their pictures in memory: decoding anew takes most of the time of a crop."""
        if name not in self._kept:
            pictures = {path: read_image(path) for path in dict.fromkeys(one.image for one in people.records)}
            # Whoever reads the picture takes an array as well as a path.
            shown = (replace(one, image=pictures[one.image]) for one in people.records)  # type: ignore[arg-type]
            self._kept[name] = replace(people, records=tuple(shown))
        kept: LabelledSet = self._kept[name]
        return kept

    def _on_device(self, name: str, people: LabelledSet) -> Resident:
        if name not in self._kept:
            plan = CropPlan(dataset="", size=Size(64, 48), augmentation=NONE)
            self._kept[name] = Resident.of(people, plan, self.device)
        kept: Resident = self._kept[name]
        return kept


def weights_of(bench: Bench, arms: Mapping[str, Arm], arm: Arm, seed: int) -> dict[str, Path]:
    """Return the weights an arm's settings name."""
    return {
        name: bench.folder(arms[name], bench.seed_of(arms[name], seed)).last
        for name in (*arm.needs, *(deeper for need in arm.needs for deeper in arms[need].needs))
    }


def make(bench: Bench, arms: Mapping[str, Arm], arm: Arm, seed: int) -> dict[str, Any]:
    """Train (or go on), judge, and return the numbers of a run.

    Raises:
        StoppedError: training was asked to stop; the same call goes on with it.
    """
    trained = arms[arm.tests] if arm.tests else arm
    weights = weights_of(bench, arms, trained, seed)
    if trained.others == "labels":
        label_others(bench, weights["teacher"])
    config = config_of(trained, bench.scale, seed, bench.data, weights)
    folder = bench.folder(trained, seed)
    found: dict[str, Any] = {"commit": commit(), "device": _device_name(bench.device)}
    if not arm.tests:
        found |= _trained(bench, config, folder)
    if arm.judged:
        model = load_model(folder.last).model.to(bench.device)
        found |= score(model, bench.judged, bench.device, flip_test=arm.flip_test).to_dict()
    return found


def label_others(bench: Bench, teacher: Path) -> None:
    """Have the teacher label people of COCO, where that is not done yet: what is sure and agrees with its mirror."""
    path = made_labels(teacher)
    if path.exists():
        return
    estimator = load(teacher, detector=None, device=str(bench.device), batch_size=64, engine="eager")
    low = Trust(score=bench.scale.trust, distance_norm=Trust().distance_norm if bench.scale.trust > 0 else 10.0)
    people = bench.others()
    made = label_people(estimator, people, low)
    write_coco(made, path)
    bench.display.say(f"made labels: {len(made)} of {len(people)} people are kept")


def _trained(bench: Bench, config: RunConfig, folder: RunFolder) -> dict[str, Any]:
    cpu = bench.device.type == "cpu"
    began, worked = time.perf_counter(), time.process_time()
    outcome = train(config, folder.path, material=bench.material(config), resume=True, display=bench.display, cpu=cpu)
    if outcome.ending == "interrupted":
        raise StoppedError
    lines = [json.loads(line) for line in folder.metrics.read_text(encoding="utf-8").splitlines()]
    folder.state.unlink(missing_ok=True)
    speeds = [line["people_per_s"] for line in lines if "people_per_s" in line]
    losses = [line["loss"] for line in lines if "loss" in line]
    return {
        "steps": outcome.progress.step,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - worked,
        "people_per_s": statistics.median(speeds) if speeds else None,
        "loss": losses[-1] if losses else None,
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
