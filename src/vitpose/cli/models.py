"""``vitpose models``: the catalogue of published weights, which of them are here, and on what terms they come."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from vitpose.weights.catalog import CheckpointRow

_PIPED_WIDTH = 200
"""Columns when nobody watches: a file or a pipe should get whole cells."""


def models(
    name: Annotated[
        str | None, typer.Argument(help="One checkpoint in full: id, alias or hub id.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of full rows on stdout.")] = False,
    on_disk: Annotated[bool, typer.Option("--on-disk", help="Only those that are on this disk.")] = False,
) -> None:
    """List the published weights: what they are, their scores, their licences, and which are on this disk."""
    from vitpose.weights.catalog import find_model, is_on_disk, list_models

    chosen = [find_model(name)] if name else list_models()
    found = [(row, is_on_disk(row)) for row in chosen]
    if on_disk:
        found = [(row, path) for row, path in found if path is not None]
    if as_json:
        typer.echo(json.dumps([_full(row, path) for row, path in found], indent=2, ensure_ascii=False))
    elif name and found:
        _print_one(*found[0])
    elif found:
        _print_table(found)
    else:
        typer.echo("none of them is on this disk", err=True)


def _full(row: "CheckpointRow", path: "Path | None") -> dict[str, Any]:
    return row.to_dict() | {"on_disk": None if path is None else str(path)}


def _console() -> "Console":
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPED_WIDTH)


def _print_table(found: list[tuple["CheckpointRow", "Path | None"]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("id", "size", "heads", "keypoints", "codec", "reported score", "weights' licence", "on disk"):
        table.add_column(header, overflow="fold", justify="right" if header == "size" else "left")
    for row, path in found:
        table.add_row(*_cells(row, path))
    console = _console()
    console.print(table)
    console.print(
        "\n! parts of the training forbid commercial use or contradict themselves: `vitpose models ID` says which",
        markup=False,
    )


def _cells(row: "CheckpointRow", path: "Path | None") -> tuple[str, ...]:
    heads = row.heads
    letter = row.architecture.removeprefix("vitpose-").upper().replace("PLUS-", "+")
    size = f"{letter} {row.size_mb:.0f} MB" if row.size_mb else letter
    return (
        row.id,
        size,
        " ".join(head.dataset for head in heads) or "backbone only",
        " ".join(str(head.keypoints) for head in heads),
        " ".join(dict.fromkeys(head.codec for head in heads)),
        f"{row.scores[0].metric} {row.scores[0].value:.1f} {row.scores[0].on}" if row.scores else "",
        row.weights_license + (" !" if row.restrictions else ""),
        "yes" if path else "",
    )


def _print_one(row: "CheckpointRow", path: "Path | None") -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, text in _details(row, path):
        if text:
            table.add_row(label, text.replace("[", r"\["))
    _console().print(table)


def _details(row: "CheckpointRow", path: "Path | None") -> list[tuple[str, str]]:
    heads = [
        f"{head.dataset}: {head.keypoints} keypoints, skeleton {head.skeleton}, {head.kind} head, codec {head.codec}"
        + (", maps of places" if head.maps == "places" else "")
        + (", square boxes" if head.square_box else "")
        for head in row.heads
    ]
    scores = [f"{score.metric} {score.value:.1f}: {score.protocol} ({score.source})" for score in row.scores]
    terms = [f"{part.title}: {part.terms} (commercial use: {part.commercial})" for part in row.trained_on]
    return [
        ("id", row.id),
        ("what", row.title),
        ("also called", ", ".join(row.aliases)),
        ("architecture", row.architecture),
        ("heads", "\n".join(heads) or "none: a backbone to start a training from"),
        ("reported scores", "\n".join(scores)),
        ("licence of the code", row.code_license),
        ("licence of the weights", row.weights_license),
        ("trained on", "\n".join(terms)),
        ("format", row.format),
        ("from", row.where),
        ("sha256", _hash(row.sha256)),
        ("size", f"{row.size_mb:.0f} MB" if row.size_mb else ""),
        ("note", row.note),
        ("on disk", str(path) if path else "no"),
    ]


def _hash(digits: str) -> str:
    return f"begins with {digits}" if 0 < len(digits) < 64 else digits
