"""Everything that is measured of one tracked person, in one place."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.poses import Poses
from vitpose.motion.angle_list import AngleSpec
from vitpose.motion.angles import SURE_DEG, AngleCurve, angle_curves
from vitpose.motion.gait import Direction, Gait, analyse_gait
from vitpose.motion.gaps import fill_gaps
from vitpose.motion.measures import (
    Range,
    Speeds,
    range_of_motion,
    side_pairs,
    speeds,
    symmetry_percent,
    time_in_posture,
)
from vitpose.motion.repair import repair_outliers, repair_swaps
from vitpose.motion.repetitions import Repetition, count_repetitions
from vitpose.motion.series import TrackSeries, series_from_poses
from vitpose.motion.settings import SmoothingSettings
from vitpose.motion.smooth import smooth

log = logging.getLogger(__name__)

_NAMED = 10

MIN_ROWS = 5
"""A person seen in fewer frames has no motion to speak of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSettings:
    """What is done and measured.

    Attributes:
        smoothing: how tracks are smoothed.
        repair: whether outliers and exchanged sides are repaired first.
        gaps_s: longest gap that is filled; 0: none.
        threshold: keypoint score that counts as seen.
        repetitions: name of the angle in which repetitions are counted; empty: none.
        least_deg: an angle that moves less than this makes no repetitions.
        gait: whether gait events are looked for.
        direction: which way people walk in the picture; None: found from their way.
        postures: limits in degrees by angle, by name of the posture.
        metres_per_px: scale, or None.
    """

    smoothing: SmoothingSettings = field(default_factory=lambda: SmoothingSettings(method="butterworth"))
    repair: bool = True
    gaps_s: float = 0.5
    threshold: float = 0.3
    repetitions: str = ""
    least_deg: float = 20.0
    gait: bool = False
    direction: Direction | None = None
    postures: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    metres_per_px: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class PersonMotion:
    """What was measured of one person.

    Attributes:
        series: smoothed positions, raw ones beside.
        curves: one an angle.
        speeds: of every keypoint.
        ranges: range of motion by angle; None where the angle was never known well enough.
        symmetry_percent: symmetry index of the ranges of motion by angle without its side.
        repetitions: in the chosen angle.
        gait: events and cadence, or None when not asked for.
        gait_note: why there is no gait although it was asked for.
        posture_s: seconds in each posture, and seconds seen.
    """

    series: TrackSeries
    curves: tuple[AngleCurve, ...]
    speeds: Speeds
    ranges: dict[str, Range | None]
    symmetry_percent: dict[str, float]
    repetitions: tuple[Repetition, ...]
    gait: Gait | None
    gait_note: str
    posture_s: dict[str, tuple[float, float]]


def analyse(
    frames: Sequence[Poses], times_s: Sequence[float], specs: Sequence[AngleSpec], settings: AnalysisSettings
) -> list[PersonMotion]:
    """Measure every tracked person that is seen in at least ``MIN_ROWS`` frames.

    Raises:
        UsageError: the angle for repetitions is not in the list; the nearest one is named.
        InputError: an id stands twice in a frame, or times do not increase.
    """
    names = [spec.name for spec in specs]
    if settings.repetitions and settings.repetitions not in names:
        raise UsageError(f"no angle {settings.repetitions!r} to count{nearest(settings.repetitions, names)}")
    times = np.asarray(times_s, dtype=np.float64)
    everybody = series_from_poses(frames, times_s)
    tracks = [one for one in everybody if len(one) >= MIN_ROWS]
    short = [str(one.track_id) for one in everybody if len(one) < MIN_ROWS]
    if short:
        log.warning(
            "%d of %d people are not measured, for they are seen in fewer than %d frames: ids %s",
            len(short),
            len(everybody),
            MIN_ROWS,
            ", ".join(short[:_NAMED]) + " …" * (len(short) > _NAMED),
        )
    return [_person(one, times, specs, settings) for one in tracks]


def prepare(series: TrackSeries, times_s: np.ndarray, settings: AnalysisSettings) -> TrackSeries:
    """Repair, fill and smooth one track as the settings say."""
    if settings.repair:
        series = repair_outliers(repair_swaps(series))
    if settings.gaps_s > 0:
        series = fill_gaps(series, times_s, max_gap_s=settings.gaps_s, threshold=settings.threshold)
    return smooth(series, settings.smoothing)


def _person(
    series: TrackSeries, times_s: np.ndarray, specs: Sequence[AngleSpec], settings: AnalysisSettings
) -> PersonMotion:
    ready = prepare(series, times_s, settings)
    curves = angle_curves(ready, specs)
    ranges = {curve.spec.name: range_of_motion(curve) for curve in curves}
    counted = next((curve for curve in curves if curve.spec.name == settings.repetitions), None)
    gait, note = _gait(ready, settings)
    return PersonMotion(
        series=ready,
        curves=tuple(curves),
        speeds=speeds(ready, metres_per_px=settings.metres_per_px),
        ranges=ranges,
        symmetry_percent=_symmetry(ranges),
        repetitions=() if counted is None else _repetitions(counted, settings.least_deg),
        gait=gait,
        gait_note=note,
        posture_s={name: time_in_posture(curves, limits) for name, limits in settings.postures.items()},
    )


def _repetitions(curve: AngleCurve, least_deg: float) -> tuple[Repetition, ...]:
    """Count where the angle is known: legs behind a desk do no squats."""
    sure = curve.sd_deg <= SURE_DEG
    return tuple(count_repetitions(curve.deg[sure], curve.times_s[sure], least=least_deg))


def _symmetry(ranges: Mapping[str, Range | None]) -> dict[str, float]:
    found = {}
    for left, right in side_pairs(list(ranges)):
        a, b = ranges[left], ranges[right]
        if a is not None and b is not None:
            found[left.replace("left_", "")] = symmetry_percent(a.extent_deg, b.extent_deg)
    return found


def _gait(series: TrackSeries, settings: AnalysisSettings) -> tuple[Gait | None, str]:
    """Somebody who does not walk is no reason to give up the others' results."""
    if not settings.gait:
        return None, ""
    try:
        return analyse_gait(series, direction=settings.direction, threshold=settings.threshold), ""
    except InputError as error:
        return None, str(error)
