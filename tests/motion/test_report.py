import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from synthetic import COCO17, standing, walker
from typer.testing import CliRunner

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import load_skeleton
from vitpose.motion.analyse import AnalysisSettings, analyse
from vitpose.motion.angle_list import load_angles
from vitpose.motion.clip import read_clip
from vitpose.motion.plots import angle_png, trajectory_png
from vitpose.motion.report import write_report
from vitpose.motion.tables import TABLES, write_tables

TIMES = np.arange(0, 4, 1 / 30)


def frames(xy: np.ndarray, ids: list[int] | None) -> list[Poses]:
    """``xy`` (frames, people, keypoints, 2)."""
    low, high = xy.min(axis=2) - 5, xy.max(axis=2) + 5
    return [
        Poses(
            xy=xy[t],
            scores=np.full(xy[t].shape[:2], 0.9),
            boxes=np.concatenate([low[t], high[t]], axis=1),
            box_scores=np.ones(len(xy[t])),
            track_ids=None if ids is None else np.array(ids),
            skeleton=COCO17,
            image_size=Size(480, 640),
        )
        for t in range(len(xy))
    ]


def write_jsonl(path, poses: list[Poses], times: np.ndarray = TIMES) -> None:
    lines = []
    for t, one in enumerate(poses):
        document = one.to_dict()
        document["image"] |= {"source": "walk.mp4", "frame": t, "time_s": float(times[t])}
        lines.append(json.dumps(document))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def walking() -> np.ndarray:
    return walker(TIMES, stride_s=1.0, speed=60, skeleton=COCO17)[:, None]


def test_a_clip_reads_back(tmp_path, walking: np.ndarray) -> None:
    write_jsonl(tmp_path / "a.jsonl", frames(walking, [1]))
    clip = read_clip(tmp_path / "a.jsonl")
    assert clip.source == "walk.mp4"
    assert clip.times_s == pytest.approx(TIMES.tolist())
    np.testing.assert_allclose([poses.xy for poses in clip.frames], walking, atol=1e-3)


def test_a_broken_clip_names_the_line(tmp_path, walking: np.ndarray) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, frames(walking, [1]))
    text = path.read_text()
    path.write_text(text + text.splitlines()[0][:40] + "\n")
    with pytest.raises(InputError, match=r"line 121: not JSON.*broken-off"):
        read_clip(path)
    write_jsonl(path, frames(walking, [1]), TIMES[::-1])
    with pytest.raises(InputError, match="line 2: time goes from"):
        read_clip(path)
    path.write_text("")
    with pytest.raises(InputError, match="holds no frames"):
        read_clip(path)
    path.write_text('{"schema": "vitpose.poses/1"}\n')
    with pytest.raises(InputError, match=r"line 1: no image\.time_s"):
        read_clip(path)
    with pytest.raises(InputError, match="cannot read"):
        read_clip(tmp_path / "none.jsonl")


def test_frames_whose_time_stands_still_are_left_out(tmp_path, walking: np.ndarray, caplog) -> None:
    """A frame whose time stamp went back is written with the time of the frame before it."""
    times = TIMES.copy()
    times[[4, 5, 9]] = times[[3, 3, 8]]
    write_jsonl(tmp_path / "a.jsonl", frames(walking, [1]), times)
    clip = read_clip(tmp_path / "a.jsonl")
    kept = np.delete(np.arange(len(TIMES)), [4, 5, 9])
    assert clip.times_s == pytest.approx(TIMES[kept].tolist())
    np.testing.assert_allclose([poses.xy for poses in clip.frames], walking[kept], atol=1e-3)
    assert "the time of the frame before them: 3" in caplog.text


def test_half_a_line_at_the_end_is_left_out(tmp_path, walking: np.ndarray, caplog) -> None:
    path = tmp_path / "a.partial.jsonl"
    write_jsonl(path, frames(walking, [1]))
    path.write_bytes(path.read_bytes()[:-40])
    assert len(read_clip(path).frames) == len(TIMES) - 1
    assert "half a line" in caplog.text


def test_a_smoothed_film_gives_the_points_from_before(tmp_path, walking: np.ndarray) -> None:
    """Movement is measured on points that are smoothed once."""
    smoothed = [replace(one, xy=one.xy + 5, raw_xy=one.xy) for one in frames(walking, [1])]
    write_jsonl(tmp_path / "a.jsonl", smoothed)
    clip = read_clip(tmp_path / "a.jsonl")
    np.testing.assert_allclose([one.xy for one in clip.frames], walking, atol=1e-3)
    assert all(one.raw_xy is None for one in clip.frames)


def test_analysis_of_two_people(walking: np.ndarray) -> None:
    xy = np.concatenate([walking, standing(len(TIMES))[:, None] + 250], axis=1)
    settings = AnalysisSettings(gait=True, repetitions="left_knee_flexion", metres_per_px=0.01)
    people = analyse(frames(xy, [3, 7]), TIMES.tolist(), load_angles("coco17", COCO17), settings)
    walker_found, stander = people
    assert [one.series.track_id for one in people] == [3, 7]
    assert walker_found.gait.cadence_per_min == pytest.approx(120, rel=0.03)
    assert stander.gait is None
    assert "treadmill" in stander.gait_note
    assert stander.repetitions == ()
    hip = COCO17.index("left_hip")
    np.testing.assert_allclose(walker_found.speeds.speed[5:-5, hip], 0.6, atol=0.02)
    assert abs(walker_found.symmetry_percent["knee_flexion"]) < 10


def test_who_is_seen_too_rarely_is_left_out(walking: np.ndarray) -> None:
    assert (
        analyse(frames(walking[:3], [1]), TIMES[:3].tolist(), load_angles("coco17", COCO17), AnalysisSettings()) == []
    )
    with pytest.raises(UsageError, match="did you mean 'left_knee_flexion'"):
        analyse([], [], load_angles("coco17", COCO17), AnalysisSettings(repetitions="left_kne_flexion"))


@pytest.mark.parametrize("people_there", [0, 1])
def test_tables_and_report(tmp_path, walking: np.ndarray, people_there: int) -> None:
    specs = load_angles("coco17", COCO17)
    people = analyse(frames(walking, [1]), TIMES.tolist(), specs, AnalysisSettings(gait=True))[:people_there]
    paths = write_tables(people, tmp_path, "csv")
    assert [path.stem for path in paths] == list(TABLES)
    with (tmp_path / "angles.csv").open() as file:
        assert len(list(csv.DictReader(file))) == people_there * len(TIMES) * len(specs)
    with (tmp_path / "keypoints.csv").open() as file:
        assert len(list(csv.DictReader(file))) == people_there * len(TIMES) * 17
    write_report(people, tmp_path / "report.html", source="<walk>.mp4")
    page = (tmp_path / "report.html").read_text()
    assert "&lt;walk&gt;" in page
    assert page.count("data:image/png") == 2 * people_there
    assert "http" not in page


def test_parquet_holds_the_same_as_csv(tmp_path, walking: np.ndarray) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    people = analyse(frames(walking, [1]), TIMES.tolist(), load_angles("coco17", COCO17), AnalysisSettings(gait=True))
    write_tables(people, tmp_path, "parquet")
    for name, columns in TABLES.items():
        table = parquet.read_table(tmp_path / f"{name}.parquet")
        assert table.to_pydict().keys() == columns(people).keys()
        assert table.num_rows == len(columns(people)["track_id"]) > 0
    with pytest.raises(UsageError, match="did you mean 'csv'"):
        write_tables(people, tmp_path, "cvs")


def test_plots_show_something(walking: np.ndarray) -> None:
    settings = AnalysisSettings(gait=True, repetitions="left_hip_flexion", least_deg=5)
    (person,) = analyse(frames(walking, [1]), TIMES.tolist(), load_angles("coco17", COCO17), settings)
    for png in (angle_png(person), trajectory_png(person)):
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        assert min(pixels.shape[:2]) > 300
        assert 0.005 < (pixels < 250).any(axis=-1).mean() < 0.9


def test_the_command(tmp_path, walking: np.ndarray) -> None:
    typer = pytest.importorskip("typer")
    from vitpose.cli.motion import motion

    app = typer.Typer()
    app.command()(motion)
    write_jsonl(tmp_path / "a.jsonl", frames(walking, None))
    out = tmp_path / "out"
    call = [str(tmp_path / "a.jsonl"), "--out", str(out), "--preset", "healthcare", "--gait", "--json"]
    call += ["--length", "left_hip,left_ankle=0.75", "--posture", "any:left_knee_flexion=-10..190"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    rows = {row["measure"]: row for row in json.loads(result.stdout)}
    assert rows["cadence"]["value"] == pytest.approx(120, rel=0.03)
    assert rows["in posture any"]["value"] == pytest.approx(TIMES[-1], abs=0.05)
    assert {path.name for path in out.iterdir()} == {*(f"{name}.csv" for name in TABLES), "report.html"}
    for wrong, message in (
        (["--posture", "squat"], "NAME:ANGLE=LOW..HIGH"),
        (["--length", "left_hip=1"], "KEYPOINT,KEYPOINT=METRES"),
        (["--direction", "up"], "left or right"),
        (["--preset", "fitnes"], "did you mean 'fitness'"),
        (["--smoothing", "kalmann"], "did you mean 'kalman'"),
    ):
        failed = CliRunner().invoke(app, [call[0], "--out", str(out), *wrong])
        assert isinstance(failed.exception, UsageError)
        assert message in str(failed.exception)


def test_real_dance(shared, tmp_path) -> None:
    """A model's poses of a dancer: everything runs, and smoothing takes most of the jitter away."""
    data = np.load(shared / "data" / "dance" / "labels.npz")
    kept = ~data["is_user"]
    order = np.argsort(data["frame"][kept], kind="stable")
    points = data["kpts"][kept][order][:, None].astype(float)
    skeleton = load_skeleton("coco17")
    poses = [
        Poses(
            xy=one[..., :2],
            scores=np.where(one[..., 2] > 0, 0.8, 0.0),
            boxes=[[0.0, 0.0, 406.0, 720.0]],
            box_scores=[0.9],
            track_ids=np.array([1]),
            skeleton=skeleton,
            image_size=Size(720, 406),
        )
        for one in points
    ]
    times = (np.arange(len(poses)) / 30).tolist()
    (person,) = analyse(poses, times, load_angles("coco17", skeleton), AnalysisSettings())
    hip = skeleton.index("left_hip")
    before, after = (np.abs(np.diff(xy[:, hip], 2, axis=0)).mean() for xy in (person.series.raw_xy, person.series.xy))
    assert after < before / 2
    write_report([person], tmp_path / "r.html", source="dance")
    assert (tmp_path / "r.html").stat().st_size > 50_000
