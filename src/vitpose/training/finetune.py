"""Fine-tuning on a folder of pictures and a COCO JSON: everything that has to be decided, decided from the data.

The skeleton comes from the file. The sizes follow the usual advice for top-down models: start from weights trained on
people, few epochs, small batches; the fewer people, the more passes over them, and always an early stop.
"""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from vitpose.core.errors import InputError
from vitpose.core.files import atomic_write_text
from vitpose.core.skeleton import Skeleton
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import LabelledSet
from vitpose.models.variants import ModelSpec
from vitpose.training.config import (
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LoopConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    ScheduleConfig,
    SetConfig,
)
from vitpose.training.recipe import parse_config
from vitpose.training.settings import dump_toml
from vitpose.training.state import RunFolder
from vitpose.weights.load import load_model

FEW_PICTURES = 500
FEW_PEOPLE = 1000
"""Below these, results depend much on the labels' quality and on luck; the user is told."""

DATASET = "custom"
"""What the head of a fine-tuned model is called."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration and what the user should know about it.

    Attributes:
        config: names ``skeleton_file``, which has to be written before it is used.
        notes: what the user should know.
        skeleton: of the labels.
        skeleton_file: where it goes.
    """

    config: RunConfig
    notes: tuple[str, ...]
    skeleton: Skeleton
    skeleton_file: Path

    def write_skeleton(self) -> None:
        """Write the skeleton of the labels into the run's folder.

        Raises:
            VitPoseError: it cannot be written.
        """
        atomic_write_text(self.skeleton_file, dump_toml(self.skeleton.to_dict()))


@dataclass(frozen=True, slots=True)
class Labels:
    """The annotation files of a folder."""

    train: Path
    validation: Path | None


def plan_finetuning(
    data: str | Path,
    out: str | Path,
    *,
    model: str = "vitpose-b",
    annotations: str | Path | None = None,
    changes: tuple[str, ...] = (),
) -> Plan:
    """Decide how to fine-tune ``model`` on the pictures and labels in a folder.

    Nothing is written; ``Plan.write_skeleton`` does that.

    Args:
        data: folder with pictures and a COCO JSON; a second JSON with ``val`` in its name is used for validation,
            otherwise a part of the pictures is held out.
        out: folder of the run.
        model: what to start from.
        annotations: the JSON, where the folder has several.
        changes: ``a.b=c`` changes to what was decided.

    Raises:
        InputError: no annotation file, several, or a faulty one.
        UsageError: a wrong change.
        WeightsError: the model is not to be had.
    """
    folder = Path(data)
    labels = find_labels(folder) if annotations is None else _named_labels(folder, Path(annotations))
    labelled = read_labelled("auto", labels.train)
    people = labelled.for_training()
    if not len(people):
        raise InputError(f"{labels.train}: nobody in it has a labelled keypoint, so there is nothing to learn from")
    spec = load_model(model).model.spec
    target = Path(out)
    skeleton = replace(labelled.skeleton, name=_simple(labelled.skeleton.name))
    skeleton_file = RunFolder(target).skeleton
    config = _config(target.name or "finetune", model, spec, skeleton_file, labels, people)
    if changes:
        config = parse_config(config.to_toml(), "the planned settings", changes)
    return Plan(config, _notes(labelled, people, skeleton, config), skeleton, skeleton_file)


def _named_labels(folder: Path, annotations: Path) -> Labels:
    """Return the labels a user named, by a path or as the folder has them, with the folder's file for validation."""
    if not annotations.exists() and (folder / annotations).is_file():
        annotations = folder / annotations
    validation = [path for path in _json_files(folder) if "val" in path.stem.lower()]
    alone = (len(validation) == 1 and not annotations.exists()) or len(validation) != 1
    same = not alone and validation[0].samefile(annotations)
    return Labels(annotations, None if alone or same else validation[0])


def _json_files(folder: Path) -> list[Path]:
    return sorted(path for path in (*folder.glob("*.json"), *folder.glob("annotations/*.json")))


def find_labels(folder: Path) -> Labels:
    """Find the COCO JSON of a folder, and the one for validation if there is one.

    Raises:
        InputError: no such folder or file, or more files than can be told apart by name.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}")
    files = _json_files(folder)
    validation = [path for path in files if "val" in path.stem.lower()]
    training = [path for path in files if path not in validation]
    named = [path for path in training if "train" in path.stem.lower()] or training
    if len(named) != 1 or len(validation) > 1:
        found = ", ".join(str(path.relative_to(folder)) for path in files) or "none"
        raise InputError(
            f"{folder}: expected one .json with labels, or one with 'train' and one with 'val' in its name; found"
            f" {found}. Name the file with --annotations"
        )
    return Labels(named[0], validation[0] if validation else None)


EVALUATIONS, PATIENCE = 20, 7
"""How often a run is evaluated, and how many evaluations without gain, a third of them, end it."""


def epochs_for(people: int, batch_size: int) -> int:
    """Return the number of epochs for a set: 8 for small ones, 5 to 20,000 people, 3 above.

    At least 1,500 steps, because the rows of the head that start fresh need them however few people there are.
    """
    usual = 8 if people < 1000 else 5 if people < 20_000 else 3
    steps = max(people // batch_size, 1)
    return max(usual, math.ceil(1500 / steps))


def batch_for(width: int) -> int:
    """Return the batch size for a backbone's width: what fits common graphics cards."""
    return 16 if width <= 384 else 8 if width <= 768 else 4


def _config(name: str, model: str, spec: ModelSpec, skeleton: Path, labels: Labels, people: LabelledSet) -> RunConfig:
    held = 0.0 if labels.validation is not None else 0.15
    batch = min(batch_for(spec.backbone.width), max(len(people) // 2, 1))
    epochs = epochs_for(round(len(people) * (1 - held)), batch)
    backbone = spec.backbone
    validation = () if labels.validation is None else (_set(labels.validation),)
    first = spec.heads[0]
    return RunConfig(
        name=name,
        model=ModelConfig(
            name=name,
            start=model,
            input_size=(spec.input_size.height, spec.input_size.width),
            backbone=BackboneConfig(
                width=backbone.width,
                depth=backbone.depth,
                heads=backbone.heads,
                hidden=backbone.hidden,
                stride=backbone.stride,
                drop_path=min(backbone.drop_path, 0.1),
                attention=backbone.attention_of(backbone.depth - 1).kind,
                window=(backbone.attention_of(0).window.height, backbone.attention_of(0).window.width),
                stem=backbone.stem,
                stem_depths=backbone.stem_depths,
            ),
            heads=(
                HeadConfig(
                    dataset=DATASET,
                    skeleton=str(skeleton),
                    kind=first.kind,
                    maps=first.maps,
                    deconv_width=first.deconv_width,
                ),
            ),
        ),
        data=DataConfig(train=(_set(labels.train),), validation=validation, holdout=held, workers=2),
        # The learning rate of the papers, scaled with the square root of the batch (512 there).
        optim=OptimConfig(lr=5e-4 * math.sqrt(batch / 512), layer_decay=0.75, ema=0.99),
        schedule=ScheduleConfig(kind="cosine", epochs=epochs, warmup_steps=100, milestones=(), patience=PATIENCE),
        loop=LoopConfig(
            batch_size=batch,
            precision="bf16",
            evaluate_every=max(1, epochs // EVALUATIONS),
            save_every=200,
            log_every=20,
        ),
    )


def _set(path: Path) -> SetConfig:
    return SetConfig(dataset=DATASET, format="auto", annotations=str(path.absolute()), images="")


def _simple(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name) or DATASET


def _letters_alone(skeleton: Skeleton) -> list[str]:
    """Return keypoints whose names seem to say a side and that have no partner."""
    paired = {name for pair in skeleton.flip_pairs for name in pair}
    side = re.compile(r"left|right|(^|[_\-. ])[lr]($|[_\-. ])", re.IGNORECASE)
    return [name for name in skeleton.keypoints if name not in paired and side.search(name)]


def _notes(labelled: LabelledSet, people: LabelledSet, skeleton: Skeleton, config: RunConfig) -> tuple[str, ...]:
    pictures = len({record.image_id for record in people.records})
    notes = [f"{len(people)} people in {pictures} pictures, {len(skeleton)} keypoints"]
    left_out = len(labelled) - len(people)
    if left_out:
        notes.append(f"{left_out} people without labelled keypoints (or crowds) are left out")
    if pictures < FEW_PICTURES or len(people) < FEW_PEOPLE:
        notes.append(
            f"fewer than {FEW_PICTURES} pictures or {FEW_PEOPLE} people: expect a result that depends on every label;"
            " `vitpose doctor data` finds the wrong ones"
        )
    if not skeleton.flip_pairs:
        notes.append("no left and right keypoints were found in the names: mirrored crops keep every keypoint's name")
    alone = _letters_alone(skeleton)
    if alone:
        notes.append(
            f"{', '.join(alone)} look like sides without a partner: mirrored crops keep their names; if they are left"
            " and right, give pairs (flip_pairs in the file) or leave mirroring out (--set augment.flip=0)"
        )
    schedule, loop = config.schedule, config.loop
    notes.append(
        f"{schedule.epochs} epochs with batches of {loop.batch_size}, learning rate {config.optim.lr:.1e}, early stop"
        f" after {schedule.patience} evaluations without gain"
    )
    return tuple(notes)
