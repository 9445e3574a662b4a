"""Where commands write: over nothing they read, and over nothing that is somebody else's."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from vitpose.core.errors import UsageError
from vitpose.core.files import file_identity


def refuse_inputs(places: Mapping[str, Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Refuse to write over what is read.

    Args:
        places: files to be written, by the option or argument that names them.
        inputs: files, and folders, whose files count too; what is nothing on this disk is passed over.

    Raises:
        UsageError: a place is one of the inputs, whatever path leads to it.
    """
    taken = {
        name: (place, identity)
        for name, place in places.items()
        if place is not None and (identity := file_identity(place)) is not None
    }
    if not taken:
        return
    read = {file_identity(path) for one in inputs if one is not None for path in _files(Path(one))}
    for name, (place, identity) in taken.items():
        if identity in read:
            raise UsageError(f"{name} {place} is read by this command and would be written over: give another name")


def refuse_foreign(place: Path, ours: Callable[[Path], bool], command: str) -> None:
    """Refuse to write over a file that is no earlier result; an empty one holds nothing that could be lost.

    Args:
        place: to be written.
        ours: tells by what is in a file whether the command wrote it.
        command: as messages name it.

    Raises:
        UsageError: something else lies there, or nobody can tell.
    """
    try:
        free = not place.is_file() or not place.stat().st_size or ours(place)
    except OSError as error:
        raise UsageError(
            f"{place} cannot be read ({error.strerror}), so it is not replaced: give another name"
        ) from error
    if not free:
        raise UsageError(f"{place} exists and is no result of `vitpose {command}`: remove it, or give another name")


def _files(path: Path) -> Iterator[Path]:
    yield path
    try:
        # As the loaders of weights do; a tilde in the name of a file that is there is the name's own.
        path = path if path.exists() else path.expanduser()
        yield path
        if path.is_dir():
            yield from path.iterdir()
    except (OSError, ValueError, RuntimeError):
        return
