"""``vitpose label``: a file to correct or to train on, and never one written over another."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from vitpose.cli.main import app
from vitpose.core.errors import InputError, UsageError
from vitpose.data.readers.read import read_labelled

EVERYTHING = ("--score", "0", "--agreement", "9", "--keypoints", "1", "--box-score", "0", "--detector", "whole")
MODEL = ("--model", "random:vitpose-ti", "--engine", "eager")


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "b.png", "more/c.png"):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (90, 60, 3), dtype=np.uint8))
    return folder


def label(*words: object):
    return CliRunner().invoke(app, ["label", *map(str, words), *MODEL], catch_exceptions=False)


def raised(*words: object) -> Exception:
    result = CliRunner().invoke(app, ["label", *map(str, words), *MODEL])
    assert isinstance(result.exception, Exception)
    return result.exception


def test_everything_is_labelled_where_nothing_is_asked(photos: Path) -> None:
    out = photos / "labels.json"
    result = label(photos, "-o", out, *EVERYTHING)
    assert result.exit_code == 0
    assert "2 pictures, 2 labelled people, 34 keypoints" in result.stderr
    read = read_labelled("coco", out, photos)
    assert len(read.for_training()) == 2
    assert [image["file_name"] for image in json.loads(out.read_text())["images"]] == ["a.png", "b.png"]


def test_sub_folders_on_demand(photos: Path) -> None:
    assert "3 pictures" in label(photos, "-r", "-o", photos / "l.json", *EVERYTHING).stderr


def test_nobody_sure_is_said(photos: Path) -> None:
    result = label(photos / "a.png", "-o", photos / "l.json", "--detector", "whole", "--score", "1")
    assert result.exit_code == 0
    assert "1 picture, 0 labelled people" in result.stderr
    assert "lower --score" in result.stderr


def test_a_broken_picture_is_passed_over(photos: Path) -> None:
    (photos / "0.png").write_bytes(b"no picture")
    result = label(photos, "-o", photos / "l.json", *EVERYTHING)
    assert result.exit_code == 4
    assert "0.png" in result.stderr
    assert "2 pictures" in result.stderr


def test_a_film_that_is_named_has_failed_and_one_in_a_folder_is_only_counted(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    result = label(photos, tmp_path / "clip.mp4", "-o", photos / "l.json", *EVERYTHING)
    assert result.exit_code == 4
    assert f"failed: {tmp_path / 'clip.mp4'} is a film" in result.stderr
    assert "2 pictures" in result.stderr
    assert "1 failed, named above" in result.stderr
    (tmp_path / "clip.mp4").rename(photos / "clip.mp4")
    result = label(photos, "-o", photos / "again.json", *EVERYTHING)
    assert result.exit_code == 0
    assert "2 pictures" in result.stderr


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_it_has(photos: Path, kind: signal.Signals) -> None:
    for number in range(400):
        (photos / f"{number}.png").write_bytes((photos / "a.png").read_bytes())
    out = photos / "l.json"
    command = [sys.executable, "-c", STOPPED, "label", str(photos), "-o", str(out), *EVERYTHING, *MODEL]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line == "looked\n":
                process.send_signal(kind)
                break
        rest = process.communicate(timeout=100)[1]
    assert process.returncode == 130, [*said, rest]
    assert f"interrupted: the labels made until then are in {out}" in rest
    assert "Traceback" not in rest
    assert 0 < len(json.loads(out.read_text())["images"]) < 402


STOPPED = """
import sys
from vitpose.cli import progress
progress.Steps.at = lambda *_: print("looked", file=sys.stderr, flush=True)
from vitpose.cli.main import main
sys.argv[0] = "vitpose"
main()
"""
"""The command, which says when it is in the middle of its work."""


def test_an_interruption_before_anything_is_done_is_said(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vitpose.training.pseudo.make_labels", interrupted)
    result = label(photos, "-o", photos / "l.json")
    assert result.exit_code == 130
    assert "interrupted: no picture was finished until then" in result.stderr


def test_work_is_never_written_over(photos: Path) -> None:
    out = photos / "l.json"
    out.write_text("mine")
    error = raised(photos, "-o", out)
    assert isinstance(error, UsageError)
    assert "is there already" in str(error)
    assert out.read_text() == "mine"


def test_what_cannot_be_done_is_refused_before_the_work(photos: Path, tmp_path: Path) -> None:
    assert isinstance(raised(photos, "-o", tmp_path / "no" / "l.json"), UsageError)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert isinstance(raised(empty, "-o", tmp_path / "l.json"), InputError)
    assert isinstance(raised("https://example.org/a.jpg", "-o", tmp_path / "l.json"), UsageError)
    assert not (tmp_path / "l.json").exists()
