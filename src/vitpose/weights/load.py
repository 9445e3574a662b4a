"""From a name or a path to a model: the one way weights come in, whoever made them.

A source is a catalogue id, a hub repository (``organisation/name``), a folder or a file. What a file says itself
counts; what it does not say comes from the catalogue, then from the caller, then from an assumption that is written
down and logged once. Nothing is guessed from names of files.
"""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitpose.core.errors import UsageError, WeightsError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.models.pose import VitPose, build_from_state
from vitpose.models.variants import ModelSpec
from vitpose.weights.adapt import said_by, to_ours
from vitpose.weights.checkpoint import is_checkpoint, parse_checkpoint
from vitpose.weights.formats import RawWeights, listed, read_shards, read_weights
from vitpose.weights.heads import head_for
from vitpose.weights.huggingface import CONFIG, INDEX, describe, read_config, weight_file
from vitpose.weights.infer import Hints, Inferred, infer_model
from vitpose.weights.initialize import initialize_from_mae
from vitpose.weights.keymaps import IGNORED, PRE_TRAINED, Layout, detect
from vitpose.weights.locate import Located, locate, row_of_file

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model with weights, and where they came from.

    Attributes:
        model: in evaluation mode.
        skeletons: by dataset, one for every head.
        name: catalogue id, or what the file calls itself.
        source: what the weights were loaded from.
        sha256: of the file, or of the digests of several files one after the other.
        assumptions: what the file did not say and had to be assumed.
        ignored: what was left out of the file on purpose.
        metadata: what our own checkpoints carry beside the weights.
    """

    model: VitPose
    skeletons: dict[str, Skeleton]
    name: str
    source: str
    sha256: str
    assumptions: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def load_model(
    source: str | Path,
    *,
    dataset: str | None = None,
    skeleton: Skeleton | str | Path | None = None,
    input_size: Size | tuple[int, int] | None = None,
    spec: ModelSpec | None = None,
    device: str | torch.device = "cpu",
) -> LoadedModel:
    """Load a model from anywhere, in any published format.

    Args:
        source: catalogue id or alias, hub repository, folder or file.
        dataset: what the only head was trained on where the file does not say; where it does, which head comes first.
        skeleton: what the keypoints of the only head are: a built-in name, a TOML file or an object.
        input_size: crop size in pixels; position embeddings of another size are resized. Where a file of an unusual
            size does not say which, its own.
        spec: what the file holds, where it cannot be told from the tensors; for a backbone from masked pre-training,
            the model to build on it.
        device: where the model goes.

    Raises:
        WeightsError: the weights cannot be had, are damaged, do not fit, or nobody can say what they are.
        UsageError: a name that is not known, or a dataset the model has no head for.
    """
    where = locate(source)
    wanted = None if input_size is None else Size(*input_size)
    named = load_skeleton(skeleton) if skeleton is not None else None
    parts = _first(_read(where, Asked(dataset, named, wanted, spec)), dataset)
    model = build_from_state(parts.spec, parts.state)
    assumptions = parts.assumptions
    if wanted is not None and parts.spec.input_size != wanted:
        old = parts.spec.input_size
        model = model.resized(wanted)
        words = f"resized position embeddings from input {old.height}x{old.width} to {wanted.height}x{wanted.width}"
        assumptions = (*assumptions, words)
    if assumptions:
        _LOGGER.warning("%s: %s", where.source, "; ".join(assumptions))
    return LoadedModel(
        model=model.to(device).eval(),
        skeletons=parts.skeletons,
        name=parts.spec.name,
        source=where.source,
        sha256=parts.sha256,
        assumptions=assumptions,
        ignored=parts.ignored,
        metadata=parts.metadata,
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller says about a file."""

    dataset: str | None
    skeleton: Skeleton | None
    input_size: Size | None
    spec: ModelSpec | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A model before it is built."""

    spec: ModelSpec
    state: dict[str, Tensor]
    skeletons: dict[str, Skeleton]
    sha256: str
    assumptions: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def _read(where: Located, asked: Asked) -> Parts:
    """Read a file in whatever format it is."""
    raw = _raw(where.path)
    row = None if where.heads else row_of_file(raw.sha256)
    where = where if row is None else replace(where, name=row.id, heads=row.heads)
    if is_checkpoint(raw):
        return _own(raw, asked.skeleton)
    layout = detect(raw.tensors)
    if layout is None:
        raise WeightsError(
            f"{where.path} is not a ViTPose model in any known layout: its {len(raw.tensors)} tensors are called"
            f" {listed(list(raw.tensors), 4)}"
        )
    if layout in PRE_TRAINED:
        return _pre_trained(raw, layout, where, asked)
    if asked.spec is not None:
        skeletons = _skeletons_of(asked.spec, asked.skeleton, str(where.path))
        found = Inferred(asked.spec, skeletons, (), IGNORED[layout], raw.tensors)
    else:
        found = _infer(raw, layout, where, asked)
    _check_skeleton(found.spec, asked.skeleton, str(where.path))
    # A spec that cannot be built is the file's fault, unless the caller gave it.
    with said_by(str(where.path)) if asked.spec is None else contextlib.nullcontext():
        adapted = to_ours(found.tensors, layout, found.spec, str(where.path), found.ignored)
    return Parts(
        spec=found.spec,
        state=adapted.state,
        skeletons=found.skeletons,
        sha256=raw.sha256,
        assumptions=found.assumptions,
        ignored=adapted.ignored,
    )


def _raw(path: Path) -> RawWeights:
    if path.is_dir():
        path = weight_file(path)
    return read_shards(path) if path.name == INDEX else read_weights(path)


def _infer(raw: RawWeights, layout: Layout, where: Located, asked: Asked) -> Inferred:
    hints = Hints(
        name=where.name,
        where=str(where.path),
        dataset=asked.dataset,
        skeleton=asked.skeleton,
        input_size=asked.input_size,
        heads=where.heads,
    )
    folder = where.path if where.path.is_dir() else where.path.parent
    if layout == "huggingface" and (where.path.is_dir() or (folder / CONFIG).is_file()):
        return describe(read_config(folder), raw.tensors, hints)
    return infer_model(raw.tensors, layout, hints)


def _own(raw: RawWeights, skeleton: Skeleton | None) -> Parts:
    found = parse_checkpoint(raw)
    spec, skeletons = found.spec, found.skeletons
    if skeleton is not None:
        skeletons = _skeletons_of(spec, skeleton, str(raw.path))
        spec = replace(spec, heads=(replace(spec.heads[0], skeleton=skeleton.name),))
    return Parts(spec=spec, state=found.state, skeletons=skeletons, sha256=raw.sha256, metadata=found.metadata)


def _pre_trained(raw: RawWeights, layout: Layout, where: Located, asked: Asked) -> Parts:
    if asked.spec is None:
        raise WeightsError(
            f"{where.path} is a backbone from masked pre-training without a head, so it finds no keypoints yet: train"
            " a model that starts from it, or pass spec=... to build one"
        )
    model = VitPose(asked.spec)
    notes = initialize_from_mae(model, raw, layout)
    return Parts(
        spec=asked.spec,
        state=model.state_dict(),
        skeletons=_skeletons_of(asked.spec, asked.skeleton, str(where.path)),
        sha256=raw.sha256,
        assumptions=("the backbone is pre-trained, its last norm and all heads start fresh",),
        ignored=notes,
    )


def _skeletons_of(spec: ModelSpec, skeleton: Skeleton | None, where: str) -> dict[str, Skeleton]:
    """Return the skeletons the heads of ``spec`` name, or the caller's for the only head."""
    _check_skeleton(spec, skeleton, where)
    return {
        head.dataset: head_for(head.keypoints, where, dataset=head.dataset, skeleton=skeleton or head.skeleton).skeleton
        for head in spec.heads
    }


def _check_skeleton(spec: ModelSpec, skeleton: Skeleton | None, where: str) -> None:
    if skeleton is not None and len(spec.heads) != 1:
        raise UsageError(f"{where} has {len(spec.heads)} heads, each with its own keypoints: leave skeleton out")


def _first(parts: Parts, dataset: str | None) -> Parts:
    """Put the head the caller named first, where it is the default."""
    if dataset is None:
        return parts
    first = parts.spec.head(dataset)
    others = tuple(head for head in parts.spec.heads if head is not first)
    return replace(parts, spec=replace(parts.spec, heads=(first, *others)))
