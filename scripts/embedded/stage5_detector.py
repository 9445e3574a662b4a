"""Stage 5: the person detector on whole pictures kept on the device, from random weights or from ``--initial``.

python -m scripts.embedded.stage5_detector --data DATA --out runs/detector --fit-minutes 7
OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 --standalone -m scripts.embedded.stage5_detector --data DATA \
    --out runs/detector --recipe cpu-wide --cpu --epochs 45 --initial runs/small-machine/last.safetensors
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from scripts.embedded.common import detector_pictures, is_first, log, parser, start

from vitpose.core.files import atomic_write_text
from vitpose.detectors.embedded import LOOKS, ONE_LOOK, EmbeddedDetector, Look
from vitpose.evaluation.detection import evaluate_detector
from vitpose.metrics.detection import DetectionScores
from vitpose.models.detector import DetectorSpec, PersonNet
from vitpose.training.detector_data import PictureLaw, ResidentPictures
from vitpose.training.detector_labels import LabelledPicture
from vitpose.training.detector_run import DetectorConfig, settings_of, train_detector
from vitpose.training.logs import Quiet, make_display
from vitpose.training.run import versions
from vitpose.weights.detector import load_detector

SMALL = DetectorSpec(side=64, widths=(8, 8, 16, 16), depths=(0, 0, 1, 0), blocks=1, heads=2, neck=8)
# For a core or two and an hour or two: 0.4 times the work a picture, most of it on small pictures.
SLOW = DetectorConfig(
    spec=DetectorSpec(side=256, widths=(24, 64, 128, 256), depths=(0, 2, 3, 1), blocks=1, heads=4, neck=64),
    optim=replace(DetectorConfig().optim, ema=0.998),
    schedule=replace(DetectorConfig().schedule, warmup_steps=200),
    batch_size=16,
    growth=((0.5, 160), (0.8, 224)),
    parts=0.5,
    save_every=50,
)
# Its first stages are the stem of the pose model of `small_machine`: with `--initial`, they know people already.
WIDE = replace(SLOW, spec=replace(SLOW.spec, widths=(48, 96, 192, 256), depths=(1, 3, 4, 1)))
RECIPES = {
    "gpu": DetectorConfig(),
    "cpu": SLOW,
    "cpu-wide": WIDE,
    # Goes on from one of the above (`--initial`), on larger pictures.
    "cpu-larger": replace(
        WIDE, spec=replace(WIDE.spec, side=320), optim=replace(WIDE.optim, lr=1e-3), growth=((0.4, 256),)
    ),
}
"""Settings by what is at hand."""

_SMALLER = PictureLaw(scale=(0.6, 1.7), mosaic=0.25)
LAWS = {"gpu": PictureLaw(), "cpu": _SMALLER, "cpu-wide": _SMALLER, "cpu-larger": _SMALLER}
"""How pictures are varied in each."""

LOWEST = 0.02
"""Boxes below are not looked at when the operating point is sought."""


def judge(
    net: PersonNet, pictures: Sequence[LabelledPicture], device: torch.device, looks: Sequence[Look] = LOOKS
) -> DetectionScores:
    """Score a network on labelled pictures, looking at each as the package does or, in less time, otherwise."""
    detector = EmbeddedDetector(net, threshold=LOWEST, device=device, batch_size=32, looks=looks)
    return evaluate_detector(detector, [(one.path, one.truth) for one in pictures])


class Clock(Quiet):
    """Notes when each step was done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def step(self, step: int, line: Mapping[str, float]) -> None:  # noqa: ARG002 - the protocol's
        """Note the time."""
        self.times.append(time.monotonic())


def scheduled(config: DetectorConfig, source: ResidentPictures, arguments: argparse.Namespace) -> DetectorConfig:
    """Return the configuration with its number of epochs: that of a run that was begun, what fits, or what is asked."""
    begun = arguments.out / "config.json"
    epochs, per_epoch = arguments.epochs, max(len(source) // config.batch_size, 1)
    every = arguments.evaluate_every
    if begun.exists():
        settings = settings_of(begun)
        epochs, every = settings.schedule.epochs, settings.evaluate_every
    elif arguments.fit_minutes:
        clock, steps = Clock(), 60
        probe = replace(config, log_every=1, schedule=replace(config.schedule, epochs=-(-steps // per_epoch)))
        with tempfile.TemporaryDirectory() as folder:
            train_detector(probe, source, folder, minutes=2, display=clock)
        rate = (len(clock.times) - 1 - len(clock.times) // 2) / (clock.times[-1] - clock.times[len(clock.times) // 2])
        epochs = max(int(0.85 * 60 * arguments.fit_minutes * rate / per_epoch), 1)
        log.info("%.1f steps/s: %d epochs fit in %.1f minutes", rate, epochs, arguments.fit_minutes)
    schedule = replace(config.schedule, epochs=epochs)
    return replace(config, schedule=schedule, evaluate_every=every or max(epochs // 4, 1))


def configured(arguments: argparse.Namespace, *, cuda: bool) -> DetectorConfig:
    """Return the recipe that was asked for with what was changed in it."""
    base = RECIPES[arguments.recipe]
    base = replace(
        base,
        schedule=replace(base.schedule, epochs=arguments.epochs),
        precision=arguments.precision or ("bf16" if cuda else "fp32"),
        compile=cuda,
        start=str(arguments.initial or ""),
    )
    if arguments.small:
        return replace(base, spec=SMALL, schedule=replace(base.schedule, warmup_steps=2), batch_size=4, growth=())
    spec = replace(base.spec, side=arguments.side or base.spec.side)
    return replace(base, spec=spec, batch_size=arguments.batch or base.batch_size)


def main(given: Sequence[str] | None = None) -> None:
    """Run the stage and write ``scores.json``."""
    options = parser("Training of the person detector.")
    options.add_argument("--recipe", choices=tuple(RECIPES), default="gpu", help="settings for what is at hand")
    options.add_argument(
        "--initial", type=Path, help="a detector of the same spec, or a pose model whose stem of convolutions fits"
    )
    options.add_argument("--precision", choices=("fp32", "bf16"), help="bf16 pays on CPUs with AVX-512 BF16 or AMX")
    options.add_argument("--epochs", type=int, default=250)
    options.add_argument("--batch", type=int, help="pictures a step")
    options.add_argument("--evaluate-every", type=int, default=0, help="epochs between evaluations; 0 for four in all")
    options.add_argument("--side", type=int, help="longer side of a picture")
    options.add_argument("--athletes", type=int, default=1500, help="people of lspet to learn from, besides COCO")
    options.add_argument("--fit-minutes", type=float, default=0.0, help="as many epochs as fit in this time")
    arguments = options.parse_args(given)
    device = start(arguments)
    cuda = device.type == "cuda"
    config = configured(arguments, cuda=cuda)
    pictures = detector_pictures(arguments.data, athletes=arguments.athletes)
    training, judged = pictures.train, pictures.validation
    if arguments.small:
        training, judged = training[:8], judged[:4]
    source = ResidentPictures.of(training, config.spec.side, device=device, law=LAWS[arguments.recipe])
    log.info("%d pictures to learn from, %d to be judged on", len(training), len(judged))

    def evaluate(net: PersonNet) -> Mapping[str, float]:
        scores = judge(net, judged, device, ONE_LOOK)
        found = {"recall_tall": scores.recall_tall, "ap50": scores.ap50, "threshold": scores.threshold}
        # Recall decides; precision on everybody breaks ties.
        return {"score": scores.recall_tall + 0.1 * scores.ap50, **found}

    config = scheduled(config, source, arguments)
    made_with = arguments.out / "versions.json"
    if is_first() and not made_with.exists():
        atomic_write_text(made_with, json.dumps(versions(), indent=2) + "\n")
    outcome = train_detector(
        config, source, arguments.out, evaluate=evaluate, minutes=arguments.minutes, display=make_display()
    )
    best, written = arguments.out / "best.safetensors", arguments.out / "scores.json"
    if is_first() and outcome.finished and best.exists() and not written.exists():
        scores = judge(load_detector(best).net, judged, device)
        atomic_write_text(written, json.dumps(scores.to_dict(), indent=1) + "\n")
        log.info("%s", scores)


if __name__ == "__main__":
    main()
