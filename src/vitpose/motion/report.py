"""One HTML page a clip: numbers and plots of every person, in a single file without anything from outside."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from vitpose._version import __version__
from vitpose.core.files import atomic_write_text
from vitpose.motion.analyse import PersonMotion
from vitpose.motion.plots import angle_png, trajectory_png
from vitpose.motion.tables import summary_columns

BEGINNING = "<!doctype html>\n<html lang=en><meta charset=utf-8><title>Motion</title>"
"""How a page begins, by which it is known."""

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { padding: .15em .8em; border-bottom: 1px solid #ddd; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums } img { max-width: 100% } .note { color: #666 }
"""


def write_report(people: Sequence[PersonMotion], path: Path, *, source: str, notes: Sequence[str] = ()) -> None:
    """Write the page; ``notes`` are sentences about how the numbers were made."""
    parts = [f"<h1>Motion in {html.escape(source)}</h1>"]
    parts += [f"<p class=note>{html.escape(note)}</p>" for note in notes]
    if not people:
        parts.append("<p>Nobody was tracked long enough to be measured.</p>")
    parts += [_person(person) for person in people]
    parts.append(f"<p class=note>Written by vitpose {__version__}.</p>")
    body = "\n".join(parts)
    atomic_write_text(path, f"{BEGINNING}<style>{_STYLE}</style>\n{body}\n</html>\n")


def _person(person: PersonMotion) -> str:
    columns = summary_columns([person])
    rows = "".join(
        f"<tr><td>{html.escape(measure.replace('_', ' '))}<td class=n>{value:.1f}"
        f"<td class=n>{'' if sd is None else f'&plusmn; {sd:.1f}'}<td>{html.escape(unit)}</tr>"
        for measure, value, sd, unit in zip(
            columns["measure"], columns["value"], columns["sd"], columns["unit"], strict=True
        )
    )
    note = f"<p class=note>No gait: {html.escape(person.gait_note)}</p>" if person.gait_note else ""
    return (
        f"<h2>Person {person.series.track_id}</h2>{note}"
        f"<h3>Angles</h3>{_picture(angle_png(person), 'angle curves')}"
        f"<h3>Ways</h3>{_picture(trajectory_png(person), 'trajectories')}"
        f"<h3>Numbers</h3><table><tr><th>measure<th>value<th>sd<th>unit</tr>{rows}</table>"
    )


def _picture(png: bytes, alt: str) -> str:
    return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">'
