"""The family as data: what a backbone, a head and a whole model are made of, and the published sizes.

A spec travels with the weights (``weights/checkpoint.py`` writes it beside them), so that nothing about a checkpoint
is ever guessed. Sources: Xu et al. 2022 (ViTPose, arXiv 2204.12484) and Xu et al. 2024 (ViTPose++, arXiv 2212.04246);
the numbers were checked against the configurations and weights of the original release.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.geometry import Convention, Size

AttentionKind = Literal["full", "window", "shifted", "pooled", "shifted+pooled"]
HeadKind = Literal["classic", "simple"]
MapKind = Literal["heatmaps", "places"]
StemKind = Literal["patches", "convolutions"]

LARGEST: Final = 1 << 16
"""No number in a spec may be larger: no model comes near, and PyTorch can still say how large its tensors would be."""


def check_whole(what: str, numbers: Mapping[str, object], *, least: int = 1, most: int = LARGEST) -> None:
    """Refuse sizes that are not whole numbers, or that no model has; specs are read from files that anybody wrote.

    Raises:
        UsageError: one is something else; it is named.
    """
    for name, value in numbers.items():
        if type(value) is not int or not least <= value <= most:
            raise UsageError(
                f"{name} of {what} must be a whole number from {least} to {most}, not {reprlib.repr(value)}"
            )


def check_type(what: str, value: object, kind: type, called: str) -> None:
    """Refuse a value of a spec that is of another kind.

    Raises:
        UsageError: it is.
    """
    if not isinstance(value, kind):
        raise UsageError(f"{what} must be {called}, not {reprlib.repr(value)}")


def _check_share(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise UsageError(f"{what} must be a number from 0 to below 1, not {reprlib.repr(value)}")


def _check_choice(what: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise UsageError(f"unknown {what} {value!r}{nearest(str(value), options)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """How one block attends.

    Attributes:
        kind: ``full``; ``window`` (non-overlapping windows); ``shifted`` (windows moved by half, as in Swin);
            ``pooled`` (each window also sees one average-pooled token of every window); ``shifted+pooled``.
        window: window size in tokens; not used by ``full``.
    """

    kind: AttentionKind = "full"
    window: Size = Size(8, 8)

    def __post_init__(self) -> None:
        """Refuse what no block can do.

        Raises:
            UsageError: an unknown kind, or a window that is not so many whole tokens high and wide.
        """
        _check_choice("attention kind", self.kind, get_args(AttentionKind))
        if len(self.window) != 2:
            raise UsageError(f"an attention window needs a height and a width, not {tuple(self.window)}")
        check_whole("an attention window", {"height": self.window[0], "width": self.window[1]})


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec:
    """One plain vision transformer.

    Attributes:
        width: channels of a token.
        depth: number of blocks.
        heads: attention heads of a block.
        hidden: width of the feed-forward layer; 0 means 4 times ``width``.
        patch: patch side in pixels.
        stride: distance of patch centres in pixels: 16, or 8 for features of twice the resolution.
        drop_path: stochastic depth of the last block; it grows linearly from 0 at the first.
        experts: number of experts whose outputs make up the last ``expert_width`` channels of every feed-forward
            layer (ViTPose+); 0 means a plain dense model.
        expert_width: channels that belong to the experts.
        attention: one entry a block, or one for all.
        norm_eps: epsilon of every layer norm.
        stem: what makes the tokens: ``patches`` (one projection, as published) or ``convolutions`` (see
            ``models.convolutions.ConvStem``), for patches of 16 pixels.
        stem_depths: residual units of a convolutional stem at strides 4, 8 and 16.
    """

    width: int
    depth: int
    heads: int
    hidden: int = 0
    patch: int = 16
    stride: int = 16
    drop_path: float = 0.0
    experts: int = 0
    expert_width: int = 0
    attention: tuple[Attention, ...] = (Attention(),)
    norm_eps: float = 1e-6
    stem: StemKind = "patches"
    stem_depths: tuple[int, int, int] = (1, 2, 2)

    def __post_init__(self) -> None:
        """Refuse a spec no model can be built from.

        Raises:
            UsageError: sizes that are not whole and positive or do not divide, shares that are not in 0..1, or an
                attention list of the wrong length.
        """
        needed = {"width": self.width, "depth": self.depth, "heads": self.heads, "stride": self.stride}
        check_whole("a backbone", needed)
        check_whole("a backbone", {"patch": self.patch}, least=4)
        optional = {"hidden": self.hidden, "experts": self.experts, "expert_width": self.expert_width}
        check_whole("a backbone", optional, least=0)
        _check_share("drop_path of a backbone", self.drop_path)
        _check_share("norm_eps of a backbone", self.norm_eps)
        if self.width % self.heads:
            raise UsageError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.stride not in (self.patch, self.patch / 2):
            raise UsageError(f"stride must be {self.patch} or half of it, not {self.stride}")
        _check_choice("stem", self.stem, get_args(StemKind))
        depths = self.stem_depths
        whole = isinstance(depths, tuple) and all(type(one) is int and 0 <= one <= LARGEST for one in depths)
        if not whole or len(depths) != 3:
            raise UsageError(f"stem_depths is a tuple of three numbers of residual units, not {reprlib.repr(depths)}")
        if self.stem == "convolutions" and ((self.patch, self.stride) != (16, 16) or self.width % 16):
            raise UsageError(
                "a convolutional stem needs patches of 16 pixels, stride 16 and a width that is a multiple of 16, not "
                f"{self.patch}, {self.stride} and {self.width}"
            )
        if len(self.attention) not in (1, self.depth):
            raise UsageError(
                f"attention has {len(self.attention)} entries for {self.depth} blocks; give one, or one a block"
            )
        if bool(self.experts) != bool(self.expert_width) or self.expert_width >= self.width:
            raise UsageError(f"experts {self.experts} with expert_width {self.expert_width} do not go together")

    @property
    def hidden_width(self) -> int:
        """Width of the feed-forward layer."""
        return self.hidden or 4 * self.width

    def attention_of(self, block: int) -> Attention:
        """Return how block number ``block`` attends."""
        return self.attention[block if len(self.attention) > 1 else 0]

    def grid(self, size: Size) -> Size:
        """Return the token grid for an input of ``size``."""
        return Size(size.height // self.stride, size.width // self.stride)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """One decoder and the keypoints it was trained for.

    Attributes:
        dataset: what callers choose the head by, for instance ``coco``.
        skeleton: name of the skeleton.
        keypoints: number of heatmaps.
        kind: ``classic`` (two deconvolutions) or ``simple`` (upsample and one convolution).
        codec: how heatmaps and points relate: ``udp`` (unbiased warp, DARK) or ``msra`` (quarter shift).
        maps: what its maps are: ``heatmaps`` (regression, as published) or ``places`` (for each keypoint a probability
            over all pixels, see ``models.pose.places``).
        square_box: the head was trained on square regions stretched to the input (the original MPII heads).
        expert: which expert of the backbone belongs to the head; 0 for dense models.
        deconv_width: channels of the classic head's deconvolutions.
    """

    dataset: str
    skeleton: str
    keypoints: int
    kind: HeadKind = "classic"
    codec: Convention = "udp"
    maps: MapKind = "heatmaps"
    square_box: bool = False
    expert: int = 0
    deconv_width: int = 256

    def __post_init__(self) -> None:
        """Refuse a head that cannot be built.

        Raises:
            UsageError: an unknown kind, codec or kind of maps, no keypoints, or a value of another type.
        """
        check_type("dataset of a head", self.dataset, str, "text")
        check_type("skeleton of a head", self.skeleton, str, "text")
        check_type("square_box of a head", self.square_box, bool, "true or false")
        _check_choice("head kind", self.kind, get_args(HeadKind))
        _check_choice("codec", self.codec, get_args(Convention))
        _check_choice("kind of maps", self.maps, get_args(MapKind))
        check_whole("a head", {"keypoints": self.keypoints, "deconv_width": self.deconv_width})
        check_whole("a head", {"expert": self.expert}, least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A whole model: one backbone, one head or several.

    Attributes:
        name: what the model is called.
        backbone: the transformer.
        heads: at least one; the first is the default.
        input_size: crop size in pixels; each side is a multiple of the patch.
    """

    name: str
    backbone: BackboneSpec
    heads: tuple[HeadSpec, ...]
    input_size: Size = Size(256, 192)

    def __post_init__(self) -> None:
        """Refuse a spec no model can be built from.

        Raises:
            UsageError: no head, two heads for one dataset, an expert that is not there, a name that is no text, or an
                odd input size.
        """
        check_type("name of a model", self.name, str, "text")
        datasets = [head.dataset for head in self.heads]
        if not datasets or len(set(datasets)) != len(datasets):
            raise UsageError(f"model {self.name!r} needs one head a dataset, and has {datasets}")
        if any(head.expert >= max(self.backbone.experts, 1) for head in self.heads):
            raise UsageError(f"model {self.name!r} has a head for an expert that is not there")
        check_whole("the input size", {"height": self.input_size[0], "width": self.input_size[1]})
        patch = self.backbone.patch
        if any(side < patch or side % patch for side in self.input_size):
            raise UsageError(f"input size {tuple(self.input_size)} is not a multiple of the patch, {patch}")

    def head(self, dataset: str | None = None) -> HeadSpec:
        """Return the head of ``dataset``, or the first.

        Raises:
            UsageError: the model has no such head; the datasets it has are named.
        """
        if dataset is None:
            return self.heads[0]
        for head in self.heads:
            if head.dataset == dataset:
                return head
        known = [head.dataset for head in self.heads]
        raise UsageError(
            f"model {self.name!r} has no head for dataset {dataset!r}, only for {', '.join(known)}{_plus_hint(self)}"
        )

    @property
    def heatmap_size(self) -> Size:
        """Size of the heatmaps: both head kinds enlarge the token grid four times."""
        grid = self.backbone.grid(self.input_size)
        return Size(4 * grid.height, 4 * grid.width)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data (JSON types) that ``from_dict`` reads back to an equal spec."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], *, where: str = "model spec") -> "ModelSpec":
        """Read what ``to_dict`` wrote.

        Raises:
            InputError: unknown, missing or wrong fields.
        """
        try:
            backbone = dict(plain["backbone"])
            backbone["attention"] = tuple(
                Attention(kind=entry["kind"], window=Size(*entry["window"]))
                for entry in backbone.get("attention", [{}])
            )
            if "stem_depths" in backbone:
                backbone["stem_depths"] = tuple(backbone["stem_depths"])
            for known, given in ((BackboneSpec, backbone), *((HeadSpec, head) for head in plain["heads"])):
                for key in given:
                    names = {field.name for field in fields(known)}
                    if key not in names:
                        raise InputError(f"{where}: unknown field {key!r}{nearest(key, names)}")
            return cls(
                name=plain["name"],
                backbone=BackboneSpec(**backbone),
                heads=tuple(HeadSpec(**head) for head in plain["heads"]),
                input_size=Size(*plain["input_size"]),
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise InputError(f"{where}: not a valid model spec: {error}") from error


def _plus_hint(spec: ModelSpec) -> str:
    if spec.backbone.experts > len(spec.heads):
        return (
            "; this file carries all experts but not all heads (the Hugging Face ViTPose+ files hold the COCO head"
            " only), so other datasets need the original checkpoint"
        )
    return ""


BACKBONES: Final[Mapping[str, BackboneSpec]] = MappingProxyType(
    {
        # Ti is not in the papers; DeiT-Ti's size, for small machines and tests.
        "Ti": BackboneSpec(width=192, depth=12, heads=3, drop_path=0.1),
        # S has 12 heads of 32 channels, not the usual 6 of 64.
        "S": BackboneSpec(width=384, depth=12, heads=12, drop_path=0.1),
        "B": BackboneSpec(width=768, depth=12, heads=12, drop_path=0.3),
        "L": BackboneSpec(width=1024, depth=24, heads=16, drop_path=0.5),
        "H": BackboneSpec(width=1280, depth=32, heads=16, drop_path=0.55),
        # ViTPose-G is built on ViTAE-G (about 1 B parameters); neither its code nor its weights were published.
        # This is a plain ViT of that size (ViT-g, Zhai et al. 2022), to train from scratch.
        "G": BackboneSpec(width=1408, depth=40, heads=16, hidden=6144, drop_path=0.55),
    }
)

COCO_HEAD: Final = HeadSpec(dataset="coco", skeleton="coco17", keypoints=17)

PLUS_HEADS: Final = (
    # The six heads of ViTPose+ in the order of their experts. COCO and MPII were trained unbiased, MPII on square
    # regions; the other four with the older affine and integer targets.
    COCO_HEAD,
    HeadSpec(dataset="aic", skeleton="aic14", keypoints=14, codec="msra", expert=1),
    HeadSpec(dataset="mpii", skeleton="mpii16", keypoints=16, square_box=True, expert=2),
    HeadSpec(dataset="ap10k", skeleton="ap10k17", keypoints=17, codec="msra", expert=3),
    HeadSpec(dataset="apt36k", skeleton="ap10k17", keypoints=17, codec="msra", expert=4),
    HeadSpec(dataset="wholebody", skeleton="wholebody133", keypoints=133, codec="msra", expert=5),
)


def plus(backbone: BackboneSpec) -> BackboneSpec:
    """Return the ViTPose+ form of a dense backbone: six experts with a quarter of the channels."""
    return replace(backbone, experts=6, expert_width=backbone.width // 4)


def published_spec(name: str) -> ModelSpec:
    """Return the spec of a size of the papers by name.

    Args:
        name: ``vitpose-{ti,s,b,l,h,g}``, with ``-simple`` for the simple head, or ``vitpose-plus-{s,b,l,h}``.

    Raises:
        UsageError: no such name; the nearest one is named.
    """
    specs = published_specs()
    if name not in specs:
        raise UsageError(f"unknown model {name!r}{nearest(name, specs)}")
    return specs[name]


def published_specs() -> dict[str, ModelSpec]:
    """Return all sizes of the papers by name."""
    specs = {}
    for letter, backbone in BACKBONES.items():
        size = Size(576, 432) if letter == "G" else Size(256, 192)
        name = f"vitpose-{letter.lower()}"
        simple = replace(COCO_HEAD, kind="simple")
        specs[name] = ModelSpec(name=name, backbone=backbone, heads=(COCO_HEAD,), input_size=size)
        specs[f"{name}-simple"] = ModelSpec(name=f"{name}-simple", backbone=backbone, heads=(simple,), input_size=size)
        if letter in "SBLH":
            title = f"vitpose-plus-{letter.lower()}"
            specs[title] = ModelSpec(name=title, backbone=plus(backbone), heads=PLUS_HEADS)
    return specs
