"""Stage 4: the student learns from labels, made labels, and the teacher's heatmaps and token.

First a short run gives the frozen teacher its token (``OUT/token``), then the student is trained (``OUT/student``).

python -m scripts.embedded.stage4_student --data DATA --out runs/student-ti --size ti --start runs/pretrain-ti/last.safetensors \
    --teacher runs/teacher/last.safetensors --pseudo runs/pseudo --fit-minutes 5
"""  # noqa: E501 - a command

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.embedded.common import SIZES, SMALL_PEOPLE, configured, parser, run_stage, start

from vitpose.training.config import RunConfig, SetConfig
from vitpose.weights.load import load_model

HEADS = {"ti": "classic", "s6": "simple", "s": "simple", "b": "simple"}
"""What fits in 25 MB of float16: Ti with two classic heads takes 18 MB, S with half its blocks and simple ones 22."""


def with_made_labels(config: RunConfig, folder: Path | None, *, small: bool) -> RunConfig:
    """Add the files of stage 3 to the training sets."""
    if folder is None:
        return config
    first = SMALL_PEOPLE if small else 0
    sets = (
        ("coco", "athletes-coco", "lspet/images"),
        ("coco", "bare-coco", "coco/images"),
        ("lspet", "coco-lspet", "coco/images"),
    )
    added = tuple(
        SetConfig(dataset=dataset, annotations=str((folder / f"{name}.json").absolute()), images=images, first=first)
        for dataset, name, images in sets
    )
    return replace(config, data=replace(config.data, train=config.data.train + added))


def train_token(arguments: argparse.Namespace) -> Path:
    """Give the teacher its token and return the file that holds it."""
    own = argparse.Namespace(**{**vars(arguments), "out": arguments.out / "token", "fit_minutes": 0.0})
    own.out.mkdir(parents=True, exist_ok=True)
    spec = load_model(arguments.teacher).model.spec
    backbone = spec.backbone
    shape = {"width": backbone.width, "depth": backbone.depth, "heads": backbone.heads, "hidden": backbone.hidden}
    changes = [f"model.backbone.{key}={value}" for key, value in shape.items()]
    changes += [f"model.heads.{place}.kind={head.kind}" for place, head in enumerate(spec.heads)]
    config = configured("token", own, "s", *changes, f"model.start={json.dumps(str(arguments.teacher))}")
    if arguments.small:
        config = replace(config, schedule=replace(config.schedule, epochs=1))
    run_stage(config, own)
    return Path(own.out / "last.safetensors")


def train_student(arguments: argparse.Namespace, token: Path | None) -> Path:
    """Train the student and return its file."""
    own = argparse.Namespace(**{**vars(arguments), "out": arguments.out / "student"})
    own.out.mkdir(parents=True, exist_ok=True)
    changes = [f"model.heads.{place}.kind={HEADS[arguments.size]}" for place in range(2)]
    changes += [
        f"model.name=vitpose-embedded-{arguments.size}",
        f"model.start={json.dumps(arguments.start)}",
        f"objective.distill.teacher={json.dumps(str(arguments.teacher))}",
        f"objective.distill.token={json.dumps('' if token is None else str(token))}",
    ]
    begun = (own.out / "config.toml").exists()
    config = configured("student", own, arguments.size, *changes)
    if not begun:
        config = with_made_labels(config, arguments.pseudo, small=arguments.small)
    if arguments.small:
        config = replace(config, schedule=replace(config.schedule, epochs=1))
    run_stage(config, own)
    return Path(own.out / "last.safetensors")


def main(given: Sequence[str] | None = None) -> None:
    """Run the stage."""
    options = parser("Distillation into the student.")
    options.add_argument("--size", choices=tuple(SIZES), default="ti")
    options.add_argument("--start", default="", help="pre-trained backbone; none starts from random weights")
    options.add_argument("--teacher", type=Path, required=True)
    options.add_argument("--pseudo", type=Path, help="folder of stage 3; none trains on labels alone")
    options.add_argument("--no-token", action="store_true", help="leave the token out")
    options.add_argument("--fit-minutes", type=float, default=0.0, help="as many student epochs as fit in this time")
    arguments = options.parse_args(given)
    start(arguments)
    train_student(arguments, None if arguments.no_token else train_token(arguments))


if __name__ == "__main__":
    main()
