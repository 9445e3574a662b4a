"""`vitpose predict` on films from the outside: files, ids, presets, interrupts, going on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image

from vitpose.cli.main import main

Run = Callable[..., tuple[int, str, str]]

TINY = ("--model", "random:vitpose-ti", "--detector", "whole", "--engine", "eager")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vitpose", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def write_film(path: Path, frames: int, *, rate: int = 25) -> Path:
    """Write a film of moving noise."""
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate))
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        for shift in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(image, shift, axis=1), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "clip.mp4", 20)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def lines(path: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in path.read_text().splitlines()]


def frames_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def test_a_film_gives_results_and_a_film(run: Run, film: Path, tmp_path: Path) -> None:
    code, out, err = run("predict", film, *TINY)
    assert code == 0, err
    assert out == ""
    assert "20 frames" in err
    assert {"clip.jsonl", "clip.mp4"} <= set(files(tmp_path / "poses"))
    documents = lines(tmp_path / "poses" / "clip.jsonl")
    assert [one["image"]["frame"] for one in documents] == list(range(20))
    assert [one["image"]["time_s"] for one in documents] == pytest.approx([i / 25 for i in range(20)])
    assert all("track_id" in person for one in documents for person in one["people"])
    people = [person for one in documents for person in one["people"]]
    assert len(people) == 20
    assert all(np.shape(person["raw_xy"]) == (17, 2) for person in people), "raw points stay beside smoothed ones"
    assert frames_of(tmp_path / "poses" / "clip.mp4") == pytest.approx([i / 25 for i in range(20)], abs=1e-3)


def test_every_format_of_a_film(run: Run, film: Path, tmp_path: Path) -> None:
    """Each holds the keypoints that the journal does, the nose's to begin with."""
    wanted = "json,csv,parquet,coco,openpose,skeletons"
    code, _, err = run("predict", film, *TINY, "--format", wanted, "--smooth", "none", "--tracker", "none")
    assert code == 0, err
    folder = tmp_path / "poses"
    people = [one["people"][0] for one in lines(folder / "clip.jsonl")]
    points = np.array([person["keypoints"] for person in people])
    assert points.shape == (20, 17, 3)
    noses = points[:, 0]
    tables = (
        pyarrow.csv.read_csv(folder / "clip.csv"),
        pyarrow.parquet.read_table(folder / "clip.parquet"),
    )
    for table in tables:
        assert table["frame"].to_pylist() == list(range(20))
        found = np.stack([table[f"nose_{what}"].to_numpy() for what in ("x", "y", "score")], axis=1)
        np.testing.assert_allclose(found, noses, rtol=1e-5)
    coco = json.loads((folder / "clip.coco.json").read_text())
    assert [image["time_s"] for image in coco["images"]] == pytest.approx([i / 25 for i in range(20)])
    assert [entry["image_id"] for entry in coco["annotations"]] == [image["id"] for image in coco["images"]]
    found = np.array([entry["keypoints"] for entry in coco["annotations"]]).reshape(20, 17, 3)
    np.testing.assert_allclose(found[..., :2], points[..., :2], rtol=1e-5)
    frames = sorted((folder / "clip").iterdir())
    assert [path.name for path in frames] == [f"clip_{number:012d}_keypoints.json" for number in range(20)]
    found = np.array([json.loads(path.read_text())["people"][0]["pose_keypoints_2d"][:3] for path in frames])
    np.testing.assert_allclose(found, noses, rtol=1e-5)
    with np.load(folder / "clip.npz") as arrays:
        np.testing.assert_allclose(arrays["keypoint"], points[None, ..., :2], rtol=1e-5)
        np.testing.assert_allclose(arrays["time_s"], [i / 25 for i in range(20)])


def test_a_part_of_a_film(run: Run, film: Path, tmp_path: Path) -> None:
    part = ("--start", "0:00:00.2", "--end", "0.6", "--stride", "2")
    assert run("predict", film, *TINY, *part, "--format", "json")[0] == 0
    assert [one["image"]["frame"] for one in lines(tmp_path / "poses" / "clip.jsonl")] == [6, 8, 10, 12, 14]


def test_pictures_as_a_film(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for i in range(3):
        Image.fromarray(np.full((48, 64, 3), 40 * i, np.uint8)).save(tmp_path / "shots" / f"{i:03d}.png")
    code, _, err = run("predict", "shots", *TINY, "--fps", "10", "--format", "json")
    assert code == 0, err
    assert [one["image"]["time_s"] for one in lines(tmp_path / "poses" / "shots.jsonl")] == pytest.approx([0, 0.1, 0.2])
    code, _, err = run("predict", "shots/%03d.png", *TINY, "--format", "json")
    assert code == 2
    assert "--fps" in err or "rate" in err


def test_a_preset_measures(run: Run, film: Path, tmp_path: Path) -> None:
    code, _, err = run("predict", film, *TINY, "--preset", "fitness", "--blur-faces")
    assert code == 0, err
    found = set(files(tmp_path / "poses"))
    assert {"clip.jsonl", "clip.mp4", "clip.motion/report.html"} <= found
    documents = lines(tmp_path / "poses" / "clip.jsonl")
    assert isinstance(documents[0]["threshold"], list)
    assert len(set(documents[0]["threshold"])) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--preset", "fittness"), "fitness"),
        (("--smooth", "kalmann"), "kalman"),
        (("--tracker", "pse"), "pose"),
        (("--format", "json,openpse"), "openpose"),
        (("--start", "a"), "--start"),
        (("--start", "5", "--end", "2"), "end"),
        (("--scales", "1,x"), "--scales"),
        (("--tracker", "none", "--smooth", "online"), "--smooth none"),
    ],
)
def test_wrong_words(run: Run, film: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    code, _, err = run("predict", film, *TINY, *options)
    assert code == 2, err
    assert message in err
    assert not (tmp_path / "poses").exists() or files(tmp_path / "poses") == []


def test_a_bad_film_among_good_ones(run: Run, film: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no film at all")
    code, _, err = run("predict", "broken.mp4", film, *TINY, "--format", "json")
    assert code == 4
    assert "broken.mp4" in err
    assert len(lines(tmp_path / "poses" / "clip.jsonl")) == 20


def start(tmp_path: Path, out: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vitpose", "predict", "long.mp4", *TINY, "--out", out, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def test_ctrl_c_leaves_playable_files_and_the_run_goes_on(tmp_path: Path) -> None:
    write_film(tmp_path / "long.mp4", 160)
    whole = start(tmp_path, "whole")
    stopped = start(tmp_path, "stopped")
    partial = tmp_path / "stopped" / "long.partial.jsonl"
    end = time.monotonic() + 100
    while time.monotonic() < end and not (partial.exists() and partial.stat().st_size):
        time.sleep(0.02)
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=100)
    assert stopped.returncode == 130, err
    assert "Traceback" not in err
    kept = [one["image"]["frame"] for one in lines(partial)]
    assert kept == list(range(len(kept)))
    assert 0 < len(kept) < 160
    assert len(frames_of(tmp_path / "stopped" / "long.partial.mp4")) == len(kept)
    resumed = start(tmp_path, "stopped", "--resume")
    for process in (whole, resumed):
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
    for name in ("long.jsonl", "long.mp4"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not partial.exists()
