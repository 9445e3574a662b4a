"""Our own format: one ``.safetensors`` file that says itself what it is.

The header entry ``vitpose`` holds JSON: schema name and version, the spec (with the codec of every head), one skeleton
a head, and free metadata (where the weights came from, how they were trained). Nothing has to be guessed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from vitpose._version import __version__
from vitpose.core.errors import InputError, UsageError, WeightsError
from vitpose.core.files import atomic_path
from vitpose.core.skeleton import Skeleton
from vitpose.models.pose import VitPose
from vitpose.models.variants import ModelSpec
from vitpose.weights.adapt import (
    check_finite,
    check_model_parts,
    check_same,
    check_types,
    expected_shapes,
    said_by,
    shapes_of,
)
from vitpose.weights.formats import RawWeights
from vitpose.weights.storage import to_half

SCHEMA: Final = "vitpose-checkpoint"
VERSION: Final = 1
ENTRY: Final = "vitpose"

DAMAGE: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, InputError)
"""What a description that is not what it should be may raise while it is read."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What one of our files holds: all it takes to build the model, and its history."""

    spec: ModelSpec
    skeletons: dict[str, Skeleton]
    metadata: dict[str, Any]
    state: dict[str, torch.Tensor]


def save_checkpoint(
    path: str | Path,
    model: VitPose,
    skeletons: Mapping[str, Skeleton],
    metadata: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a model with all it takes to use it.

    The file appears whole or not at all, and equal models make equal files.

    Args:
        path: usually ends in ``.safetensors``.
        model: any.
        skeletons: one for every head, by dataset.
        metadata: anything JSON can hold.
        half: store float16; reading casts back to float32.

    Raises:
        UsageError: a head without a skeleton, or metadata that JSON cannot hold.
        WeightsError: values that are not finite, or beyond float16.
        VitPoseError: the file cannot be written.
    """
    spec = model.spec
    for head in spec.heads:
        keypoints = len(skeletons[head.dataset]) if head.dataset in skeletons else 0
        if keypoints != head.keypoints:
            raise UsageError(
                f"saving {path}: the head for {head.dataset} needs a skeleton of {head.keypoints} keypoints, not"
                f" {keypoints or 'none'}"
            )
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    check_finite(state, f"the model to save as {path}")
    description = {
        "schema": SCHEMA,
        "version": VERSION,
        "written_by": f"vitpose {__version__}",
        "spec": spec.to_dict(),
        "skeletons": {head.dataset: skeletons[head.dataset].to_dict() for head in spec.heads},
        "metadata": dict(metadata or {}),
    }
    try:
        # One entry only: the order of several is not fixed, and equal models must make equal files.
        header = {ENTRY: json.dumps(description, sort_keys=True, allow_nan=False)}
    except (TypeError, ValueError) as error:
        raise UsageError(f"saving {path}: the metadata does not go into JSON: {error}") from error
    with atomic_path(path) as temporary:
        try:
            save_file(to_half(state, str(path)) if half else state, temporary, metadata=header)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def is_checkpoint(raw: RawWeights) -> bool:
    """Return whether a file is one of ours."""
    return ENTRY in raw.header


def parse_checkpoint(raw: RawWeights) -> Checkpoint:
    """Read one of our files.

    Raises:
        WeightsError: another schema or a newer version, a damaged header, or tensors that do not fit the spec.
    """
    where = str(raw.path)
    try:
        plain = json.loads(raw.header[ENTRY])
        if plain["schema"] != SCHEMA:
            raise WeightsError(
                f"{where} has schema {plain['schema']!r}, not {SCHEMA!r}: it is no checkpoint of vitpose"
            )
        if plain["version"] > VERSION:
            raise WeightsError(
                f"{where} has schema version {plain['version']}, this vitpose reads up to {VERSION}: upgrade vitpose"
            )
        spec = ModelSpec.from_dict(plain["spec"], where=where)
        skeletons = {
            dataset: Skeleton.from_dict(skeleton, where=f"{where}, skeleton of {dataset}")
            for dataset, skeleton in plain["skeletons"].items()
        }
        metadata = dict(plain["metadata"])
    except DAMAGE as error:
        raise WeightsError(f"the description in {where} is damaged ({error}); get the file again") from error
    _check(raw, spec, skeletons)
    state = {
        name: value.to(torch.float32) if value.is_floating_point() else value for name, value in raw.tensors.items()
    }
    check_finite(state, where)
    return Checkpoint(spec, skeletons, metadata, state)


def _check(raw: RawWeights, spec: ModelSpec, skeletons: Mapping[str, Skeleton]) -> None:
    where = str(raw.path)
    for head in spec.heads:
        if head.dataset not in skeletons or len(skeletons[head.dataset]) != head.keypoints:
            raise WeightsError(f"{where} has no skeleton of {head.keypoints} keypoints for its head {head.dataset}")
    check_model_parts(spec, len(raw.tensors), where)
    with said_by(where):
        expected = expected_shapes(spec)
    check_same(shapes_of(raw.tensors), expected, where)
    check_types(raw.tensors, where)
