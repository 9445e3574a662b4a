"""Plots of what was measured, as PNG bytes: angle curves with events, and trajectories."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from vitpose.core.extras import require
from vitpose.motion.analyse import PersonMotion
from vitpose.motion.angles import AngleCurve
from vitpose.motion.measures import side_pairs

_SIDES = {"left": "#1f6fb4", "right": "#c8442a", "": "#3a3a3a"}
_ENDS = ("wrist", "ankle", "hip", "head", "nose", "neck")


def angle_png(person: PersonMotion) -> bytes:
    """Return one panel an angle, left and right together, with a band of one standard deviation and the events."""
    groups = _groups(person.curves)
    figure = _figure(9.0, 1.7 * len(groups) + 0.4)
    for row, (title, curves) in enumerate(groups):
        axes = figure.add_subplot(len(groups), 1, row + 1)
        for curve in curves:
            side = _side(curve.spec.name)
            _pieces(axes, curve, _SIDES[side], side or "whole")
        _events(axes, person)
        axes.set_title(title.replace("_", " "), loc="left", fontsize=9)
        axes.set_ylabel("deg", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.margins(x=0.01)
        axes.grid(alpha=0.25)
        if len(curves) > 1:
            axes.legend(loc="upper right", fontsize=7, ncols=2)
        if row == len(groups) - 1:
            axes.set_xlabel("time (s)", fontsize=8)
    return _png(figure)


def trajectory_png(person: PersonMotion) -> bytes:
    """Return the ways of hands, feet, hips and head in the picture, dark at the end."""
    series = person.series
    figure = _figure(6.0, 5.0)
    axes = figure.add_subplot(1, 1, 1)
    chosen = [name for name in series.skeleton.keypoints if name.removeprefix("left_").removeprefix("right_") in _ENDS]
    for name in chosen or list(series.skeleton.keypoints[:6]):
        place = series.skeleton.index(name)
        known = (series.scores[:, place] >= 0.3) | series.filled[:, place]
        if not known.any():
            continue
        xy = series.xy[:, place][known]
        axes.plot(xy[:, 0], xy[:, 1], color=_SIDES[_side(name)], alpha=0.45, linewidth=1)
        axes.plot(xy[-1, 0], xy[-1, 1], "o", color=_SIDES[_side(name)], markersize=4)
        axes.annotate(name.replace("_", " "), xy[-1], xytext=(4, 2), textcoords="offset points", fontsize=7)
    last = int(np.argmax(np.where(series.scores.mean(axis=1) >= 0.3, np.arange(len(series)), 0)))
    for a, b in series.skeleton.edge_indices.tolist():
        if min(series.scores[last, [a, b]]) < 0.3:
            continue
        axes.plot(series.xy[last, [a, b], 0], series.xy[last, [a, b], 1], color="#999999", linewidth=0.8, zorder=0)
    axes.invert_yaxis()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("x (px)", fontsize=8)
    axes.set_ylabel("y (px)", fontsize=8)
    axes.tick_params(labelsize=8)
    return _png(figure)


def _groups(curves: Sequence[AngleCurve]) -> list[tuple[str, list[AngleCurve]]]:
    by_name = {curve.spec.name: curve for curve in curves}
    partner = dict(side_pairs(list(by_name)))
    followers = set(partner.values())
    groups = []
    for name, curve in by_name.items():
        if name in partner:
            groups.append((name.replace("left_", ""), [curve, by_name[partner[name]]]))
        elif name not in followers:
            groups.append((name, [curve]))
    return groups


def _side(name: str) -> str:
    return next((side for side in ("left", "right") if side in name), "")


def _pieces(axes: Any, curve: AngleCurve, color: str, label: str) -> None:
    """Draw the curve; where it is anybody's guess (more than 45 degrees of deviation) it is left out."""
    sure = curve.sd_deg <= 45
    deg = np.where(sure, curve.deg, np.nan)
    axes.plot(curve.times_s, deg, color=color, linewidth=1.2, label=label)
    axes.fill_between(curve.times_s, deg - curve.sd_deg, deg + curve.sd_deg, color=color, alpha=0.12, linewidth=0)


def _events(axes: Any, person: PersonMotion) -> None:
    for repetition in person.repetitions:
        axes.axvspan(repetition.start_s, repetition.end_s, color="#e0b040", alpha=0.15, linewidth=0)
        axes.axvline(repetition.turn_s, color="#b08000", linewidth=0.8, linestyle=":")
    for event in () if person.gait is None else person.gait.events:
        style = "-" if event.kind == "heel_strike" else "--"
        axes.axvline(event.time_s, color=_SIDES[event.side], linewidth=0.7, linestyle=style, alpha=0.7)


def _figure(width: float, height: float) -> Any:
    # The object interface, so that no display and no global state is touched.
    figure = require("matplotlib.figure", "video", "plots of motion")
    return figure.Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
