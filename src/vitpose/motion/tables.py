"""Tables of what was measured: angles and keypoints by frame, events, one summary row a person and angle."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitpose.core.errors import UsageError, nearest
from vitpose.core.extras import require
from vitpose.core.files import atomic_path
from vitpose.motion.analyse import PersonMotion
from vitpose.motion.measures import seconds_by_row

FORMATS = ("csv", "parquet")

Columns = dict[str, list[Any]]


def angle_columns(people: Sequence[PersonMotion]) -> Columns:
    """One row a person, frame and angle: degrees, standard deviation, velocity, acceleration."""
    rows: Columns = {name: [] for name in ("track_id", "frame", "time_s", "angle", "deg", "sd_deg", "deg_s", "deg_s2")}
    for person in people:
        for curve in person.curves:
            count = len(curve.deg)
            rows["track_id"] += [person.series.track_id] * count
            rows["frame"] += person.series.frames.tolist()
            rows["time_s"] += curve.times_s.tolist()
            rows["angle"] += [curve.spec.name] * count
            rows["deg"] += curve.deg.tolist()
            rows["sd_deg"] += curve.sd_deg.tolist()
            rows["deg_s"] += curve.velocity_deg_s.tolist()
            rows["deg_s2"] += curve.acceleration_deg_s2.tolist()
    return rows


def keypoint_columns(people: Sequence[PersonMotion]) -> Columns:
    """One row a person, frame and keypoint: smoothed and raw position, score, speed, acceleration."""
    names = (
        "track_id",
        "frame",
        "time_s",
        "keypoint",
        "x",
        "y",
        "raw_x",
        "raw_y",
        "score",
        "filled",
        "speed",
        "acceleration",
    )
    rows: Columns = {name: [] for name in (*names, "unit")}
    for person in people:
        series = person.series
        keypoints, count = len(series.skeleton), len(series)
        rows["track_id"] += [series.track_id] * (count * keypoints)
        rows["frame"] += np.repeat(series.frames, keypoints).tolist()
        rows["time_s"] += np.repeat(series.times_s, keypoints).tolist()
        rows["keypoint"] += list(series.skeleton.keypoints) * count
        flat = series.xy.reshape(-1, 2), series.raw_xy.reshape(-1, 2)
        for (x, y), values in zip((("x", "y"), ("raw_x", "raw_y")), flat, strict=True):
            rows[x] += [None if np.isnan(value) else value for value in values[:, 0].tolist()]
            rows[y] += [None if np.isnan(value) else value for value in values[:, 1].tolist()]
        rows["score"] += series.scores.ravel().tolist()
        rows["filled"] += series.filled.ravel().tolist()
        rows["speed"] += person.speeds.speed.ravel().tolist()
        rows["acceleration"] += person.speeds.acceleration.ravel().tolist()
        rows["unit"] += [person.speeds.unit] * (count * keypoints)
    return rows


def event_columns(people: Sequence[PersonMotion]) -> Columns:
    """One row an event: heel strikes, toe-offs, and start, turn and end of repetitions, in order of time."""
    events: list[tuple[int, float, str, str, int | None]] = []
    for person in people:
        if person.gait is not None:
            events += [(person.series.track_id, one.time_s, one.kind, one.side, None) for one in person.gait.events]
        for number, repetition in enumerate(person.repetitions, 1):
            times = (("start", repetition.start_s), ("turn", repetition.turn_s), ("end", repetition.end_s))
            events += [(person.series.track_id, time, f"repetition_{name}", "", number) for name, time in times]
    events.sort(key=lambda row: (row[0], row[1]))
    names = ("track_id", "time_s", "event", "side", "repetition")
    return {name: [row[i] for row in events] for i, name in enumerate(names)}


def summary_columns(people: Sequence[PersonMotion]) -> Columns:
    """One row a person and measure, with its unit and, where known, standard deviation."""
    rows: Columns = {name: [] for name in ("track_id", "measure", "value", "sd", "unit")}
    for person in people:
        for measure, value, sd, unit in _summary(person):
            for name, cell in zip(rows, (person.series.track_id, measure, value, sd, unit), strict=True):
                rows[name].append(cell)
    return rows


def _summary(person: PersonMotion) -> list[tuple[str, float, float | None, str]]:
    found: list[tuple[str, float, float | None, str]] = [
        ("frames", float(len(person.series)), None, ""),
        ("seen", float(seconds_by_row(person.series.times_s).sum()), None, "s"),
    ]
    for name, extent in person.ranges.items():
        if extent is not None:
            found += [
                (f"{name} lowest", extent.low_deg, None, "deg"),
                (f"{name} highest", extent.high_deg, None, "deg"),
            ]
            found.append((f"{name} range of motion", extent.extent_deg, extent.sd_deg, "deg"))
    found += [(f"{name} symmetry", value, None, "%") for name, value in person.symmetry_percent.items()]
    if person.repetitions:
        found.append(("repetitions", float(len(person.repetitions)), None, ""))
        phases = np.array([one.phases_s for one in person.repetitions])
        found += [
            ("phase out, mean", float(phases[:, 0].mean()), None, "s"),
            ("phase back, mean", float(phases[:, 1].mean()), None, "s"),
        ]
    if person.gait is not None:
        if person.gait.cadence_per_min is not None:
            found.append(("cadence", person.gait.cadence_per_min, None, "steps/min"))
        found += [(f"{side} stride", value, None, "s") for side, value in person.gait.stride_s.items()]
        found += [(f"{side} stance", value, None, "%") for side, value in person.gait.stance_percent.items()]
    found += [(f"in posture {name}", inside, None, "s") for name, (inside, _) in person.posture_s.items()]
    return found


TABLES: Mapping[str, Callable[[Sequence[PersonMotion]], Columns]] = {
    "summary": summary_columns,
    "angles": angle_columns,
    "keypoints": keypoint_columns,
    "events": event_columns,
}


def write_tables(people: Sequence[PersonMotion], folder: Path, format_: str) -> list[Path]:
    """Write every table as ``NAME.csv`` or ``NAME.parquet`` and return the paths.

    Raises:
        UsageError: another format; the nearest one is named.
    """
    if format_ not in FORMATS:
        raise UsageError(f"unknown table format {format_!r}{nearest(format_, FORMATS)}")
    arrow = require("pyarrow", "all", "writing tables")
    paths = []
    for name, columns in TABLES.items():
        path = folder / f"{name}.{format_}"
        table = arrow.table(columns(people))
        with atomic_path(path) as temporary:
            if format_ == "csv":
                require("pyarrow.csv", "all", "writing tables").write_csv(table, str(temporary))
            else:
                require("pyarrow.parquet", "all", "writing tables").write_table(table, str(temporary))
        paths.append(path)
    return paths
