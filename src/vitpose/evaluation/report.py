"""One page that says how good a model is, for whom, and where it fails."""

import base64
import html
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vitpose.core.files import atomic_write_text
from vitpose.evaluation import plots
from vitpose.evaluation.pictures import Case, worst_cases
from vitpose.evaluation.result import EvaluationResult, KeypointRow, without_nan
from vitpose.metrics.bootstrap import Interval

Comparison = tuple[EvaluationResult, Mapping[str, Interval]]
"""Another model on the same pictures, and how far the reported one is from it."""

_HEADLINES = (
    ("ap", "AP"),
    ("ap50", "AP50"),
    ("ap75", "AP75"),
    ("ar", "AR"),
    ("mean_oks", "mean OKS"),
    ("pck@0.2", "PCK 0.2"),
    ("pckh@0.5", "PCKh 0.5"),
    ("nme", "NME"),
)

_PIXELS = ("_px",)


def write_report(
    result: EvaluationResult, folder: str | Path, *, against: Comparison | None = None, worst: int = 12
) -> Path:
    """Write ``index.html`` (self-contained), ``results.json`` and ``predictions.json`` into a folder.

    Args:
        result: what ``evaluate`` returned.
        folder: made if it is not there.
        against: another result on the same pictures with the intervals of ``compare(other, result)``.
        worst: how many of the worst cases to show as pictures.

    Returns:
        The page's path.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    target = Path(folder)
    page = _page(result, against, worst_cases(result, worst) if worst else [])
    document = document_of(result, against)
    atomic_write_text(target / "results.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
    atomic_write_text(target / "predictions.json", json.dumps(result.predictions) + "\n")
    atomic_write_text(target / "index.html", page)
    return target / "index.html"


def document_of(result: EvaluationResult, against: Comparison | None = None) -> dict[str, Any]:
    """Return all numbers as plain data, with those of a comparison; undefined ones are None."""
    document = result.to_dict()
    if against is not None:
        differences = {name: interval.to_dict() for name, interval in against[1].items()}
        document["against"] = {
            "model": against[0].protocol.model.to_dict(),
            "numbers": against[0].to_dict()["numbers"],
            "differences": without_nan(differences),
        }
    return document


def _page(result: EvaluationResult, against: Comparison | None, cases: Sequence[Case]) -> str:
    title = f"{result.protocol.model.name or 'model'} on {result.protocol.dataset}"
    other = () if against is None else against[0].curves
    names = (result.protocol.model.name, "" if against is None else against[0].protocol.model.name)
    sections = [
        f"<header><h1>{_text(title)}</h1><p class='protocol'>{_text(result.protocol.text)}</p></header>",
        _headlines(result.numbers),
        "" if against is None else _comparison(*against),
        _section("Curves", _picture(plots.curves_plot(result.curves, other, names=names), "curves")),
        _section("Keypoints", _keypoints(result.keypoints)),
        _section("For whom", _picture(plots.breakdown_plot(result.breakdowns), "mean OKS by group")),
        _confidence(result),
        _worst(cases),
        _section("All numbers", _numbers(result.numbers)),
        _section("How it was measured", _provenance(result)),
    ]
    return _FRAME.format(title=_text(title), style=_STYLE, body="\n".join(part for part in sections if part))


def _headlines(numbers: Mapping[str, float]) -> str:
    cards = "".join(
        f"<div class='card'><b>{_share(numbers[name])}</b><span>{label}</span></div>"
        for name, label in _HEADLINES
        if name in numbers
    )
    return f"<div class='cards'>{cards}</div>"


def _comparison(other: EvaluationResult, intervals: Mapping[str, Interval]) -> str:
    rows = []
    for name, found in intervals.items():
        verdict = "no certain difference"
        if found.certain:
            verdict = "better" if found.difference > 0 else "worse"
        rows.append(
            (
                name,
                _share(found.second),
                _share(found.first),
                f"{100 * found.difference:+.2f}",
                f"{100 * found.low:+.2f} to {100 * found.high:+.2f}",
                verdict,
            )
        )
    name = other.protocol.model.name or "the other model"
    head = ("", "this model", name, "difference", f"{round(100 * found.level)} % interval", "")
    note = f"<p>Paired bootstrap over {found.images} pictures, {found.resamples} draws, seed {found.seed}.</p>"
    return _section(f"Against {name}", _table(head, rows) + note)


def _keypoints(rows: Sequence[KeypointRow]) -> str:
    head = ("keypoint", "points", "OKS", "", "right", "PCK 0.2", "distance, px", "score")
    body = [
        (
            row.name,
            f"{row.points}",
            _share(row.similarity),
            _Bar(row.similarity),
            _share(row.right),
            _share(row.pck),
            _number(row.distance),
            _number(row.score, 2),
        )
        for row in rows
    ]
    note = (
        "<p>OKS of the keypoint alone; right: within the OKS 0.5 tolerance. People nobody found count as 0 in both."
        " PCK, distance and score are of people that were found.</p>"
    )
    return _table(head, body) + note


def _confidence(result: EvaluationResult) -> str:
    if result.confidence is None:
        return ""
    errors = result.confidence.errors
    rows = [
        (label, _share(errors[f"calibration_error_{name}_before"]), _share(errors[f"calibration_error_{name}_after"]))
        for name, label in (
            ("mass", "bins with equally many points"),
            ("width", "bins of equal width"),
            ("keypoint", "each keypoint on its own"),
        )
    ]
    table = _table(("expected calibration error, points", "raw", "calibrated"), rows)
    note = (
        "<p>Calibrated: each keypoint's curve was fitted on half of the pictures and is judged here on the other half."
        " A point's size is the share of keypoints in its bin.</p>"
    )
    plot = _picture(plots.reliability_plot(result.confidence), "reliability")
    return _section("What a score is worth", plot + note + table)


def _worst(cases: Sequence[Case]) -> str:
    if not cases:
        return ""
    tiles = "".join(
        f"<figure>{_image(_jpeg(case), case.name, 'image/jpeg')}<figcaption><b>OKS {case.oks:.2f}</b>"
        f" {_text(case.worst if case.found else 'not found')}<br>{_text(case.name)}</figcaption></figure>"
        for case in cases
    )
    note = "<p>White rings are labels, red lines the errors; below each picture the keypoint that is furthest off.</p>"
    return _section("Worst cases", note + f"<div class='tiles'>{tiles}</div>")


def _numbers(numbers: Mapping[str, float]) -> str:
    rows = [
        (name, _number(value) if name.endswith(_PIXELS) else _share(value), "px" if name.endswith(_PIXELS) else "%")
        for name, value in numbers.items()
    ]
    half = (len(rows) + 1) // 2
    return f"<div class='columns'>{_table(('', '', ''), rows[:half])}{_table(('', '', ''), rows[half:])}</div>"


def _provenance(result: EvaluationResult) -> str:
    protocol, model = result.protocol, result.protocol.model
    entries: list[tuple[str, str]] = [
        ("protocol", protocol.text),
        ("labels", protocol.source),
        ("model", f"{model.name}, head {model.dataset}"),
        ("weights, sha256", model.sha256),
        ("engine", model.engine),
        ("detector", model.detector),
        ("version", model.version),
        *((name, str(value)) for name, value in model.settings),
    ]
    return _table(("", ""), [(name, value) for name, value in entries if value], words=True)


class _Bar(float):
    """A share to be shown as a bar."""


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, words: bool = False) -> str:
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head) if any(head) else ""
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f"<table{' class=words' if words else ''}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: Any) -> str:
    if isinstance(cell, _Bar):
        width = 0.0 if math.isnan(cell) else 100 * cell
        return f"<td class='bar'><i style='width:{width:.1f}%'></i></td>"
    return f"<td>{_text(str(cell))}</td>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _share(value: float) -> str:
    return "-" if not math.isfinite(value) else f"{100 * value:.1f}"


def _number(value: float, digits: int = 1) -> str:
    return "-" if not math.isfinite(value) else f"{value:.{digits}f}"


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _picture(png: bytes, label: str) -> str:
    return _image(png, label, "image/png")


def _image(data: bytes, label: str, kind: str) -> str:
    return f"<img alt='{_text(label)}' src='data:{kind};base64,{base64.b64encode(data).decode('ascii')}'>"


def _jpeg(case: Case) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(case.picture).save(stream, format="JPEG", quality=88)
    return stream.getvalue()


_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1080px; padding: 32px 24px 64px; background: #fff; color: #1c2733;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 0 0 12px; }
section { margin-top: 36px; border-top: 1px solid #e3e8ed; padding-top: 20px; }
p { color: #6b7885; margin: 8px 0; } .protocol { margin: 0; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 24px; }
.card { flex: 1 1 110px; border: 1px solid #e3e8ed; border-radius: 10px; padding: 12px 16px; background: #f8fafc; }
.card b { display: block; font-size: 25px; font-variant-numeric: tabular-nums; } .card span { color: #6b7885; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; color: #6b7885; font-weight: 500; font-size: 13px; }
th, td { padding: 4px 10px; border-bottom: 1px solid #eef1f4; } td { text-align: right; }
th:first-child, td:first-child, .words td { text-align: left; } .words td { overflow-wrap: anywhere; }
.words td:first-child { color: #6b7885; width: 150px; }
.bar { width: 32%; } .bar i { display: block; height: 10px; border-radius: 5px; background: #2E7BD6; }
.columns { display: flex; flex-wrap: wrap; gap: 0 40px; } .columns table { flex: 1 1 320px; width: auto; }
.columns td:last-child { color: #6b7885; width: 24px; text-align: left; }
img { max-width: 100%; height: auto; display: block; }
.tiles { display: flex; flex-wrap: wrap; gap: 16px; }
figure { margin: 0; width: 248px; } figure img { border-radius: 8px; width: 100%; }
figcaption { font-size: 12px; color: #6b7885; margin-top: 4px; overflow-wrap: anywhere; }
figcaption b { color: #1c2733; }
"""

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body>
{body}
</body></html>
"""
