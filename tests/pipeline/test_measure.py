"""Measuring a film: what was smoothed is measured from the raw points, and rules on the command line are read."""

import json
from pathlib import Path

import numpy as np
import pytest

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import load_skeleton
from vitpose.formats.results import Origin, to_document
from vitpose.motion.preset import load_preset
from vitpose.pipeline.measure import (
    KnownLength,
    Measurement,
    measure_film,
    parse_length,
    parse_postures,
    preset_analysis,
)

SKELETON = load_skeleton("coco17")
TIMES = np.arange(90) / 30


def film(path: Path, xy: np.ndarray, *, smoothed: np.ndarray | None = None, ids: bool = True, stride: int = 1) -> Path:
    """Write one person as a result file."""
    with path.open("w", encoding="utf-8") as file:
        for i, time_s in enumerate(TIMES):
            poses = Poses(
                xy=xy[i : i + 1] if smoothed is None else smoothed[i : i + 1],
                raw_xy=None if smoothed is None else xy[i : i + 1],
                scores=np.ones((1, len(SKELETON))),
                boxes=[[100, 100, 300, 400]],
                box_scores=[0.9],
                track_ids=[1] if ids else None,
                skeleton=SKELETON,
                image_size=Size(480, 640),
            )
            origin = Origin(name="walk", source="walk.mp4", image_id=1, frame=stride * i, time_s=float(time_s))
            file.write(json.dumps(to_document(origin, poses)) + "\n")
    return path


@pytest.fixture
def moving(rng: np.random.Generator) -> np.ndarray:
    place = rng.uniform(120, 300, size=(1, len(SKELETON), 2))
    return place + 20 * np.sin(TIMES[:, None, None] * 4 + rng.uniform(0, 6, size=place.shape))


def test_smoothed_points_are_not_smoothed_again(tmp_path: Path, moving: np.ndarray) -> None:
    plain = measure_film(film(tmp_path / "a.jsonl", moving), tmp_path / "a")
    other = measure_film(film(tmp_path / "b.jsonl", moving, smoothed=moving * 0.5 + 100), tmp_path / "b")
    assert len(plain.people) == len(other.people) == 1
    np.testing.assert_array_equal(plain.people[0].series.xy, other.people[0].series.xy)
    assert all(path.is_file() for path in plain.files)


def test_frames_bear_the_numbers_they_have_in_the_film(tmp_path: Path, moving: np.ndarray) -> None:
    measure_film(film(tmp_path / "a.jsonl", moving, stride=3), tmp_path / "out", Measurement(tables="csv"))
    for table in ("angles", "keypoints"):
        lines = (tmp_path / "out" / f"{table}.csv").read_text().splitlines()
        place = lines[0].replace('"', "").split(",").index("frame")
        assert sorted({int(line.split(",")[place]) for line in lines[1:]}) == list(range(0, 270, 3))


def test_people_without_ids_are_tracked(tmp_path: Path, moving: np.ndarray) -> None:
    found = measure_film(film(tmp_path / "a.jsonl", moving, ids=False), tmp_path / "out")
    assert [one.series.track_id for one in found.people] == [1]


@pytest.mark.parametrize("tables", ["csv", "parquet"])
def test_files_of_somebody_elses_are_not_written_over(tmp_path: Path, moving: np.ndarray, tables: str) -> None:
    results, out = film(tmp_path / "a.jsonl", moving), tmp_path / "out"
    chosen = Measurement(tables=tables)
    measure_film(results, out, chosen)
    measure_film(results, out, chosen)  # its own files it does write over
    own = out / f"angles.{tables}"
    own.write_text("mine")
    before = (out / f"summary.{tables}").stat().st_mtime_ns
    with pytest.raises(UsageError, match=rf"angles\.{tables} exists and is not a result"):
        measure_film(results, out, chosen)
    assert own.read_text() == "mine"
    assert (out / f"summary.{tables}").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="is a source and would be overwritten"):
        measure_film(film(tmp_path / "out" / "report.html", moving), out, Measurement(tables="csv"))


def test_a_known_length_gives_metres(tmp_path: Path, moving: np.ndarray) -> None:
    path = film(tmp_path / "a.jsonl", np.repeat(moving[:1], len(TIMES), axis=0))
    length = KnownLength(first="left_hip", second="left_knee", metres=0.4)
    found = measure_film(path, tmp_path / "out", Measurement(length=length)).people[0]
    span = np.linalg.norm(moving[0, SKELETON.index("left_hip")] - moving[0, SKELETON.index("left_knee")])
    assert found.speeds.unit == "m"
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"{0.4 / span:.5f} m a pixel" in text


def test_who_is_hardly_seen_is_named(tmp_path: Path, moving: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    path = film(tmp_path / "a.jsonl", moving)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[:4]:
        line["people"][0]["track_id"] = 9
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = measure_film(path, tmp_path / "a")
    assert [person.series.track_id for person in found.people] == [1]
    assert "1 of 2 people are not measured, for they are seen in fewer than 5 frames: ids 9" in caplog.text


def test_rules_are_read() -> None:
    assert parse_postures(["squat:left_knee_flexion=70..140", "squat:right_knee_flexion=70..140"]) == {
        "squat": {"left_knee_flexion": (70.0, 140.0), "right_knee_flexion": (70.0, 140.0)}
    }
    assert parse_length("left_hip, left_knee=0.45") == KnownLength(first="left_hip", second="left_knee", metres=0.45)


@pytest.mark.parametrize(
    "text", ["", "squat", "squat:knee", "squat:knee=1", "squat:knee=a..b", ":knee=1..2", "squat:knee=9..2"]
)
def test_broken_posture_rules(text: str) -> None:
    with pytest.raises(UsageError, match="posture"):
        parse_postures([text])


@pytest.mark.parametrize("text", ["", "a,b", "a=0.3", "a,b=x", "a,b=nan", "a,b=-1", "a,b=0"])
def test_broken_lengths(text: str) -> None:
    with pytest.raises(UsageError, match="length"):
        parse_length(text)


def test_a_preset_says_how_a_film_is_measured() -> None:
    healthcare = load_preset("healthcare")
    settings = preset_analysis(healthcare)
    assert settings.smoothing == healthcare.offline
    assert settings.gaps_s == healthcare.gaps_s
    assert preset_analysis(healthcare, "rts").smoothing.method == "rts"
    assert preset_analysis(None).smoothing.method == "butterworth"
