"""Files appear whole or not at all: written beside their place, flushed to disk, then renamed."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from vitpose.core.errors import VitPoseError

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
        yield temporary
        _commit(temporary, target)
        temporary = None
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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
        """Remove what was written; whatever stood at the path before is untouched."""
        with contextlib.suppress(OSError):
            self._file.close()
        self.temporary.unlink(missing_ok=True)


def _stage(target: Path) -> Path:
    """Make an empty hidden file beside ``target``, with the rights that new files of this user have."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".part-{secrets.token_hex(6)}{target.suffix}"
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def _commit(temporary: Path, target: Path) -> None:
    with temporary.open("rb+") as written:
        os.fsync(written.fileno())
    temporary.replace(target)


def _cannot_write(target: Path, error: OSError) -> VitPoseError:
    return VitPoseError(f"cannot write {target}: {error.strerror or error}; no half of it was left")
