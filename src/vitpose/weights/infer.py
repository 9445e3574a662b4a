"""What model a foreign file holds, from the shapes of its tensors, as far as they say it without doubt."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from vitpose.core.errors import WeightsError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.models.variants import BACKBONES, LARGEST, PLUS_HEADS, BackboneSpec, HeadSpec, ModelSpec, published_specs
from vitpose.weights.adapt import said_by
from vitpose.weights.heads import SHARED_ORDER, KnownHead, head_for
from vitpose.weights.keymaps import (
    IGNORED,
    LEFTOVERS,
    Layout,
    depth_of,
    first_name,
    head_kind,
    head_slots,
)

_PATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What the caller or the catalogue knows about a file.

    Attributes:
        name: what the model is called.
        where: the file, for messages.
        dataset: what a single head was trained on.
        skeleton: what the keypoints of a single head are.
        input_size: crop size in pixels.
        heads: all heads in the order of the file, if the catalogue knows them.
    """

    name: str
    where: str
    dataset: str | None = None
    skeleton: Skeleton | str | None = None
    input_size: Size | None = None
    heads: tuple[HeadSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Inferred:
    """A spec for a file, with everything that was assumed on the way.

    Attributes:
        spec: the model in the file, heads in the order of the file.
        skeletons: by dataset.
        assumptions: for the caller to read.
        ignored: patterns of keys to leave out, with the reason.
        tensors: the file's, heads cut to their keypoints.
    """

    spec: ModelSpec
    skeletons: dict[str, Skeleton]
    assumptions: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]
    tensors: Mapping[str, Tensor]


def infer_model(tensors: Mapping[str, Tensor], layout: Layout, hints: Hints) -> Inferred:
    """Read backbone, heads and input size off the tensors.

    Raises:
        WeightsError: no head, a width without a known number of attention heads, or keypoints nobody can name.
        UsageError: the hints name an unknown dataset or skeleton.
    """
    backbone, assumed, leftovers = _backbone(tensors, layout, hints.where)
    slots = 1 if leftovers else head_slots(layout, tensors)
    if not slots or first_name(layout, "out") not in tensors:
        raise WeightsError(
            f"{hints.where} holds a backbone without a head; use it as the initialisation of a model (pass spec=...)"
        )
    shapes = [_shape(tensors, first_name(layout, "out", slot=slot), 4, hints.where) for slot in range(slots)]
    known = _heads([shape[0] for shape in shapes], backbone.experts, hints)
    with said_by(hints.where):
        heads = tuple(
            replace(
                head.spec,
                kind=head_kind(layout, tensors, slot),
                deconv_width=_deconv_width(tensors, layout, slot, hints.where) or head.spec.deconv_width,
            )
            for slot, head in enumerate(known)
        )
    size, size_notes = _input_size(tensors, layout, hints)
    spec = ModelSpec(name=hints.name, backbone=backbone, heads=heads, input_size=size)
    notes = [*assumed, *(words for head in known for words in head.assumptions), *size_notes]
    cut, cut_notes = _cut_heads(tensors, layout, heads, [shape[0] for shape in shapes])
    ignored = IGNORED[layout] + (LEFTOVERS if leftovers else ())
    skeletons = {head.spec.dataset: head.skeleton for head in known}
    return Inferred(titled(spec), skeletons, tuple(dict.fromkeys([*notes, *cut_notes])), ignored, cut)


def titled(spec: ModelSpec) -> ModelSpec:
    """Return the spec; one without a name gets that of the published model it is, or is some heads of."""
    if spec.name:
        return spec
    for name, published in published_specs().items():
        backbone = replace(spec.backbone, norm_eps=published.backbone.norm_eps)
        if backbone == published.backbone and set(spec.heads) <= set(published.heads):
            return replace(spec, name=name)
    return replace(spec, name="vitpose")


def _backbone(tensors: Mapping[str, Tensor], layout: Layout, where: str) -> tuple[BackboneSpec, list[str], bool]:
    """Return the backbone, what was assumed, and whether experts are left over from splitting."""
    width, channels, *kernel = _shape(tensors, first_name(layout, "patch_embed"), 4, where)
    if channels != 3 or kernel != [_PATCH, _PATCH]:
        raise WeightsError(
            f"{where} has patches of {channels} x {kernel[0]} x {kernel[1]}; a pose model has 3 x {_PATCH} x {_PATCH}"
        )
    known = next((letter for letter, spec in BACKBONES.items() if spec.width == width), None)
    if known is None:
        widths = ", ".join(str(spec.width) for spec in BACKBONES.values())
        raise WeightsError(
            f"{where} is {width} wide, not {widths}, and no file says how many attention heads; pass spec=..."
        )
    depth = depth_of(tensors)
    published = BACKBONES[known]
    hidden = _shape(tensors, first_name(layout, "ffn.fc1"), 2, where)[0]
    shared = _shape(tensors, first_name(layout, "ffn.fc2"), 2, where)[0]
    experts, expert_width = _experts(tensors, layout, where)
    leftovers = experts > 0 and shared == width
    with said_by(where):
        spec = replace(
            published,
            depth=depth,
            hidden=published.hidden if hidden == published.hidden_width else hidden,
            experts=0 if leftovers else experts,
            expert_width=0 if leftovers else expert_width,
        )
    notes = []
    if depth != published.depth:
        notes.append(f"it has {depth} blocks, though a model this wide was published with {published.depth}")
    return spec, notes, leftovers


def _experts(tensors: Mapping[str, Tensor], layout: Layout, where: str) -> tuple[int, int]:
    first = first_name(layout, "ffn.experts.{e}")
    if first is None or first not in tensors:
        return 0, 0
    stem = re.escape(first.removesuffix(".0.weight"))
    count = sum(bool(re.fullmatch(rf"{stem}\.\d+\.weight", name)) for name in tensors)
    return count, _shape(tensors, first, 2, where)[0]


def _heads(counts: list[int], experts: int, hints: Hints) -> list[KnownHead]:
    """Name the heads of a file, in its order, from their numbers of keypoints."""
    if hints.heads and hints.skeleton is None:
        if len(hints.heads) != len(counts):
            raise WeightsError(
                f"{hints.where} has {len(counts)} heads, but the catalogue says {len(hints.heads)}: it is another file"
            )
        return [KnownHead(head, load_skeleton(head.skeleton)) for head in hints.heads]
    if experts and len(counts) == len(PLUS_HEADS) == experts:
        return [KnownHead(head, load_skeleton(head.skeleton)) for head in PLUS_HEADS]
    if len(counts) == 1:
        known_head = head_for(counts[0], hints.where, dataset=hints.dataset, skeleton=hints.skeleton)
        number = next((head.expert for head in PLUS_HEADS if head.dataset == known_head.spec.dataset), 0)
        return [replace(known_head, spec=replace(known_head.spec, expert=number if experts else 0))]
    if experts or len(counts) > len(SHARED_ORDER):
        raise WeightsError(
            f"{hints.where} has {len(counts)} heads for {experts} experts, which is no published model; pass spec=..."
        )
    names = SHARED_ORDER[: len(counts)]
    known = [head_for(count, hints.where, dataset=name) for count, name in zip(counts, names, strict=True)]
    words = f"assumed that its {len(counts)} heads are those of {', '.join(names)}; pass spec=... to say otherwise"
    return [replace(known[0], assumptions=(words,)), *known[1:]]


def _deconv_width(tensors: Mapping[str, Tensor], layout: Layout, slot: int, where: str) -> int:
    """Return the channels of a head's deconvolutions; 0 when it has none."""
    name = first_name(layout, "deconv1", slot=slot)
    return _shape(tensors, name, 4, where)[1] if name in tensors else 0


def _cut_heads(
    tensors: Mapping[str, Tensor], layout: Layout, heads: tuple[HeadSpec, ...], counts: list[int]
) -> tuple[Mapping[str, Tensor], list[str]]:
    """Cut heads that have more rows than keypoints, as the original splitter does; unsplit files may be padded."""
    cut, notes = dict(tensors), []
    for slot, (head, count) in enumerate(zip(heads, counts, strict=True)):
        if len(heads) > 1 and count > head.keypoints:
            for kind in (".weight", ".bias"):
                name = first_name(layout, "out", kind, slot)
                if name is not None and name in cut:
                    cut[name] = cut[name][: head.keypoints]
            notes.append(f"cut the head for {head.dataset} from {count} to its {head.keypoints} heatmaps")
    return cut, notes


def token_grid(rows: int) -> tuple[Size, bool] | None:
    """Return the token grid that ``rows`` position embeddings stand for, and whether row 0 belongs to no token.

    Published pose models have sides in the proportion 4 : 3, so tokens = 12 k^2; pre-training uses squares. The four
    cases exclude each other for all published sizes; of several the first counts.
    """
    return next(iter(_token_grids(rows)), None)


def _token_grids(rows: int) -> list[tuple[Size, bool]]:
    found = []
    for tokens, extra in ((rows - 1, True), (rows, False)):
        step, side = math.isqrt(max(tokens, 0) // 12), math.isqrt(max(tokens, 0))
        if step and tokens == 12 * step * step:
            found.append((Size(4 * step, 3 * step), extra))
        if side and tokens == side * side:
            found.append((Size(side, side), extra))
    return found


def _input_size(tensors: Mapping[str, Tensor], layout: Layout, hints: Hints) -> tuple[Size, list[str]]:
    """Return the input size that the number of position embeddings stands for.

    Other sizes have as many tokens, so what the caller wants decides between the usual ones only, and counts by itself
    where there is none.
    """
    rows = _shape(tensors, first_name(layout, "pos_embed", ""), 3, hints.where)[1]
    given = hints.input_size
    sizes = [Size(_PATCH * grid.height, _PATCH * grid.width) for grid, _ in _token_grids(rows)]
    sizes = [size for size in sizes if max(size) <= LARGEST]
    if given is not None and given in sizes:
        return given, []
    if given is not None and not sizes and rows - (given[0] // _PATCH) * (given[1] // _PATCH) in (0, 1):
        return Size(*given), []
    if not sizes:
        raise WeightsError(
            f"{hints.where} has {rows} position embeddings, which fit no known input size; pass input_size=..."
        )
    size = sizes[0]
    sure = size == (256, 192)
    return size, [] if sure else [
        f"assumed input size {size.height}x{size.width} because of {rows} position embeddings"
    ]


def _shape(tensors: Mapping[str, Tensor], name: str | None, dimensions: int, where: str) -> list[int]:
    if name is None or name not in tensors:
        raise WeightsError(f"{where} is not a complete pose model: it has no tensor {name}")
    shape = list(tensors[name].shape)
    if len(shape) != dimensions:
        raise WeightsError(f"tensor {name} in {where} has shape {tuple(shape)}, not {dimensions} dimensions")
    return shape
