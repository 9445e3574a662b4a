"""What every published checkpoint layout calls a tensor that this package calls something else.

One aligned table, read in both directions: ``rows`` expands it for a model, ``adapt.py`` moves the tensors. Layouts:

- ``original``: the release of Xu et al. 2022 on mmpose 0.x; also its per-dataset split files, and the single-head files
  of other ports that kept its names;
- ``huggingface``: ``VitPoseForPoseEstimation`` of transformers, which keeps query, key and value apart;
- ``mmpose``: mmpose 1.x, whose backbone comes from mmpretrain;
- ``mae``: masked-autoencoder pre-training (He et al. 2022), a backbone without a head; ``mae-mmpose``: the same
  as mmpose 1.x hands it out.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from vitpose.models.variants import HeadKind, ModelSpec

Layout = Literal["original", "huggingface", "mmpose", "mae", "mae-mmpose"]
LAYOUTS: Final[tuple[Layout, ...]] = ("original", "huggingface", "mmpose", "mae", "mae-mmpose")
PRE_TRAINED: Final[tuple[Layout, ...]] = ("mae", "mae-mmpose")

POSITION: Final = "backbone.pos_embed"

_T: Final = ("",)
_W: Final = (".weight",)
_WB: Final = (".weight", ".bias")
_BN: Final = (".weight", ".bias", ".running_mean", ".running_var", ".num_batches_tracked")
_QKV: Final = ("attention.attention.query", "attention.attention.key", "attention.attention.value")

# fmt: off
_TABLE: Final = (
    # where it is: R the backbone's root, B every block, H every head (PLACES says where those are)
    #    ours               original           huggingface                               mmpose                  tensors
    ("R", "pos_embed",       "pos_embed",        "embeddings.position_embeddings",         "pos_embed",            _T),
    ("R", "patch_embed",     "patch_embed.proj", "embeddings.patch_embeddings.projection", "patch_embed.projection",
     _WB),
    ("B", "norm1",           "norm1",            "layernorm_before",                       "ln1",                  _WB),
    ("B", "qkv",             "attn.qkv",         _QKV,                                     "attn.qkv",             _WB),
    ("B", "proj",            "attn.proj",        "attention.output.dense",                 "attn.proj",            _WB),
    ("B", "norm2",           "norm2",            "layernorm_after",                        "ln2",                  _WB),
    ("B", "ffn.fc1",         "mlp.fc1",          "mlp.fc1",                                "ffn.layers.0.0",       _WB),
    ("B", "ffn.fc2",         "mlp.fc2",          "mlp.fc2",                                "ffn.layers.1",         _WB),
    ("B", "ffn.experts.{e}", "mlp.experts.{e}",  "mlp.experts.{e}",                        None,                   _WB),
    ("R", "norm",            "last_norm",        "layernorm",                              "ln1",                  _WB),
    ("H", "deconv1",         "deconv_layers.0",  "deconv1",                                "deconv_layers.0",      _W),
    ("H", "bn1",             "deconv_layers.1",  "batchnorm1",                             "deconv_layers.1",      _BN),
    ("H", "deconv2",         "deconv_layers.3",  "deconv2",                                "deconv_layers.3",      _W),
    ("H", "bn2",             "deconv_layers.4",  "batchnorm2",                             "deconv_layers.4",      _BN),
    ("H", "out",             "final_layer",      "conv",                                   "final_layer",          _WB),
)
# fmt: on
_COLUMN: Final[Mapping[Layout, int]] = MappingProxyType(
    {"original": 2, "huggingface": 3, "mmpose": 4, "mae": 2, "mae-mmpose": 4}
)
_NOT_PRE_TRAINED: Final = ("norm", "ffn.experts.{e}")
"""Pre-training shares the names of others, but has no experts and no head, and its last norm is not taken over."""

PLACES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "ours": {"R": "backbone.", "B": "backbone.blocks.{i}.", "H": "heads.{dataset}."},
        "original": {"R": "backbone.", "B": "backbone.blocks.{i}.", "H": "keypoint_head."},
        "huggingface": {"R": "backbone.", "B": "backbone.encoder.layer.{i}.", "H": "head."},
        "mmpose": {"R": "backbone.", "B": "backbone.layers.{i}.", "H": "head."},
        "mae": {"R": "", "B": "blocks.{i}."},
        "mae-mmpose": {"R": "", "B": "layers.{i}."},
    }
)
"""Where the parts of a model stand in each layout."""

ASSOCIATE_HEAD: Final = "associate_keypoint_heads.{n}."
"""Where the original layout keeps its second and further heads; no other layout has them."""

_PRE_TRAINING: Final = (
    (r"cls_token|mask_token", "class and mask tokens, which a pose model does not have"),
    (r"decoder_.*", "the decoder of masked pre-training"),
    (r"(norm|fc_norm|ln1)\.(weight|bias)", "the last norm of pre-training: a pose model's starts fresh"),
    (r"head\.(weight|bias)", "a classifier"),
)
IGNORED: Final[Mapping[Layout, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {
        "original": ((r"backbone\.cls_token", "a class token, which the model never reads"),),
        "huggingface": (),
        "mmpose": ((r"data_preprocessor\.(mean|std)", "pixel normalisation, which models/pixels.py holds"),),
        "mae": _PRE_TRAINING,
        "mae-mmpose": _PRE_TRAINING,
    }
)
"""Keys that are left out on purpose, as patterns, with the reason the caller is told."""

LEFTOVERS: Final = (
    (r"backbone\.blocks\.\d+\.mlp\.experts\..*", "experts left over by the splitter, one is already merged into fc2"),
    (r"associate_keypoint_heads\..*", "heads left over by the splitter, whose experts are gone"),
)
"""Also left out of per-dataset files: the original ``model_split.py`` fails to remove them from some."""

_BLOCK_NUMBER: Final = re.compile(r"(?:^|\.)(?:blocks|layer|layers)\.(\d{1,9})\.")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the map, expanded for a model.

    Attributes:
        ours: our name of the tensor.
        theirs: its name in the other layout; three names where query, key and value are apart and their rows stack.
        optional: may be missing there and then starts at zero (batch norm's counter of batches).
    """

    ours: str
    theirs: tuple[str, ...]
    optional: bool = False


def rows(layout: Layout, spec: ModelSpec) -> tuple[Row, ...]:
    """Return the map between our names and those of ``layout`` for a model of ``spec``.

    The heads of ``spec`` stand in the order of the file. Tensors the layout does not have are left out.
    """
    found = []
    for place, ours, theirs, kinds in _lines(layout):
        for mine, other in _stems(layout, place, ours, spec):
            for expert in range(spec.backbone.experts) if "{e}" in ours else (0,):
                for kind in kinds:
                    names = tuple(other + part.format(e=expert) + kind for part in theirs)
                    found.append(Row(mine + ours.format(e=expert) + kind, names, kind == ".num_batches_tracked"))
    return tuple(found)


def _lines(layout: Layout) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """Return place, our name, their names and the tensors of every line of the table that ``layout`` has."""
    found: list[tuple[str, str, tuple[str, ...], tuple[str, ...]]] = []
    for line in _TABLE:
        place, ours, theirs, kinds = line[0], line[1], line[_COLUMN[layout]], line[-1]
        if theirs is not None and place in PLACES[layout] and not (layout in PRE_TRAINED and ours in _NOT_PRE_TRAINED):
            found.append((place, ours, (theirs,) if isinstance(theirs, str) else theirs, kinds))
    return found


def _stems(layout: Layout, place: str, ours: str, spec: ModelSpec) -> list[tuple[str, str]]:
    """Return what names begin with, ours and theirs, wherever a line of the table occurs."""
    mine = PLACES["ours"][place]
    if place == "H":
        classic = ours != "out"
        heads = [(slot, head) for slot, head in enumerate(spec.heads) if head.kind == "classic" or not classic]
        return [(mine.format(dataset=head.dataset), head_place(layout, slot)) for slot, head in heads]
    other = PLACES[layout][place]
    blocks = range(spec.backbone.depth) if place == "B" else (0,)
    return [(mine.format(i=block), other.format(i=block)) for block in blocks]


def head_place(layout: Layout, slot: int) -> str:
    """Return what the keys of head number ``slot`` of a file begin with."""
    return PLACES[layout]["H"] if slot == 0 else ASSOCIATE_HEAD.format(n=slot - 1)


def first_name(layout: Layout, ours: str, kind: str = ".weight", slot: int = 0) -> str | None:
    """Return the other layout's name of one tensor, in block 0 and for expert 0, or None if it has none.

    Args:
        layout: the other layout.
        ours: our name as it stands in the table, for instance ``"ffn.fc1"``.
        kind: which tensor of it.
        slot: which head.
    """
    for place, name, theirs, _ in _lines(layout):
        if name == ours:
            stem = head_place(layout, slot) if place == "H" else PLACES[layout][place].format(i=0)
            return stem + theirs[0].format(e=0) + kind
    return None


def detect(keys: Collection[str]) -> Layout | None:
    """Return the layout of ``keys``, by the names of its position and patch tensors, or None."""
    for layout in LAYOUTS:
        if first_name(layout, "pos_embed", "") in keys and first_name(layout, "patch_embed") in keys:
            return layout
    return None


def depth_of(keys: Collection[str]) -> int:
    """Return one more than the highest block number in ``keys``; 0 when there are no blocks.

    A number that not even one tensor a block would lead up to is none: its key is one that nobody expects.
    """
    numbers = (int(found[1]) for key in keys if (found := _BLOCK_NUMBER.search(key)))
    return max((number + 1 for number in numbers if number < len(keys)), default=0)


def head_slots(layout: Layout, keys: Collection[str]) -> int:
    """Return how many heads ``keys`` hold, counting from the first without a gap."""
    slot = 0
    while first_name(layout, "out", slot=slot) in keys:
        slot += 1
        if layout != "original":
            break
    return slot


def head_kind(layout: Layout, keys: Collection[str], slot: int) -> HeadKind:
    """Return whether head number ``slot`` is a classic or a simple one, by its deconvolutions."""
    return "classic" if first_name(layout, "deconv1", slot=slot) in keys else "simple"
