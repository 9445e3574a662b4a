"""Files appear whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vitpose.core.errors import InputError, UsageError, VitPoseError
from vitpose.core.files import atomic_path, atomic_write_text, check_place, check_regular, held_alone


def test_a_finished_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.json"
    atomic_write_text(target, "one")
    atomic_write_text(target, "two ü")
    assert target.read_text(encoding="utf-8") == "two ü"
    assert [path.name for path in target.parent.iterdir()] == ["a.json"]
    assert target.stat().st_mode & 0o600 == 0o600


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(InputError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise InputError("stop")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_clear_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(VitPoseError, match="No space left on device; no half of it was left"),
        atomic_path(tmp_path / "a.json"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(VitPoseError, match="cannot write"):
        atomic_write_text(tmp_path / "a" / "b.json", "")


@pytest.mark.skipif(sys.platform == "win32", reason="no lock there")
def test_what_one_process_holds_another_does_not_get_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".film.lock"
    script = (
        "import sys, time; from pathlib import Path; from vitpose.core.files import held_alone\n"
        "with held_alone(Path(sys.argv[1]), 'taken'): print('held', flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="it is taken"), held_alone(path, "it is taken"):
            pass
        assert path.exists(), "whoever is refused leaves the other's lock alone"
        other.send_signal(signal.SIGKILL)
    assert path.exists(), "a killed process cleans nothing up"
    with held_alone(path, "it is taken"), pytest.raises(UsageError), held_alone(path, "held in this process too"):
        pass
    assert not list(path.parent.iterdir())


def test_a_lock_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VitPoseError, match="cannot write"), held_alone(tmp_path / "file" / ".lock", "taken"):
        pass


def test_pipes_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_regular(tmp_path / "file", "file")
    check_regular(tmp_path, "folder")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe is a pipe, not a file: save"):
        check_regular(tmp_path / "pipe", "a pipe")


def test_a_place_is_tried_before_the_work(tmp_path: Path) -> None:
    check_place(tmp_path / "deep" / "er" / "model.onnx")
    assert not list(tmp_path.iterdir()), "nothing is left of the trial"
    (tmp_path / "file").write_text("mine")
    for taken in (tmp_path / "file" / "model.onnx", tmp_path):
        with pytest.raises(VitPoseError, match="cannot write"):
            check_place(taken)
    assert (tmp_path / "file").read_text() == "mine"
