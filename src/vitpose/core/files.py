"""Files appear whole or not at all: written beside their place, flushed to disk, then renamed."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vitpose.core.errors import VitPoseError


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it there when the block succeeds.

    The temporary name keeps the suffix, because picture writers choose the format by it. When the block raises,
    the temporary file is removed and whatever stood at ``path`` before is untouched.

    Raises:
        VitPoseError: the folder cannot be made or the file cannot be written (permissions, disk full).
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-", suffix=target.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        temporary = None
    except OSError as error:
        raise VitPoseError(f"cannot write {target}: {error.strerror or error}; nothing was left behind") from error
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


def _umask() -> int:
    """Return the process's umask: temporary files are private, finished ones get the user's usual rights."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
