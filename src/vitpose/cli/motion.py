"""``vitpose motion``: results of a video in; smooth curves, angles, events, tables, plots and a report out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitpose.core.errors import UsageError

if TYPE_CHECKING:
    from vitpose.motion.analyse import PersonMotion


def motion(
    results: Annotated[Path, typer.Argument(help="NAME.jsonl of `vitpose predict` for a video.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables, plots and report.")] = Path("motion"),
    preset: Annotated[str | None, typer.Option(help="Use case, for instance fitness, sports, healthcare.")] = None,
    angles: Annotated[
        str | None, typer.Option(help="List of angles: name or .toml file; else the skeleton's own.")
    ] = None,
    smoothing: Annotated[
        str | None, typer.Option(help="butterworth, savitzky_golay, rts, kalman, one_euro or none.")
    ] = None,
    count: Annotated[str, typer.Option(help="Angle in which repetitions are counted, e.g. left_knee_flexion.")] = "",
    gait: Annotated[bool, typer.Option("--gait", help="Find heel strikes, toe-offs and cadence.")] = False,
    direction: Annotated[str | None, typer.Option(help="Walking direction in the picture, left or right.")] = None,
    posture: Annotated[
        list[str] | None, typer.Option(help="Time within limits: NAME:ANGLE=LOW..HIGH, repeatable.")
    ] = None,
    length: Annotated[
        str | None, typer.Option(help="Scale by a known length in metres: KEYPOINT,KEYPOINT=0.45.")
    ] = None,
    max_people: Annotated[int | None, typer.Option(min=1, help="People in the video, when it has no ids yet.")] = None,
    format_: Annotated[str, typer.Option("--format", "-f", help="Tables as csv or parquet.")] = "csv",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> None:
    """Measure the movement of everybody in a video: angles, speeds, repetitions, gait."""
    from vitpose.motion.preset import load_preset
    from vitpose.pipeline.measure import Measurement, measure_film, parse_length, parse_postures, preset_analysis

    if direction not in {None, "left", "right"}:
        raise UsageError(f"--direction is left or right, not {direction!r}")
    chosen = None if preset is None else load_preset(preset)
    settings = replace(
        preset_analysis(chosen, smoothing),
        repetitions=count,
        gait=gait,
        direction=direction,  # type: ignore[arg-type]  # checked above
        postures=parse_postures(posture or []),
    )
    measurement = Measurement(
        settings=settings,
        angles=angles or "",
        length=None if length is None else parse_length(length),
        max_people=max_people or (chosen.max_people if chosen else None),
        tables=format_,
    )
    measured = measure_film(results, out, measurement)
    if as_json:
        typer.echo(json.dumps(_summary(list(measured.people)), ensure_ascii=False, indent=1))
    why = "" if measured.people else " (nobody is in the file, or nobody long and sure enough to have an id)"
    typer.echo(f"{len(measured.people)} people{why}; {', '.join(map(str, measured.files))}", err=True)


def _summary(people: "list[PersonMotion]") -> list[dict[str, Any]]:
    from vitpose.motion.tables import summary_columns

    columns = summary_columns(people)
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
