"""``vitpose motion``: results of a video in; smooth curves, angles, events, tables, plots and a report out."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitpose.core.errors import UsageError

if TYPE_CHECKING:
    from vitpose.motion.analyse import PersonMotion
    from vitpose.motion.clip import Clip


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
    from vitpose.motion.analyse import AnalysisSettings, analyse
    from vitpose.motion.angle_list import load_angles
    from vitpose.motion.clip import read_clip
    from vitpose.motion.preset import load_preset
    from vitpose.motion.report import write_report
    from vitpose.motion.settings import SmoothingSettings
    from vitpose.motion.tables import write_tables

    chosen = None if preset is None else load_preset(preset)
    settings = AnalysisSettings(
        smoothing=SmoothingSettings(method=smoothing)
        if smoothing
        else (chosen.offline if chosen else SmoothingSettings(method="butterworth")),
        repair=chosen.repair if chosen else True,
        gaps_s=chosen.gaps_s if chosen else 0.5,
        threshold=chosen.threshold if chosen else 0.3,
        repetitions=count,
        gait=gait,
        direction=_direction(direction),
        postures=_postures(posture or []),
    )
    clip = _with_ids(read_clip(results), max_people or (chosen.max_people if chosen else None))
    skeleton = clip.frames[0].skeleton
    specs = load_angles(angles or skeleton.name, skeleton)
    if length is not None:
        settings = _scaled(settings, clip, length)
    people = analyse(clip.frames, clip.times_s, specs, settings)
    paths = write_tables(people, out, format_)
    write_report(people, out / "report.html", source=clip.source, notes=_notes(settings))
    if as_json:
        typer.echo(json.dumps(_summary(people), ensure_ascii=False, indent=1))
    typer.echo(f"{len(people)} people; {', '.join(str(path) for path in [*paths, out / 'report.html'])}", err=True)


def _with_ids(clip: "Clip", max_people: int | None) -> "Clip":
    """Track the people if nobody has: a video without ids is one that was not tracked."""
    from dataclasses import replace

    from vitpose.tracking.base import track
    from vitpose.tracking.pose_tracker import PoseTracker
    from vitpose.tracking.settings import PoseTrackerSettings

    if any(poses.track_ids is not None for poses in clip.frames):
        return clip
    tracker = PoseTracker(PoseTrackerSettings(max_people=max_people))
    return replace(clip, frames=tuple(track(zip(clip.times_s, clip.frames, strict=True), tracker)))


def _direction(text: str | None) -> Any:
    if text not in {None, "left", "right"}:
        raise UsageError(f"--direction is left or right, not {text!r}")
    return text


def _postures(texts: list[str]) -> dict[str, dict[str, tuple[float, float]]]:
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for text in texts:
        name, colon, rule = text.partition(":")
        angle, equals, limits = rule.partition("=")
        low, dots, high = limits.partition("..")
        try:
            found.setdefault(name, {})[angle] = (float(low), float(high))
        except ValueError:
            dots = ""
        if not (name and colon and equals and dots):
            raise UsageError(
                f"--posture {text!r}: write NAME:ANGLE=LOW..HIGH, for instance squat:left_knee_flexion=70..140"
            )
    return found


def _scaled(settings: Any, clip: "Clip", text: str) -> Any:
    """Take the scale from the person seen longest."""
    from dataclasses import replace

    from vitpose.motion.measures import scale_from_length
    from vitpose.motion.series import series_from_poses

    names, equals, metres = text.partition("=")
    first, comma, second = names.partition(",")
    try:
        value = float(metres)
    except ValueError:
        value = math.nan
    if not (equals and comma and math.isfinite(value)):
        raise UsageError(f"--length {text!r}: write KEYPOINT,KEYPOINT=METRES, for instance left_hip,left_knee=0.45")
    series = series_from_poses(clip.frames, clip.times_s)
    if not series:
        return settings
    scale = scale_from_length(max(series, key=len), first.strip(), second.strip(), value)
    return replace(settings, metres_per_px=scale.metres_per_px)


def _notes(settings: Any) -> list[str]:
    repair = "outliers and exchanged sides repaired" if settings.repair else "nothing repaired"
    done = f"Smoothed by {settings.smoothing.method}; gaps up to {settings.gaps_s:g} s filled; {repair}."
    plane = "Angles are those seen in the picture: a limb that points towards the camera looks shorter."
    notes = [done, plane, "Bands and sd are one standard deviation, modelled from the keypoints' scores."]
    if settings.metres_per_px is not None:
        notes.append(f"Scale {settings.metres_per_px:.5f} m a pixel, in the plane of the known length only.")
    return notes


def _summary(people: "list[PersonMotion]") -> list[dict[str, Any]]:
    from vitpose.motion.tables import summary_columns

    columns = summary_columns(people)
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
