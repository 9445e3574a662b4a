"""Files appear whole or not at all."""

import errno
from pathlib import Path

import pytest

from vitpose.core.errors import InputError, VitPoseError
from vitpose.core.files import atomic_path, atomic_write_text


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
