"""Repetitions of an exercise in one curve: squats in a knee angle, push-ups in an elbow angle."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EDGE = 0.1
"""A repetition begins and ends where the curve passes this share of its range."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """One repetition: it leaves the rest position, turns, and comes back.

    Attributes:
        start_s: when the first phase (towards the turn) begins.
        turn_s: when the curve is farthest from rest.
        end_s: when the second phase (back to rest) ends.
        amplitude: how far the turn is from the mean of both ends, in the curve's unit.
    """

    start_s: float
    turn_s: float
    end_s: float
    amplitude: float

    @property
    def phases_s(self) -> tuple[float, float]:
        """Seconds out and seconds back."""
        return self.turn_s - self.start_s, self.end_s - self.turn_s


def count_repetitions(
    values: Floats, times_s: Floats, *, least: float, out: float = 0.6, back: float = 0.35, rest: str = "low"
) -> list[Repetition]:
    """Find the repetitions in a smoothed curve.

    A repetition is counted when the curve goes beyond ``out`` of its range and comes back below ``back``; the two
    thresholds keep a tremor from counting. A movement that does not come back is none.

    Args:
        values: ``(rows,)`` for instance knee flexion in degrees.
        times_s: ``(rows,)`` increasing.
        least: a range smaller than this is no exercise.
        out: share of the range that must be passed; the range goes from the 5th percentile of all rows to the 90th of
            those at least ``least`` above it.
        back: share of the range below which the person is at rest again.
        rest: ``"low"`` when the curve is low at rest, ``"high"`` when it is high.
    """
    curve = np.asarray(values if rest == "low" else -np.asarray(values), dtype=np.float64)
    if len(curve) < 3:
        return []
    # The top is that of the exercise, however little of the time it fills.
    low = np.quantile(curve, 0.05)
    beyond = curve[curve >= low + least]
    if len(beyond) < 3:
        return []
    high = np.quantile(beyond, 0.9)
    upper, lower = low + out * (high - low), low + back * (high - low)
    found = _crossings(curve, upper, lower)
    edge = low + EDGE * (high - low)
    limits = [0, *(stop for _, stop in found)], [*(start for start, _ in found[1:]), len(curve) - 1]
    return [
        _repetition(curve, times_s, (start, stop), (before, after), edge)
        for (start, stop), before, after in zip(found, *limits, strict=False)
    ]


def _crossings(curve: Floats, upper: float, lower: float) -> list[tuple[int, int]]:
    """Return the last row at rest before and the first row at rest after each time the curve goes beyond ``upper``."""
    found: list[tuple[int, int]] = []
    rested: int | None = None
    beyond = False
    for row, value in enumerate(curve.tolist()):
        if value <= lower:
            if beyond and rested is not None:
                found.append((rested, row))
            rested, beyond = row, False
        elif value >= upper:
            beyond = True
    return found


def _repetition(
    curve: Floats, times_s: Floats, rests: tuple[int, int], limits: tuple[int, int], edge: float
) -> Repetition:
    """Time one repetition between ``rests``, whose ends are looked for no farther than ``limits``.

    It begins where the curve was last below ``edge``, or at its lowest where it never gets there, and ends likewise.
    """
    before, after = curve[limits[0] : rests[0] + 1], curve[rests[1] : limits[1] + 1]
    low = np.flatnonzero(before <= edge)
    start = limits[0] + int(low[-1] if len(low) else np.argmin(before))
    low = np.flatnonzero(after <= edge)
    end = rests[1] + int(low[0] if len(low) else np.argmin(after))
    turn = rests[0] + int(np.argmax(curve[rests[0] : rests[1] + 1]))
    amplitude = float(curve[turn] - (curve[start] + curve[end]) / 2)
    return Repetition(float(times_s[start]), float(times_s[turn]), float(times_s[end]), amplitude)
