"""Gait events and what follows from them: heel strikes, toe-offs, cadence, stride and stance times.

Coordinate method of Zeni, Richards and Higginson (2008): in walking seen from the side, a heel strikes when it is
farthest ahead of the pelvis and a toe leaves when it is farthest behind. Skeletons without heels and toes use the ankle
for both, which is a little late at the heel and early at the toe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.extras import require
from vitpose.motion.series import TrackSeries, segments

Floats = NDArray[np.float64]
Direction = Literal["left", "right"]

STRIKE, OFF = "heel_strike", "toe_off"


@dataclass(frozen=True, slots=True)
class GaitEvent:
    """``kind`` is ``heel_strike`` or ``toe_off``, ``side`` is ``left`` or ``right``."""

    time_s: float
    side: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gait:
    """Events in order of time and what they give; None where there are too few events.

    Attributes:
        events: heel strikes and toe-offs.
        cadence_per_min: steps a minute: two a stride, so a strike that was not seen does not slow the walker down.
        stride_s: median seconds from a heel strike to the next of the same side, by side.
        stance_percent: median share of the stride with the foot on the ground, by side.
    """

    events: tuple[GaitEvent, ...]
    cadence_per_min: float | None
    stride_s: dict[str, float]
    stance_percent: dict[str, float]


MAX_PAUSE_S = 0.5
"""Over a longer time without the person no event is looked for, and no stride goes."""


def analyse_gait(
    series: TrackSeries, *, direction: Direction | None = None, least_step_s: float = 0.25, threshold: float = 0.3
) -> Gait:
    """Find gait events in a smoothed track of someone walking or running across the picture.

    Args:
        series: one track, smoothed.
        direction: which way the person walks in the picture; needed on a treadmill, otherwise found from the hips.
        least_step_s: strikes of one foot closer than this are one.
        threshold: hips and feet below this score are not used.

    Raises:
        InputError: nobody walks anywhere and no direction is given.
        UsageError: the skeleton has no hips or ankles.
    """
    if direction not in {None, "left", "right"}:
        raise InputError(f"the walking direction is {direction!r}: give 'left' or 'right'")
    pelvis = (series.keypoint("left_hip")[:, 0] + series.keypoint("right_hip")[:, 0]) / 2
    ahead = _forwards(series, pelvis) if direction is None else (1.0 if direction == "right" else -1.0)
    events: list[GaitEvent] = []
    for side in ("left", "right"):
        for kind, part, sign in ((STRIKE, "heel", 1.0), (OFF, "big_toe", -1.0)):
            name = f"{side}_{part}" if f"{side}_{part}" in series.skeleton.keypoints else f"{side}_ankle"
            curve = sign * ahead * (series.keypoint(name)[:, 0] - pelvis)
            seen = np.ones(len(series), dtype=bool)
            for place in map(series.skeleton.index, (name, "left_hip", "right_hip")):
                seen &= (series.scores[:, place] >= threshold) | series.filled[:, place]
            events += [GaitEvent(time, side, kind) for time in _peaks(curve, series, seen, least_step_s)]
    pauses = [series.times_s[rows][-1] for rows in segments(series.times_s, MAX_PAUSE_S)][:-1]
    return _summary(sorted(events, key=lambda event: event.time_s), pauses)


def _forwards(series: TrackSeries, pelvis: Floats) -> float:
    moved = float(pelvis[-1] - pelvis[0]) if len(pelvis) else 0.0
    if abs(moved) < 0.25 * series.size:
        raise InputError(
            f"track {series.track_id}: the hips do not move across the picture; on a treadmill say which way the person"
            " faces (direction 'left' or 'right')"
        )
    return float(np.sign(moved))


def _peaks(curve: Floats, series: TrackSeries, seen: NDArray[np.bool_], least_s: float) -> list[float]:
    """Times of the local maxima that stand out, between frames by a parabola."""
    if len(curve) < 3:
        return []
    signal = require("scipy.signal", "video", "gait events")
    step = float(np.median(np.diff(series.times_s)))
    extent = float(np.quantile(curve, 0.95) - np.quantile(curve, 0.05))
    if extent < 0.05 * series.size:
        return []
    found = []
    for rows in segments(series.times_s, MAX_PAUSE_S):
        part = np.arange(len(curve))[rows]
        places, _ = signal.find_peaks(curve[part], prominence=0.4 * extent, distance=max(1, round(least_s / step)))
        found += [_between(curve, series.times_s, int(i)) for i in part[places] if seen[i]]
    return found


def _between(curve: Floats, times_s: Floats, i: int) -> float:
    coefficients = np.polyfit(times_s[i - 1 : i + 2] - times_s[i], curve[i - 1 : i + 2], 2)
    if coefficients[0] >= 0:
        return float(times_s[i])
    return float(
        times_s[i] + np.clip(-coefficients[1] / (2 * coefficients[0]), *(times_s[[i - 1, i + 1]] - times_s[i]))
    )


def _summary(events: list[GaitEvent], pauses: Sequence[float]) -> Gait:
    """Summarise events; ``pauses`` are the times after which nobody was seen for a while: no stride spans one."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for side in ("left", "right"):
        times = [event.time_s for event in events if event.side == side and event.kind == STRIKE]
        spans[side] = [
            (begin, end) for begin, end in pairwise(times) if not any(begin <= pause < end for pause in pauses)
        ]
    strides = [end - begin for found in spans.values() for begin, end in found]
    stride = {side: float(np.median([end - begin for begin, end in found])) for side, found in spans.items() if found}
    stance: dict[str, float] = {}
    for side, found in spans.items():
        offs = [e.time_s for e in events if e.side == side and e.kind == OFF]
        shares = []
        for begin, end in found:
            inside = [off for off in offs if begin < off < end]
            if inside:
                shares.append((inside[0] - begin) / (end - begin))
        if shares:
            stance[side] = 100 * float(np.median(shares))
    cadence = 120.0 / float(np.median(strides)) if strides else None
    return Gait(events=tuple(events), cadence_per_min=cadence, stride_s=stride, stance_percent=stance)
