"""How training varies what it shows: laws drawn as parameters, composed into one transform, warped once.

Every law reads fixed columns of one table of uniform numbers, a row a sample. A sample's row follows from its seed
alone, so the same person with the same seed is varied the same way whoever asks: a thread, another process, a resumed
run, or the accelerator.

``scale``, ``rotate`` and ``shift`` follow one of two laws. ``original`` is the released ViTPose code: normal
distributions clipped at the limits, uniform shifts. ``mmpose`` is mmpose 1.x: normal distributions cut off at one
standard deviation, which have no lump at the limits.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size, fit_aspect

Floats = NDArray[np.float64]
Law = Literal["original", "mmpose"]

_COLUMNS = 20
_SHIFT, _SHIFT_X, _SHIFT_Y, _FLIP, _HALF, _HALF_SIDE, _SCALE, _ROTATE, _ANGLE = range(9)
_COLOR = slice(9, 12)
_ERASE, _ERASE_AREA, _ERASE_ASPECT, _ERASE_X, _ERASE_Y = range(12, 17)
_ERASE_COLOR = slice(17, 20)

_GREY = np.array([0.299, 0.587, 0.114])
_CUT_LOW, _CUT_HIGH = 0.15865525393145707, 0.8413447460685429
"""Share of a normal distribution below -1 and below 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Which laws apply, and how strongly.

    Attributes:
        law: distributions of scale, rotation and shift, see the module.
        flip: probability of mirroring.
        scale: spread of the factor on the region; limits are 1 - scale and 1 + scale.
        rotate: probability of turning.
        rotate_deg: limit of the turn. In ``original`` it is two standard deviations, in ``mmpose`` one.
        shift_probability: probability of moving the region.
        shift: limit of the move: part of the box's sides in ``original``, of the region's in ``mmpose``.
        half_body: probability of showing the upper or the lower body only.
        half_body_minimum: people with fewer labelled keypoints are always shown whole.
        half_body_upper: smallest number of labelled keypoints to show an upper body.
        half_body_lower: smallest number of labelled keypoints to show a lower body.
        half_body_padding: size of the half body's region over the extent of its keypoints.
        upper_probability: probability of the upper body where both halves could be shown.
        color: limit of the change of brightness, contrast and saturation, as a part.
        erase: probability of covering a rectangle with one colour.
        erase_area: smallest and largest part of the crop that is covered.
    """

    law: Law = "original"
    flip: float = 0.5
    scale: float = 0.5
    rotate: float = 0.6
    rotate_deg: float = 80.0
    shift_probability: float = 0.3
    shift: float = 0.2
    half_body: float = 0.3
    half_body_minimum: int = 9
    half_body_upper: int = 3
    half_body_lower: int = 3
    half_body_padding: float = 1.5
    upper_probability: float = 0.6914624612740131
    color: float = 0.0
    erase: float = 0.0
    erase_area: tuple[float, float] = (0.02, 0.2)

    def __post_init__(self) -> None:
        """Refuse what is no probability or would turn a region inside out.

        Raises:
            UsageError: a value outside its range.
        """
        for name in ("flip", "rotate", "shift_probability", "half_body", "upper_probability", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"augmentation: {name} is a probability, 0 to 1, not {getattr(self, name):g}")
        for name in ("scale", "color"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"augmentation: {name} must be at least 0 and below 1, not {getattr(self, name):g}")
        if not 0 < self.erase_area[0] <= self.erase_area[1] <= 1:
            raise UsageError(f"augmentation: erase_area must rise within 0..1, not {self.erase_area}")


ORIGINAL = Augmentation()
"""The released ViTPose code. Half bodies need more than 8 labelled keypoints (there, CrowdPose has
``half_body_minimum=7`` and MPII ``half_body=0``); the upper body is taken when a normal number is below 0.5. That code
draws the shift once for the whole run, here it is drawn each time."""

MMPOSE = Augmentation(law="mmpose", shift=0.16, half_body_upper=2, upper_probability=0.7)
"""The configurations for ViTPose in mmpose 1.x."""

NONE = Augmentation(flip=0, scale=0, rotate=0, rotate_deg=0, shift_probability=0, shift=0, half_body=0)
"""Every person as evaluation sees it."""


class People(NamedTuple):
    """What the laws read of a number of people.

    Attributes:
        centers: ``(people, 2)`` of the regions.
        extents: ``(people, 2)`` width and height of the regions, with context and aspect ratio.
        sides: ``(people, 2)`` width and height of the boxes.
        keypoints: ``(people, keypoints, 2)`` in picture pixels.
        visible: ``(people, keypoints)`` labelled.
    """

    centers: Floats
    extents: Floats
    sides: Floats
    keypoints: Floats
    visible: NDArray[np.bool_]

    def select(self, indices: NDArray[np.int64]) -> "People":
        """Return the people ``indices``."""
        return People(
            self.centers[indices],
            self.extents[indices],
            self.sides[indices],
            self.keypoints[indices],
            self.visible[indices],
        )


@dataclass(frozen=True, slots=True)
class Variation:
    """How each of a number of samples is varied; the geometry goes into ``CropTransform.from_regions``.

    Attributes:
        centers: ``(samples, 2)`` in picture pixels.
        extents: ``(samples, 2)`` in picture pixels.
        rotations_deg: ``(samples,)``.
        mirror: ``(samples,)``.
        curves: ``(samples, 256)`` new level of each level, before ``colors``; None when colours stay.
        colors: ``(samples, 3, 3)`` linear maps of RGB, or None when colours stay.
        erased: ``(samples, 4)`` x1, y1, x2, y2 in crop pixels (empty where nothing is covered), or None.
        covers: ``(samples, 3)`` RGB 0..255 of the covers, or None.
    """

    centers: Floats
    extents: Floats
    rotations_deg: Floats
    mirror: NDArray[np.bool_]
    curves: NDArray[np.uint8] | None = None
    colors: Floats | None = None
    erased: NDArray[np.int64] | None = None
    covers: NDArray[np.uint8] | None = None


def uniform_table(seeds: NDArray[np.int64]) -> Floats:
    """Return ``(samples, 20)`` numbers in 0..1, each row from its own seed by Philox, a counter-based generator."""
    rows = [np.random.Generator(np.random.Philox(key=int(seed))).random(_COLUMNS) for seed in seeds]
    return np.array(rows, dtype=np.float64).reshape(-1, _COLUMNS)


def vary(
    people: People, spec: Augmentation, seeds: NDArray[np.int64], size: Size, upper: NDArray[np.bool_]
) -> Variation:
    """Draw how each of ``people`` is shown.

    Args:
        people: the samples.
        spec: the laws.
        seeds: ``(samples,)``, not negative.
        size: of the crops.
        upper: ``(keypoints,)`` which belong to the upper body; none switches half bodies off.
    """
    table = uniform_table(seeds)
    centers, extents = _half_bodies(people, spec, table, upper)
    original = spec.law == "original"
    offsets = table[:, _SHIFT_X : _SHIFT_Y + 1] * 2 - 1 if original else _cut_normal(table[:, _SHIFT_X : _SHIFT_Y + 1])
    moved = (table[:, _SHIFT] < spec.shift_probability)[:, None]
    centers = centers + np.where(moved, offsets * spec.shift * (people.sides if original else extents), 0)
    if original:
        factors = np.clip(1 + spec.scale * _normal(table[:, _SCALE]), 1 - spec.scale, 1 + spec.scale)
        turns = np.clip(_normal(table[:, _ANGLE]) / 2, -1, 1) * spec.rotate_deg
    else:
        factors = 1 + spec.scale * _cut_normal(table[:, _SCALE])
        turns = _cut_normal(table[:, _ANGLE]) * spec.rotate_deg
    curves, colors = _color_changes(spec, table)
    erased, covers = _covers(spec, table, size)
    return Variation(
        centers,
        extents * factors[:, None],
        np.where(table[:, _ROTATE] < spec.rotate, turns, 0.0),
        table[:, _FLIP] < spec.flip,
        curves,
        colors,
        erased,
        covers,
    )


def _half_bodies(people: People, spec: Augmentation, table: Floats, upper: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Replace regions by those of half bodies: centred on the mean of the half's keypoints, as upstream does."""
    halves = people.visible & upper, people.visible & ~upper
    enough = halves[0].sum(axis=1) >= spec.half_body_upper, halves[1].sum(axis=1) >= spec.half_body_lower
    chosen = (table[:, _HALF] < spec.half_body) & (people.visible.sum(axis=1) >= spec.half_body_minimum)
    chosen &= (enough[0] | enough[1]) & upper.any()
    if not chosen.any():
        return people.centers, people.extents
    upwards = enough[0] & ((table[:, _HALF_SIDE] < spec.upper_probability) | ~enough[1])
    shown = np.where(upwards[:, None], halves[0], halves[1])[..., None]
    means = (people.keypoints * shown).sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
    low = np.where(shown, people.keypoints, np.inf).min(axis=1)
    high = np.where(shown, people.keypoints, -np.inf).max(axis=1)
    # Points on one line would make a region without area.
    sides = np.where(chosen[:, None], np.maximum(high - low, 1.0), 1.0) * spec.half_body_padding
    # All regions of one plan have one aspect ratio.
    extents = fit_aspect(sides, float(people.extents[0, 0] / people.extents[0, 1]))
    keep = chosen[:, None]
    return np.where(keep, means, people.centers), np.where(keep, extents, people.extents)


def _normal(uniform: Floats) -> Floats:
    numbers: Floats = torch.special.ndtri(torch.from_numpy(np.clip(uniform, 1e-15, 1 - 1e-15))).numpy()
    return numbers


def _cut_normal(uniform: Floats) -> Floats:
    """Return normal numbers cut off at -1 and 1."""
    return _normal(_CUT_LOW + uniform * (_CUT_HIGH - _CUT_LOW))


def _color_changes(spec: Augmentation, table: Floats) -> tuple[NDArray[np.uint8] | None, Floats | None]:
    """Return a contrast curve and a matrix for saturation and brightness; black stays black in both.

    What lies outside the picture is black, and must be so for the model whatever happens to the colours.
    """
    if not spec.color:
        return None, None
    changes = spec.color * (2 * table[:, _COLOR] - 1)
    contrast, saturation, brightness = changes.T[:, :, None]
    level = np.arange(256) / 255
    # Slope 1 + contrast / 2 at the middle grey and 1 - contrast at both ends, which stay where they are.
    curves = level + contrast * level * (1 - level) * (2 * level - 1)
    matrices = (1 + saturation[..., None]) * np.eye(3) - saturation[..., None] * _GREY
    return np.round(curves * 255).astype(np.uint8), matrices * (1 + brightness[..., None])


def _covers(spec: Augmentation, table: Floats, size: Size) -> tuple[NDArray[np.int64] | None, NDArray[np.uint8] | None]:
    if not spec.erase:
        return None, None
    low, high = spec.erase_area
    area = (low + (high - low) * table[:, _ERASE_AREA]) * size.height * size.width
    aspect = np.exp((table[:, _ERASE_ASPECT] * 2 - 1) * np.log(3))
    sides = np.minimum(
        np.round(np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], -1)), [size.width, size.height]
    )
    places = np.floor(table[:, _ERASE_X : _ERASE_Y + 1] * ([size.width + 1, size.height + 1] - sides))
    drawn = (table[:, _ERASE] < spec.erase)[:, None]
    erased = np.where(drawn, np.concatenate([places, places + sides], axis=1), 0).astype(np.int64)
    return erased, (table[:, _ERASE_COLOR] * 256).astype(np.uint8)
