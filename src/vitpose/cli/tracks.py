"""``vitpose tracks``: who is in a film, and ids put right: two people taken for one, one for two, or exchanged."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from vitpose.core.errors import UsageError

if TYPE_CHECKING:
    from vitpose.tracking.edit import Rule
    from vitpose.tracking.edit_file import Moment, TrackList

_EDITED = ".edited.jsonl"


class _ListUnlessNamed(TyperGroup):
    """``vitpose tracks FILE`` is ``vitpose tracks list FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="tracks",
    help="List the ids of a video's result file; merge, split and swap them.",
    cls=_ListUnlessNamed,
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_FILE = typer.Argument(help="NAME.jsonl of `vitpose predict` for a video.", show_default=False)
_OUT = typer.Option("--out", "-o", help="The edited copy; NAME.edited.jsonl beside the file if not given.")
_IN_PLACE = typer.Option("--in-place", help="Change the file itself, and keep it as it was as NAME.jsonl.bak.")
_JSON = typer.Option("--json", help="Print one JSON document on stdout.")
_MOMENT = "a frame's number (120), or a time (4.8s)"


@app.command(name="list")
def list_(file: Annotated[Path, _FILE], as_json: Annotated[bool, _JSON] = False) -> None:
    """Show every id: in how many frames, from when to when, mean score."""
    from vitpose.tracking.edit_file import list_tracks

    found = list_tracks(file)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
        return
    _print_table(found)
    if not found.tracks:
        typer.echo(
            f"nobody has an id in {file}: `vitpose predict` gives one to whom the tracker believes, which it does"
            " not where keypoint scores are low; --tracker none gives none",
            err=True,
        )
    typer.echo(f"{len(found.tracks)} ids in {found.frames} frames; {found.unclaimed} poses without an id", err=True)


@app.command()
def merge(
    file: Annotated[Path, _FILE],
    keep: Annotated[int, typer.Argument(help="The id that stays.", show_default=False)],
    others: Annotated[list[int], typer.Argument(help="Ids that become it.", show_default=False)],
    out: Annotated[Path | None, _OUT] = None,
    in_place: Annotated[bool, _IN_PLACE] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Call several ids by the first: pieces of one person. Refused where two of them are in one frame."""
    from vitpose.tracking.edit import merge_rule
    from vitpose.tracking.edit_file import numbered_ids

    target = _target(file, out, in_place=in_place)
    rule = merge_rule(numbered_ids(file), keep, others)
    _apply(file, target, rule, as_json=as_json)


@app.command()
def split(
    file: Annotated[Path, _FILE],
    track_id: Annotated[int, typer.Argument(metavar="ID", help="Who is two people.", show_default=False)],
    at: Annotated[str, typer.Option("--at", help=f"Where the second person begins: {_MOMENT}.", show_default=False)],
    new_id: Annotated[int | None, typer.Option(help="The second person's id; the next free one if not given.")] = None,
    out: Annotated[Path | None, _OUT] = None,
    in_place: Annotated[bool, _IN_PLACE] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Give one id a new number from a frame on: it was two people."""
    from vitpose.tracking.edit import split_rule
    from vitpose.tracking.edit_file import find_frame, numbered_ids

    target = _target(file, out, in_place=in_place)
    frame = find_frame(file, _moment(at, "--at"))
    rule, chosen = split_rule(numbered_ids(file), track_id, frame, new_id)
    _apply(file, target, rule, as_json=as_json, new_id=chosen)


@app.command()
def swap(
    file: Annotated[Path, _FILE],
    first: Annotated[int, typer.Argument(help="One id.", show_default=False)],
    second: Annotated[int, typer.Argument(help="The other.", show_default=False)],
    start: Annotated[str, typer.Option("--from", help=f"Where to begin: {_MOMENT}.")] = "0",
    stop: Annotated[
        str | None, typer.Option("--to", help=f"The first frame that stays as it is: {_MOMENT}; else to the end.")
    ] = None,
    out: Annotated[Path | None, _OUT] = None,
    in_place: Annotated[bool, _IN_PLACE] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Exchange two ids in a part of the film: two people changed places."""
    from vitpose.tracking.edit import swap_rule
    from vitpose.tracking.edit_file import find_frame, numbered_ids

    target = _target(file, out, in_place=in_place)
    begin = find_frame(file, _moment(start, "--from"))
    end = None if stop is None else find_frame(file, _moment(stop, "--to"))
    rule = swap_rule(numbered_ids(file), first, second, begin, end)
    _apply(file, target, rule, as_json=as_json)


def _moment(text: str, option: str) -> "Moment":
    from vitpose.tracking.edit_file import Moment

    try:
        number, is_time = text.removesuffix("s"), text.endswith("s")
        moment = Moment(time_s=float(number)) if is_time else Moment(frame=int(number))
    except ValueError:
        raise UsageError(f"{option} {text!r} is no place in a film: give {_MOMENT}") from None
    if (moment.frame or 0) < 0 or not math.isfinite(moment.time_s or 0.0):
        raise UsageError(f"{option} {text!r} is no place in a film: give {_MOMENT}")
    return moment


def _target(file: Path, out: Path | None, *, in_place: bool) -> Path:
    if in_place:
        if out is not None:
            raise UsageError("--in-place changes the file itself: leave out --out")
        return file
    if out is None:
        target = file.with_name(file.name.removesuffix(".jsonl").removesuffix(".edited") + _EDITED)
        if target.exists():
            raise UsageError(f"{target} exists: edit that one with --in-place, or say with --out where to write")
        return target
    if out.suffix != ".jsonl":
        raise UsageError(f"--out {out}: what is written is a video's result file; give it a name that ends in .jsonl")
    if out.exists() and file.exists() and out.samefile(file):
        raise UsageError(f"{out} is the file that is edited: say so with --in-place, which keeps a copy")
    if out.exists():
        raise UsageError(f"{out} exists: edit that one with --in-place, or give another name with --out")
    return out


def _apply(file: Path, target: Path, rule: "Rule", *, as_json: bool, new_id: int | None = None) -> None:
    from vitpose.tracking.edit_file import keep_backup, rewrite_ids

    backup = keep_backup(file) if target == file else None
    changed = rewrite_ids(file, target, rule)
    if as_json:
        kept = None if backup is None else str(backup)
        typer.echo(json.dumps({"file": str(target), "changed": changed, "new_id": new_id, "backup": kept}))
    renamed = "" if new_id is None else f"; the second person is {new_id}"
    before = "" if backup is None else f"; as it was: {backup}"
    typer.echo(
        f"{changed} {'pose has' if changed == 1 else 'poses have'} another id{renamed} -> {target}{before}", err=True
    )


def _print_table(found: "TrackList") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("id", "frames", "first frame", "last frame", "from s", "to s", "mean score"):
        table.add_column(header, justify="right")
    for one in found.tracks:
        numbers = (one.track_id, one.frames, one.first_frame, one.last_frame)
        table.add_row(*map(str, numbers), f"{one.first_s:.2f}", f"{one.last_s:.2f}", f"{one.mean_score:.3f}")
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=120)).print(table)
