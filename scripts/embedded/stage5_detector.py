"""Stage 5: the person detector, from random weights, on whole pictures kept on the device.

python -m scripts.embedded.stage5_detector --data DATA --out runs/detector --epochs 120 --minutes 8
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from scripts.embedded.common import detector_pictures, log, parser, start

from vitpose.core.files import atomic_write_text
from vitpose.detectors.embedded import EmbeddedDetector
from vitpose.evaluation.detection import evaluate_detector
from vitpose.metrics.detection import DetectionScores
from vitpose.models.detector import DetectorSpec, PersonNet
from vitpose.training.detector_data import LabelledPicture, ResidentPictures
from vitpose.training.detector_run import DetectorConfig, train_detector
from vitpose.training.logs import make_display
from vitpose.weights.detector import load_detector

SMALL = DetectorSpec(side=64, widths=(8, 8, 16, 16), depths=(0, 0, 1, 0), blocks=1, heads=2, neck=8)
LOWEST = 0.02
"""Boxes below are not looked at when the operating point is sought."""


def judge(net: PersonNet, pictures: Sequence[LabelledPicture], device: torch.device) -> DetectionScores:
    """Score a network on labelled pictures."""
    detector = EmbeddedDetector(net, threshold=LOWEST, device=device, batch_size=32)
    return evaluate_detector(detector, [(one.path, one.truth) for one in pictures])


def main(given: Sequence[str] | None = None) -> None:
    """Run the stage and write ``scores.json``."""
    options = parser("Training of the person detector.")
    options.add_argument("--epochs", type=int, default=120)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--evaluate-every", type=int, default=20, help="epochs between evaluations")
    options.add_argument("--side", type=int, default=DetectorConfig().spec.side, help="longer side of a picture")
    options.add_argument("--no-athletes", action="store_true", help="learn from COCO alone")
    arguments = options.parse_args(given)
    device = start(arguments)
    cuda = device.type == "cuda"
    base = DetectorConfig()
    config = replace(
        base,
        spec=SMALL if arguments.small else replace(base.spec, side=arguments.side),
        schedule=replace(base.schedule, epochs=arguments.epochs, warmup_steps=2 if arguments.small else 300),
        batch_size=4 if arguments.small else arguments.batch,
        precision="bf16" if cuda else "fp32",
        compile=cuda,
        evaluate_every=arguments.evaluate_every,
    )
    pictures = detector_pictures(arguments.data, athletes=not arguments.no_athletes)
    training, judged = pictures.train, pictures.validation
    if arguments.small:
        training, judged = training[:8], judged[:4]
    source = ResidentPictures.of(training, config.spec.side, device=device)
    log.info("%d pictures to learn from, %d to be judged on", len(training), len(judged))

    def evaluate(net: PersonNet) -> Mapping[str, float]:
        scores = judge(net, judged, device)
        found = {"recall_tall": scores.recall_tall, "ap50": scores.ap50, "threshold": scores.threshold}
        # Recall decides; precision on everybody breaks ties.
        return {"score": scores.recall_tall + 0.1 * scores.ap50, **found}

    outcome = train_detector(
        config, source, arguments.out, evaluate=evaluate, minutes=arguments.minutes, display=make_display()
    )
    best = arguments.out / "best.safetensors"
    if outcome.finished and best.exists():
        scores = judge(load_detector(best).net, judged, device)
        atomic_write_text(arguments.out / "scores.json", json.dumps(scores.to_dict(), indent=1) + "\n")
        log.info("%s", scores)


if __name__ == "__main__":
    main()
