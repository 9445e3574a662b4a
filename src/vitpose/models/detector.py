"""A small network that finds people: convolutions, two transformer blocks on the coarsest map, and dense heads.

The convolutional part learns edges and parts from few pictures; the blocks are those of the pose models and let every
place of the coarsest map see the whole picture. Features are added from coarse to fine (Lin et al. 2017, feature
pyramids), and every cell of three maps answers for itself, without anchor boxes: how good its box is, and how far its
four sides are away (Tian et al. 2019, FCOS). ``docs/decisions/030-embedded-detector.md`` says why.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.geometry import Size
from vitpose.models.convolutions import ConvUnit, initialize_convolutions, stage
from vitpose.models.feedforward import FeedForward
from vitpose.models.mae import sine_positions
from vitpose.models.variants import Attention, check_type, check_whole
from vitpose.models.vit import Block

STRIDES = (8, 16, 32)
"""Distance of neighbouring cells of the three maps in pixels."""

_LONGEST_SIDE = 8192
"""Positions are made for the whole side, in memory, before a single weight is read."""

_RARE = -4.6
"""First answer of every cell: one in a hundred has a person (Lin et al. 2017, focal loss)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSpec:
    """What a person detector is made of.

    Attributes:
        name: what it is called.
        side: the longer side of a picture is scaled to so many pixels.
        widths: channels at strides 4, 8, 16 and 32.
        depths: residual units at these strides.
        blocks: transformer blocks at stride 32.
        heads: attention heads of a block.
        neck: channels of the pyramid and the head.
    """

    name: str = "person-detector"
    side: int = 416
    widths: tuple[int, int, int, int] = (48, 96, 192, 320)
    depths: tuple[int, int, int, int] = (1, 2, 3, 1)
    blocks: int = 2
    heads: int = 8
    neck: int = 96

    def __post_init__(self) -> None:
        """Refuse a spec no network can be built from.

        Raises:
            UsageError: sizes that are not whole and positive or do not divide, or a name that is no text.
        """
        check_type("name of a detector", self.name, str, "text")
        for what, numbers, least in (("widths", self.widths, 2), ("depths", self.depths, 0)):
            if not isinstance(numbers, tuple) or len(numbers) != 4:
                raise UsageError(f"a detector needs four {what}, not {numbers!r}")
            named = {f"{what} at stride {stride}": one for stride, one in zip((4, 8, 16, 32), numbers, strict=True)}
            check_whole("a detector", named, least=least)
        check_whole("a detector", {"neck": self.neck, "heads": self.heads})
        check_whole("a detector", {"blocks": self.blocks}, least=0)
        check_whole("a detector", {"side": self.side}, most=_LONGEST_SIDE)
        if self.side < STRIDES[-1] or self.side % STRIDES[-1]:
            raise UsageError(f"the detector's side must be a multiple of {STRIDES[-1]}, not {self.side}")
        if self.widths[-1] % self.heads or self.widths[-1] % 4:
            raise UsageError(f"the last width, {self.widths[-1]}, must be a multiple of 4 and of {self.heads} heads")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``from_dict`` reads back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], *, where: str = "detector spec") -> "DetectorSpec":
        """Read what ``to_dict`` wrote.

        Raises:
            InputError: unknown or wrong fields.
        """
        names = {field.name for field in fields(cls)}
        for key in plain:
            if key not in names:
                raise InputError(f"{where}: unknown field {key!r}{nearest(key, names)}")
        try:
            values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()}
            return cls(**values)
        except (TypeError, UsageError) as error:
            raise InputError(f"{where}: not a valid detector spec: {error}") from error


class Cells(NamedTuple):
    """What the network says, all cells of the three maps in one row.

    Attributes:
        logits: ``(batch, cells)``; their sigmoid is the score.
        boxes: ``(batch, cells, 4)`` xyxy in input pixels.
        centers: ``(cells, 2)`` x, y of the cells in input pixels.
        features: ``(batch, neck, height, width)`` of the finest map, for what is taught besides boxes.
    """

    logits: Tensor
    boxes: Tensor
    centers: Tensor
    features: Tensor


class PersonNet(nn.Module):
    """The network.

    Args:
        spec: what it is made of; weights are random.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = (spec.widths[0] // 2, *spec.widths)
        self.stem = ConvUnit(3, widths[0], stride=2)
        self.stages = nn.ModuleList(map(stage, widths[:-1], widths[1:], spec.depths))
        inside = widths[-1]
        cells = spec.side // STRIDES[-1]
        grid = torch.unflatten(sine_positions(inside, Size(cells, cells)).transpose(1, 2), 2, (cells, cells))
        self.register_buffer("positions", grid, persistent=False)
        self.blocks = nn.ModuleList(
            Block(FeedForward(inside, 2 * inside), spec.heads, Attention(), 1e-6, 0.0) for _ in range(spec.blocks)
        )
        self.lateral = nn.ModuleList(ConvUnit(width, spec.neck, 1) for width in spec.widths[1:])
        self.smooth = nn.ModuleList(ConvUnit(spec.neck, spec.neck) for _ in STRIDES)
        # A head a map: one for all would mix the statistics of three maps in its batch norms.
        self.towers = nn.ModuleList(
            nn.Sequential(ConvUnit(spec.neck, spec.neck), ConvUnit(spec.neck, spec.neck)) for _ in STRIDES
        )
        self.score = nn.ModuleList(nn.Conv2d(spec.neck, 1, 1) for _ in STRIDES)
        self.sides = nn.ModuleList(nn.Conv2d(spec.neck, 4, 1) for _ in STRIDES)
        _initialize(self)

    def forward(self, images: Tensor) -> Cells:
        """Look at pictures.

        Args:
            images: ``(batch, 3, height, width)`` normalised; height and width are multiples of 32, no
                larger than ``spec.side``.

        Raises:
            UsageError: another shape.
        """
        if images.ndim != 4 or any(side % STRIDES[-1] or side > self.spec.side for side in images.shape[2:]):
            raise UsageError(
                f"pictures for the detector must have sides that are multiples of 32, up to {self.spec.side}, not"
                f" {tuple(images.shape)}"
            )
        maps = self._pyramid(images)
        logits, boxes, centers = [], [], []
        for level, (stride, features) in enumerate(zip(STRIDES, maps, strict=True)):
            seen = self.towers[level](features)
            middle = cell_centers(Size(*features.shape[2:]), stride, images.device)
            # Float32 from here on: half precision cannot tell pixels apart beyond 256.
            away = F.softplus(self.sides[level](seen).float()).flatten(2).transpose(1, 2) * (2 * stride)
            logits.append(self.score[level](seen).float().flatten(1))
            boxes.append(torch.cat([middle - away[..., :2], middle + away[..., 2:]], dim=-1))
            centers.append(middle)
        return Cells(torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(centers), maps[0])

    def _pyramid(self, images: Tensor) -> list[Tensor]:
        features = self.stem(images)
        found = []
        for part in self.stages:
            features = part(features)
            found.append(features)
        found[-1] = self._attend(found[-1])
        maps: list[Tensor] = []
        above: Tensor | None = None
        for level in range(len(STRIDES) - 1, -1, -1):
            own = self.lateral[level](found[level + 1])
            if above is not None:
                own = own + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = self.smooth[level](own)
            maps.insert(0, above)
        return maps

    def _attend(self, features: Tensor) -> Tensor:
        grid = Size(*features.shape[2:])
        # Sines of row and column do not depend on how many there are: a smaller picture takes the first ones.
        positions = cast(Tensor, self.positions)[:, :, : grid.height, : grid.width]
        tokens = (features + positions).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, grid, None, 0)
        return torch.unflatten(tokens.transpose(1, 2), 2, tuple(grid))


def cell_centers(grid: Size, stride: int, device: torch.device) -> Tensor:
    """Return ``(cells, 2)`` x, y of a map's cells in input pixels, in row order; the picture spans 0 to its width."""
    rows, columns = torch.meshgrid(
        torch.arange(grid.height, device=device), torch.arange(grid.width, device=device), indexing="ij"
    )
    return (torch.stack([columns, rows], -1).reshape(-1, 2).float() + 0.5) * stride


def _initialize(net: PersonNet) -> None:
    initialize_convolutions(net)
    for part in net.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
    for outs, bias in ((net.score, _RARE), (net.sides, 0.5)):
        for out in outs:
            assert isinstance(out, nn.Conv2d)
            assert out.bias is not None
            if out.weight.is_meta:  # nothing to fill, see ``initialize_convolutions``
                continue
            nn.init.normal_(out.weight, std=0.01)
            nn.init.constant_(out.bias, bias)


def fused(net: PersonNet, *, side: int = 0) -> PersonNet:
    """Return a copy for inference whose batch norms are part of the convolutions: the same answers, less work.

    Args:
        net: left as it is.
        side: longest side of the pictures the copy will see, where that is not what it was trained for.
    """
    copy = PersonNet(replace(net.spec, side=side or net.spec.side))
    copy.load_state_dict(net.state_dict())
    copy.eval()
    for part in copy.modules():
        if isinstance(part, ConvUnit):
            part.conv = nn.utils.fuse_conv_bn_eval(part.conv, part.norm)
            part.norm = nn.Identity()  # type: ignore[assignment] # nothing is left of it to do
    return copy
