"""The report's plots, as PNG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitpose.core.extras import require
from vitpose.evaluation.result import Confidence, Curve
from vitpose.metrics.breakdown import Slice
from vitpose.metrics.calibration import Reliability

INK, MUTED, GRID, MAIN, SECOND = "#1c2733", "#6b7885", "#e3e8ed", "#2E7BD6", "#FF8C2E"

_DPI = 150
_SIZES = {"font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8}


def curves_plot(curves: Sequence[Curve], others: Sequence[Curve] = (), *, names: tuple[str, str] = ("", "")) -> bytes:
    """Draw each curve in a panel of its own; those of a second model beside them."""
    figure, panels = _figure(len(curves), 3.1)
    for place, (panel, curve) in enumerate(zip(panels, curves, strict=True)):
        panel.plot(curve.limits, curve.shares, color=MAIN, linewidth=2, label=names[0] or None)
        panel.fill_between(curve.limits, curve.shares, color=MAIN, alpha=0.08, linewidth=0)
        if place < len(others):
            panel.plot(others[place].limits, others[place].shares, color=SECOND, linewidth=1.6, label=names[1])
            panel.legend(frameon=False, fontsize=8, loc="best")
        panel.set_xlim(curve.limits[0], curve.limits[-1])
        panel.set_ylim(0, 1.02)
        panel.set_title(curve.name, loc="left", color=INK, fontweight="bold")
        panel.set_xlabel("OKS of at least" if "OKS" in curve.name else "distance / longer box side, at most")
        _percent(panel)
    return _png(figure)


def reliability_plot(confidence: Confidence) -> bytes:
    """Draw said against done, raw and calibrated."""
    figure, panels = _figure(2, 3.3)
    sides = (
        ("raw scores", confidence.before, "before", SECOND),
        ("calibrated", confidence.after, "after", MAIN),
    )
    for panel, (title, curve, which, color) in zip(panels, sides, strict=True):
        _reliability(panel, curve, color)
        error = confidence.errors[f"calibration_error_mass_{which}"]
        panel.set_title(f"{title}: off by {100 * error:.1f} points", loc="left", color=INK, fontweight="bold")
    return _png(figure)


def breakdown_plot(breakdowns: Mapping[str, tuple[Slice, ...]]) -> bytes:
    """Draw mean OKS by group, one panel a breakdown."""
    figure, panels = _figure(len(breakdowns), 2.3)
    for panel, (name, parts) in zip(panels, breakdowns.items(), strict=True):
        rows = np.arange(len(parts))[::-1]
        means = np.nan_to_num([part.mean for part in parts])
        panel.barh(rows, 1.0, color=GRID, height=0.62, linewidth=0)
        panel.barh(rows, means, color=MAIN, height=0.62, linewidth=0)
        for row, part, mean in zip(rows, parts, means, strict=True):
            text = f"{100 * mean:.1f}   {part.people} people" if part.people else "nobody"
            inside = mean > 0.6
            panel.text(
                mean - 0.02 if inside else mean + 0.02,
                row,
                text,
                va="center",
                ha="right" if inside else "left",
                color="white" if inside else INK,
                fontsize=8,
            )
        panel.set_yticks(rows, [part.label for part in parts])
        panel.set_xlim(0, 1)
        panel.set_title(f"mean OKS by {name}", loc="left", color=INK, fontweight="bold")
        panel.tick_params(length=0)
        panel.set_xticks([])
        for spine in panel.spines.values():
            spine.set_visible(False)
        panel.grid(visible=False)
    return _png(figure)


def _reliability(panel: Any, curve: Reliability, color: str) -> None:
    panel.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    share = curve.counts / max(curve.counts.max(initial=0), 1)
    panel.vlines(curve.said, curve.said, curve.done, color=color, alpha=0.35, linewidth=3)
    panel.plot(curve.said, curve.done, color=color, linewidth=1.4)
    panel.scatter(curve.said, curve.done, s=12 + 26 * share, color=color, zorder=3, edgecolor="white", linewidth=0.8)
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.set_xlabel("said to be right")
    panel.set_ylabel("is right (OKS of at least 0.5)")
    _percent(panel)
    panel.xaxis.set_major_formatter(panel.yaxis.get_major_formatter())


def _figure(panels: int, height: float) -> tuple[Any, list[Any]]:
    """Return a figure without global state: no pyplot, so nothing of the caller's is touched."""
    matplotlib = require("matplotlib", "train", "the plots of a report")
    require("matplotlib.backends.backend_agg", "train", "the plots of a report")
    with matplotlib.rc_context(_SIZES):
        figure = require("matplotlib.figure", "train", "the plots of a report").Figure(
            figsize=(10.4, height), dpi=_DPI, layout="constrained"
        )
        axes = list(np.atleast_1d(figure.subplots(1, panels)))
    for panel in axes:
        panel.set_facecolor("white")
        panel.grid(color=GRID, linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(colors=MUTED)
        for name, spine in panel.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set_color(GRID)
        panel.xaxis.label.set_color(MUTED)
        panel.yaxis.label.set_color(MUTED)
    return figure, axes


def _percent(panel: Any) -> None:
    ticker = require("matplotlib.ticker", "train", "the plots of a report")
    panel.yaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor="white")
    return stream.getvalue()
