"""Files appear whole or not at all: written beside their place, flushed to disk, then renamed."""

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from vitpose.core.errors import InputError, UsageError, VitPoseError

T = TypeVar("T")


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it there when the block succeeds.

    The temporary name keeps the suffix, because picture writers choose the format by it. When the block raises,
    the temporary file is removed and whatever stood at ``path`` before is untouched. The block should do nothing but
    write: its operating system errors are taken for errors of writing.

    Raises:
        VitPoseError: the folder cannot be made or the file cannot be written (permissions, disk full).
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        temporary = _stage(target)
        rights = temporary.stat().st_mode
        yield temporary
        temporary.chmod(rights)  # some writers put a file of their own in its place, for nobody else to read
        _commit(temporary, target)
        temporary = None
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        if temporary is not None:
            _remove(temporary)


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader never sees half of it."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` so that a reader never sees half of it."""
    atomic_write_bytes(path, text.encode("utf-8"))


class GrowingFile:
    """A text file that is written over a long time and appears under its name when it is kept.

    Attributes:
        path: where it will appear.
        temporary: where it is until then, for libraries that write by path.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a hidden file beside ``path``.

        Raises:
            VitPoseError: the folder cannot be made or written to.
        """
        self.path = Path(path)
        try:
            self.temporary = _stage(self.path)
            self._file = self.temporary.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def write(self, text: str) -> None:
        """Append ``text``.

        Raises:
            VitPoseError: the disk is full or gone.
        """
        self.guard(self._file.write, text)

    def guard(self, call: Callable[..., T], *arguments: object) -> T:
        """Call something that writes to the file.

        Raises:
            VitPoseError: the disk is full or gone.
        """
        try:
            return call(*arguments)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def keep(self, path: str | Path | None = None) -> None:
        """Finish the file and give it its name, or another one in the same folder.

        Raises:
            VitPoseError: the rest cannot be written; nothing is left then.
        """
        target = self.path if path is None else Path(path)
        try:
            self._file.close()
            _commit(self.temporary, target)
        except OSError as error:
            self.discard()
            raise _cannot_write(target, error) from error

    def discard(self) -> None:
        """Remove what was written; whatever stood at the path before is untouched.

        Where that cannot be done, a hidden file stays: what went wrong before is what is to be heard of.
        """
        with contextlib.suppress(OSError):
            self._file.close()
        _remove(self.temporary)


@contextlib.contextmanager
def held_alone(path: Path, otherwise: str) -> Iterator[None]:
    """Hold a lock for the length of the block: of two processes that work on the same files, one is refused.

    The operating system takes the lock back when the process ends, however it ends, so a killed run never stands in the
    way of the one that continues it; the empty file it leaves is taken over.

    Args:
        path: the file that is locked; it is made, and removed in the end.
        otherwise: what to say when another process holds it.

    Raises:
        UsageError: another process holds it.
        VitPoseError: the folder cannot be made or written to.
    """
    descriptor = _locked(path, otherwise)
    try:
        yield
    finally:
        if sys.platform == "win32":
            # An open file cannot be removed there: when somebody else has opened it by now, it stays his.
            _unlock(descriptor)
            os.close(descriptor)
            _remove(path)
        else:
            # While the lock is held, so that the file somebody else locks now is never the one that is removed.
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _locked(path: Path, otherwise: str) -> int:
    """Return the descriptor of a file that is at ``path`` and locked by nobody else."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise VitPoseError(f"cannot write {path}: {error.strerror or error}") from error
        if not _lock(descriptor):
            os.close(descriptor)
            raise UsageError(otherwise)
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # whoever held it before has removed it in the meantime


def _lock(descriptor: int) -> bool:
    """Lock an open file for this process, without waiting, and return whether nobody else has.

    Some network file systems know no locks: the work is done without one there.
    """
    taken = PermissionError if sys.platform == "win32" else BlockingIOError
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # the first byte, which need not be there
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except taken:
        return False
    except OSError:
        pass
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file still has its name; Windows takes it from nobody who has the file open."""
    try:
        return sys.platform == "win32" or os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _unlock(descriptor: int) -> None:
    """Give the first byte back on Windows, which else does so some time after the file was closed."""
    if sys.platform == "win32":
        import msvcrt

        with contextlib.suppress(OSError):  # it was never locked where the file system knows no locks
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return what a file is, whatever path leads to it; None for what is none, or nobody can tell."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def check_place(path: Path) -> None:
    """Refuse a place where no file can be written, before the work that leads to it; nothing is left there.

    Raises:
        VitPoseError: the folder cannot be made or written to, or the place is taken by a folder.
    """
    try:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        _stage(folder / path.name).unlink()
    except OSError as error:
        raise VitPoseError(f"cannot write {path}: {error.strerror or error}") from error


def check_regular(path: Path, name: str) -> None:
    """Refuse a pipe, a socket or a device, which a reader may wait for without end, and a link that leads nowhere.

    Raises:
        InputError: it is one.
        OSError: there is nothing, or it may not be looked at.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError(f"{name} is a link to {path.readlink()}, which does not exist") from None
        raise
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise InputError(f"{name} is a {kind}, not a file: save what comes out of it as a file, and give that")


def _stage(target: Path) -> Path:
    """Make an empty hidden file beside ``target``, with the rights that new files of this user have."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".part-{secrets.token_hex(6)}{target.suffix}"
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def _remove(path: Path) -> None:
    """Remove a file, if it is there and that can be done; Windows refuses while somebody has it open."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _commit(temporary: Path, target: Path) -> None:
    with temporary.open("rb+") as written:
        os.fsync(written.fileno())
    temporary.replace(target)


def _cannot_write(target: Path, error: OSError) -> VitPoseError:
    return VitPoseError(f"cannot write {target}: {error.strerror or error}; no half of it was left")
