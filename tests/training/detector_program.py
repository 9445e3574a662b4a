"""A short run of the detector that a test starts in several processes: what each ends with is written down."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from vitpose.models.detector import DetectorSpec
from vitpose.training import detector_loss, detector_run
from vitpose.training.config import OptimConfig, ScheduleConfig
from vitpose.training.detector_data import PictureBatch, ResidentPictures
from vitpose.training.detector_labels import read_pictures
from vitpose.training.detector_run import DetectorConfig, train_detector

TINY = DetectorSpec(side=64, widths=(8, 16, 16, 16), depths=(0, 1, 1, 0), blocks=1, heads=2, neck=16)


def tiny_run(epochs: int) -> DetectorConfig:
    """Return a run of two steps an epoch, for twelve pictures."""
    return DetectorConfig(
        spec=TINY,
        optim=OptimConfig(lr=5e-3, weight_decay=0.01, clip_norm=10.0, ema=0.9),
        schedule=ScheduleConfig(kind="cosine", epochs=epochs, warmup_steps=5, warmup_ratio=0.1, milestones=()),
        batch_size=6,
        evaluate_every=1000,
        save_every=10,
        log_every=5,
    )


def main(folder: Path) -> None:
    """Train in ``folder / "run"`` on its pictures; each process leaves its weights, draws and scores."""
    source = ResidentPictures.of(read_pictures(folder / "boxes.json", folder), 64)
    drawn: list[PictureBatch] = []
    kept: list[detector_run._Run] = []
    step = detector_run._step

    def watched(run: detector_run._Run, batch: PictureBatch, *rest: int) -> dict[str, float]:
        drawn.append(batch)
        kept[:] = [run]
        return step(run, batch, *rest)

    detector_run._step = watched
    sums: list[float] = []
    means: list[float] = []
    mean = detector_loss.mean_over_processes

    def noted(value: torch.Tensor) -> torch.Tensor:
        found = mean(value)
        sums.append(float(value))
        means.append(float(found))
        return found

    detector_loss.mean_over_processes = noted
    judged = []

    def evaluate(_: object) -> dict[str, float]:
        judged.append(len(drawn))
        return {"score": float(len(drawn))}

    outcome = train_detector(
        replace(tiny_run(3), evaluate_every=2, log_every=1), source, folder / "run", evaluate=evaluate
    )
    left = {
        "weights": dict(kept[0].objective.named_parameters()) if kept else {},
        "images": [batch.images for batch in drawn],
        "scores": dict(outcome.scores),
        "judged": judged,
        "sums": sums,
        "means": means,
    }
    torch.save(left, folder / f"left-{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
