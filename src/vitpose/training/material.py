"""The people of a run: read, chosen and varied as its configuration says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.data.augment import NONE, Augmentation
from vitpose.data.mixture import Mixture, Source
from vitpose.data.people import CropPlan
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import LabelledSet
from vitpose.data.resident import Resident
from vitpose.data.topdown import TopDown
from vitpose.data.unlabelled import Unlabelled
from vitpose.training.config import PICTURES, HeadConfig, RunConfig, SetConfig
from vitpose.training.validate import ValidationSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a run learns from and is judged by.

    Attributes:
        train: varied crops.
        people: how many of them each dataset has.
        validation: labelled sets for keypoint scores.
        unlabelled: crops for the loss of objectives without keypoints.
    """

    train: Source
    people: Mapping[str, int]
    validation: tuple[ValidationSet, ...] = ()
    unlabelled: Source | None = field(default=None)


def load_material(config: RunConfig, *, device: torch.device | str = "cpu") -> Material:
    """Read the sets a configuration names.

    Args:
        config: of the run.
        device: where pictures are kept if ``data.resident``.

    Raises:
        InputError: a file is missing or faulty; the place is named.
        UsageError: sets and heads do not go together.
    """
    if config.objective.kind == "masked":
        return _masked(config)
    training = [(one, _usable(_split(config, read_set(config, one))[0])) for one in config.data.train]
    people: dict[str, int] = {}
    for one, labelled in training:
        people[one.dataset] = people.get(one.dataset, 0) + len(labelled)
    train = _joined([_source(config, one, labelled, device) for one, labelled in training])
    validation = validation_sets(config)
    losses = None
    if config.objective.kind == "knowledge-token" and validation:
        losses = _joined([TopDown.of(_usable(one.labelled), _plan(config, one.dataset, NONE)) for one in validation])
    return Material(train=train, people=people, validation=validation, unlabelled=losses)


def validation_sets(config: RunConfig) -> tuple[ValidationSet, ...]:
    """Read the labelled sets a run is judged by: those it names, else what is held out of the training sets.

    Raises:
        InputError: a file is missing or faulty.
        UsageError: sets and heads do not go together.
    """
    if config.objective.kind == "masked":
        return ()
    if config.data.validation or not config.data.holdout:
        return tuple(_validation(config, one, read_set(config, one)) for one in config.data.validation)
    return tuple(_validation(config, one, _split(config, read_set(config, one))[1]) for one in config.data.train)


def _split(config: RunConfig, labelled: LabelledSet) -> tuple[LabelledSet, LabelledSet]:
    """Return what of a training set is trained on and what is held out, by picture.

    Pictures in which nobody is labelled teach and judge nothing, and are in neither part.

    Raises:
        InputError: people are labelled in one picture only.
    """
    if config.data.validation or not config.data.holdout:
        return labelled, labelled
    told = {record.image_id for record in labelled.for_training().records}
    if len(told) < 2:
        raise InputError(
            f"{labelled.source}: people are labelled in {len(told)} picture, and some must be held out to judge by:"
            " label more, or give a second file for validation"
        )
    return labelled.only_images(told.__contains__).split(config.data.holdout, seed=config.seed)


def read_set(config: RunConfig, one: SetConfig) -> LabelledSet:
    """Read one labelled set, with the keypoints of its head.

    Raises:
        InputError: a file is missing or faulty.
        UsageError: the set's skeleton is not that of the head.
    """
    if not one.annotations:
        raise UsageError(f"data: the set for {one.dataset!r} names no annotations")
    images = _path(config, one.images) if one.images else None
    labelled = read_labelled(one.format, _path(config, one.annotations), images)
    if config.objective.kind != "masked":
        labelled = _with_skeleton(labelled, _head(config, one.dataset), one)
    if one.skip or one.first:
        labelled = labelled.select(slice(one.skip, one.skip + one.first if one.first else None))
    return labelled


def _with_skeleton(labelled: LabelledSet, head: HeadConfig, one: SetConfig) -> LabelledSet:
    skeleton = load_skeleton(head.skeleton)
    if labelled.skeleton.keypoints == skeleton.keypoints:
        return replace(labelled, skeleton=skeleton)
    if one.map_to_head:
        return labelled.with_keypoints_of(skeleton)
    raise UsageError(
        f"{labelled.source}: its keypoints ({', '.join(labelled.skeleton.keypoints[:4])} …, {len(labelled.skeleton)} in"
        f" all) are not those of skeleton {skeleton.name!r} of head {head.dataset!r}; set map_to_head = true for this"
        " set to match them by name"
    )


def _head(config: RunConfig, dataset: str) -> HeadConfig:
    return next(head for head in config.model.heads if head.dataset == dataset)


def _path(config: RunConfig, path: str) -> Path:
    return Path(config.data.root) / Path(path).expanduser()


def _usable(labelled: LabelledSet) -> LabelledSet:
    chosen = labelled.for_training()
    if not len(chosen):
        raise InputError(f"{labelled.source}: nobody in it has a labelled keypoint and an area")
    return chosen


def _plan(config: RunConfig, dataset: str, augmentation: Augmentation) -> CropPlan:
    head = _head(config, dataset)
    return CropPlan(
        dataset=dataset,
        size=Size(*config.model.input_size),
        convention=head.codec,
        square=head.square_box,
        augmentation=augmentation,
    )


def _source(config: RunConfig, one: SetConfig, labelled: LabelledSet, device: torch.device | str) -> Source:
    law = config.augment
    if one.half_body >= 0:
        law = replace(law, half_body=one.half_body)
    if one.half_body_minimum >= 0:
        law = replace(law, half_body_minimum=one.half_body_minimum)
    plan = _plan(config, one.dataset, law)
    return Resident.of(labelled, plan, device) if config.data.resident else TopDown.of(labelled, plan)


def _joined(sources: Sequence[Source]) -> Source:
    return sources[0] if len(sources) == 1 else Mixture.of(sources)


def _validation(config: RunConfig, one: SetConfig, labelled: LabelledSet) -> ValidationSet:
    return ValidationSet(one.dataset, labelled, str(_path(config, one.boxes)) if one.boxes else "gt")


def _masked(config: RunConfig) -> Material:
    sources = [_unlabelled(config, one) for one in config.data.train]
    judged = [_unlabelled(config, one) for one in config.data.validation]
    train = _joined(sources)
    return Material(train=train, people={"": len(train)}, unlabelled=_joined(judged) if judged else None)


def _unlabelled(config: RunConfig, one: SetConfig) -> Source:
    size, part = Size(*config.model.input_size), config.objective.masked.smallest_part
    if one.format == PICTURES:
        return Unlabelled.of_folder(_path(config, one.images), size, smallest_part=part)
    labelled = read_set(config, one)
    if not config.objective.masked.people:
        return Unlabelled(tuple(dict.fromkeys(image.path for image in labelled.images)), None, size, part)
    return Unlabelled.of_people(labelled.for_training(), size, smallest_part=part)
