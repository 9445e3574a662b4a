"""Tensors from another layout into ours and back, by the declared map alone.

Strict in both directions: a tensor that is missing, not expected or of another shape is an error that lists it. What is
left out on purpose stands in ``keymaps.IGNORED`` and is reported.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vitpose.core.errors import UsageError, WeightsError
from vitpose.core.geometry import Size
from vitpose.models.pose import VitPose
from vitpose.models.variants import BackboneSpec, ModelSpec
from vitpose.models.vit import resize_positions
from vitpose.weights.formats import listed
from vitpose.weights.keymaps import POSITION, Layout, Row, rows

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Adapted:
    """A state dict in our names, float32, and what was left out on purpose."""

    state: dict[str, Tensor]
    ignored: tuple[str, ...]


def expected_shapes(spec: ModelSpec) -> dict[str, Shape]:
    """Return the shape of every tensor in the state dict of a model of ``spec``."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in VitPose(spec).state_dict().items()}


def check_parts(parts: Mapping[str, int], tensors: int, where: str) -> None:
    """Refuse a description of more parts than the file has tensors, before anything is made for each of them.

    Args:
        parts: how many of what it is said to hold; each part has a tensor at least.
        tensors: how many it holds.
        where: the file, for the message.

    Raises:
        WeightsError: there are more.
    """
    for what, number in parts.items():
        if number > tensors:
            raise WeightsError(
                f"{where} is said to have {number} {what}, and has only {tensors} tensors: it is damaged; get it again"
            )


def check_model_parts(spec: ModelSpec, tensors: int, where: str) -> None:
    """Do so for the parts of a model.

    Raises:
        WeightsError: see ``check_parts``.
    """
    backbone = spec.backbone
    units = sum(backbone.stem_depths) if backbone.stem == "convolutions" else 0
    experts = backbone.depth * backbone.experts
    parts = {"blocks": backbone.depth, "experts": experts, "units": units, "heads": len(spec.heads)}
    check_parts(parts, tensors, where)


@contextlib.contextmanager
def said_by(where: str) -> Iterator[None]:
    """Take a spec that no model can be built from for the fault of the file that holds it, not for the caller's.

    Raises:
        WeightsError: in place of ``UsageError``.
    """
    try:
        yield
    except UsageError as error:
        raise WeightsError(f"{where} holds no model that can be built: {error}; get it again") from error


def to_ours(
    tensors: Mapping[str, Tensor],
    layout: Layout,
    spec: ModelSpec,
    where: str,
    ignored: Sequence[tuple[str, str]],
) -> Adapted:
    """Rename, stack and fold the tensors of a foreign file.

    The row of position embeddings that belongs to no token is added to all others, as the original model does at every
    call (``x + P[1:] + P[:1]``).

    Args:
        tensors: the file's.
        layout: what its names are.
        spec: the model it holds, heads in the order of the file.
        where: the file, for messages.
        ignored: patterns of keys to leave out, with the reason.

    Raises:
        WeightsError: keys are missing or not expected, shapes differ, or values are not finite.
    """
    check_model_parts(spec, len(tensors), where)
    table = rows(layout, spec)
    shapes = expected_shapes(spec)
    known = {name for row in table for name in row.theirs}
    notes, dropped = leave_out(tensors, known, ignored)
    missing = [name for row in table if not row.optional for name in row.theirs if name not in tensors]
    unexpected = [name for name in tensors if name not in known and name not in dropped]
    wrong = [] if missing else _wrong_shapes(tensors, table, shapes, layout)
    check_fit(missing, unexpected, wrong, where)
    check_types({name: tensors[name] for row in table for name in row.theirs if name in tensors}, where)
    state = {}
    for row in table:
        parts = [tensors[name] for name in row.theirs if name in tensors]
        value = torch.cat(parts) if len(parts) > 1 else parts[0] if parts else torch.zeros((), dtype=torch.int64)
        value = value.to(torch.float32) if value.is_floating_point() else value
        state[row.ours] = _fold(value, shapes[POSITION]) if row.ours == POSITION else value
    check_finite(state, where)
    return Adapted(state, notes)


def from_ours(state: Mapping[str, Tensor], layout: Layout, spec: ModelSpec) -> dict[str, Tensor]:
    """Rename and split the tensors of a model for another layout; the inverse of ``to_ours``.

    Where the layout wants a position row that belongs to no token, it is zeros: ours is folded into the others.
    """
    found = {}
    for row in rows(layout, spec):
        value = state[row.ours]
        if row.ours == POSITION and layout in ("original", "huggingface"):
            value = torch.cat([torch.zeros_like(value[:, :1]), value], dim=1)
        parts = value.chunk(len(row.theirs)) if len(row.theirs) > 1 else (value,)
        for name, part in zip(row.theirs, parts, strict=True):
            found[name] = part.contiguous()
    return found


def check_fit(missing: Sequence[str], unexpected: Sequence[str], wrong: Sequence[str], where: str) -> None:
    """Refuse weights that are not exactly those of the model.

    Args:
        missing: names the model needs and the file has not.
        unexpected: names the file has and the model needs not.
        wrong: descriptions of tensors with another shape.
        where: the file, for the message.

    Raises:
        WeightsError: one of the three is not empty; the first ten of each are listed.
    """
    parts = [
        f"{len(names)} {title}: {listed(names)}"
        for title, names in (("missing", missing), ("not expected", unexpected), ("of another shape", wrong))
        if names
    ]
    if parts:
        raise WeightsError(f"the weights in {where} do not fit the model; tensors {'; '.join(parts)}")


def check_same(
    found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]], where: str, *, fresh: Sequence[str] = ()
) -> None:
    """Refuse tensors whose names and shapes are not the model's.

    Args:
        found: shapes by name.
        expected: those of the model.
        where: the file, for the message.
        fresh: names of the model that need not be found.

    Raises:
        WeightsError: they differ.
    """
    check_fit(
        missing=[name for name in expected if name not in found and name not in fresh],
        unexpected=[name for name in found if name not in expected],
        wrong=[
            wrong_shape(name, shape, expected[name])
            for name, shape in found.items()
            if name in expected and tuple(shape) != tuple(expected[name])
        ],
        where=where,
    )


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors by name."""
    return {name: tuple(value.shape) for name, value in state.items()}


def check_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights with NaN or infinite values.

    Raises:
        WeightsError: some are not finite; the first ten tensors are listed.
    """
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise WeightsError(
            f"the weights in {where} hold NaN or infinite values: {listed(broken)}; the training or the copy went"
            " wrong, get another file"
        )


def check_types(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that are not real numbers, such as those of a quantised file.

    Raises:
        WeightsError: one is something else.
    """
    for name, value in tensors.items():
        if not value.is_floating_point() and not name.endswith("num_batches_tracked"):
            kind = str(value.dtype).removeprefix("torch.")
            raise WeightsError(f"the weights in {where} are not all floating point: {name} is {kind}")


def wrong_shape(name: str, found: Sequence[int], expected: Sequence[int]) -> str:
    """Say how a tensor's shape differs."""
    return f"{name} {tuple(found)} instead of {tuple(expected)}"


def leave_out(
    tensors: Mapping[str, Tensor], known: set[str], patterns: Sequence[tuple[str, str]]
) -> tuple[tuple[str, ...], set[str]]:
    """Return notes on the keys that are left out on purpose, and those keys.

    Args:
        tensors: the file's.
        known: keys the model takes.
        patterns: of keys to leave out, with the reason.
    """
    notes, dropped = [], set()
    for pattern, reason in patterns:
        names = [name for name in tensors if name not in known and re.fullmatch(pattern, name)]
        if names:
            dropped.update(names)
            notes.append(f"left out {len(names)} tensors ({names[0]}{' ...' if len(names) > 1 else ''}): {reason}")
    return tuple(notes), dropped


def _wrong_shapes(
    tensors: Mapping[str, Tensor], table: Sequence[Row], shapes: Mapping[str, Shape], layout: Layout
) -> list[str]:
    found = []
    for row in table:
        expected = shapes[row.ours]
        allowed = [expected]
        if row.ours == POSITION:
            _, tokens, width = expected
            # Only transformers always writes the row of no token; files of the others come in both forms.
            allowed = [(1, tokens + 1, width)] if layout == "huggingface" else [(1, tokens + 1, width), expected]
        elif len(row.theirs) > 1:
            allowed = [(expected[0] // len(row.theirs), *expected[1:])]
        found += [
            wrong_shape(name, tensors[name].shape, allowed[0])
            for name in row.theirs
            if name in tensors and tuple(tensors[name].shape) not in allowed
        ]
    return found


def _fold(positions: Tensor, expected: Shape) -> Tensor:
    return positions if tuple(positions.shape) == expected else fold_positions(positions)


def fold_positions(positions: Tensor) -> Tensor:
    """Add row 0 of ``(1, tokens + 1, width)`` position embeddings to all others: ``(1, tokens, width)``."""
    return positions[:, 1:] + positions[:, :1]


def fit_backbone(state: Mapping[str, Tensor], grid: Size, spec: BackboneSpec, new_grid: Size) -> dict[str, Tensor]:
    """Fit the tensors of a dense backbone to another grid, patch size or number of experts.

    Positions are resized (bicubic). A smaller patch kernel, as ViT-H's of 14 pixels in masked pre-training, gets a
    border of zeros. For experts, the last rows of every ``fc2`` are copied to each of them (ViTPose++, section 3.4).

    Args:
        state: our names; only ``backbone.*`` is used.
        grid: token grid of its positions.
        spec: the backbone wanted.
        new_grid: its token grid.
    """
    fitted = {}
    for name, value in state.items():
        if name == POSITION:
            fitted[name] = resize_positions(value, grid, new_grid)
        elif name == "backbone.patch_embed.weight":
            border = (spec.patch - value.shape[-1]) // 2
            fitted[name] = F.pad(value, (border,) * 4) if border > 0 else value
        elif ".ffn.fc2." in name and spec.experts:
            shared = spec.width - spec.expert_width
            fitted[name] = value[:shared]
            for expert in range(spec.experts):
                fitted[name.replace(".fc2.", f".experts.{expert}.")] = value[shared:]
        elif name.startswith("backbone."):
            fitted[name] = value
    return fitted
