"""Files appear whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from vitpose.core import files
from vitpose.core.errors import InputError, UsageError, VitPoseError
from vitpose.core.files import GrowingFile, atomic_path, atomic_write_text, check_place, check_regular, held_alone


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


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed in another way there")
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


class Windows:
    """``msvcrt.locking`` as Microsoft describes it: one byte a handle, refused with EACCES while another has it."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.knows_locks = True

    def locking(self, descriptor: int, mode: int, nbytes: int) -> None:
        assert nbytes == 1
        if not self.knows_locks:
            raise OSError(errno.EINVAL, "Invalid argument")
        file = os.fstat(descriptor).st_ino
        if mode == self.LK_UNLCK:
            assert self.held.pop(file) == descriptor
        elif self.held.setdefault(file, descriptor) != descriptor:
            raise PermissionError(errno.EACCES, "Permission denied")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Windows:
    """The library in the belief that it runs on Windows, where open files cannot be removed."""
    stub = Windows()
    monkeypatch.setitem(sys.modules, "msvcrt", stub)  # type: ignore[arg-type]
    monkeypatch.setattr(files, "sys", types.SimpleNamespace(platform="win32"))
    unlink = Path.unlink

    def refuse_while_open(path: Path, missing_ok: bool = False) -> None:
        opened = Path("/proc/self/fd")
        if any(link.resolve() == path.resolve() for link in opened.iterdir()):
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_while_open)
    return stub


@pytest.mark.skipif(sys.platform != "linux", reason="what is open stands in /proc on Linux")
def test_windows_refuses_the_second_run_likewise(tmp_path: Path, windows: Windows) -> None:
    path = tmp_path / "deep" / ".film.lock"
    for _ in range(2):
        with held_alone(path, "it is taken"):
            with pytest.raises(UsageError, match="it is taken"), held_alone(path, "it is taken"):
                pass
            assert len(windows.held) == 1, "whoever is refused leaves the other's lock alone"
        assert not windows.held
        assert not list(path.parent.iterdir())
    with held_alone(path, "it is taken"):
        waiting = os.open(path, os.O_RDWR)
    assert path.exists(), "it stays with the one who has opened it in the meantime"
    os.close(waiting)
    with pytest.raises(InputError), held_alone(path, "it is taken"):
        raise InputError("the work itself failed")
    assert not windows.held
    windows.knows_locks = False
    with held_alone(path, "it is taken"), held_alone(path, "it is taken"):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="what is open stands in /proc on Linux")
def test_what_cannot_be_removed_hides_no_error(tmp_path: Path, windows: Windows) -> None:
    growing = GrowingFile(tmp_path / "a.csv")
    with growing.temporary.open(), pytest.raises(InputError, match="the first"):
        try:
            raise InputError("the first")
        finally:
            growing.discard()
    growing.discard()
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="the second"), atomic_path(tmp_path / "b.csv") as temporary:
        opened = temporary.open()
        raise InputError("the second")
    opened.close()


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
