"""Where the pictures of an annotation file lie."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vitpose.core.errors import InputError

_LOOKED_FOR = 20
"""Names that are looked for before a folder is given up."""


def find_images(annotations: Path, images_dir: str | Path | None, names: Sequence[str]) -> tuple[Path, int]:
    """Find the folder that picture names are relative to.

    Without ``images_dir`` the annotation file's folder, ``images`` in it, and the same one level up are tried. Where
    a picture is not to be found under its whole name, leading folders of the name are dropped: several sets
    write names relative to something above the folder that people point at.

    Args:
        annotations: the annotation file.
        images_dir: what the caller says, or None.
        names: of the pictures, as written in the file; some are looked for until one is found.

    Returns:
        The folder, and how many leading folders of the names to drop.

    Raises:
        InputError: ``images_dir`` is not a folder.
    """
    if images_dir is not None and not Path(images_dir).is_dir():
        raise InputError(f"the picture folder {images_dir} is not a folder")
    above = annotations.parent
    tried = [Path(images_dir)] if images_dir else [above, above / "images", above.parent, above.parent / "images"]
    for name in names[:: -(-len(names) // _LOOKED_FOR) or 1]:  # a missing picture says nothing about the others
        parts = PurePosixPath(name.replace("\\", "/")).parts
        for dropped in range(len(parts)):
            for folder in tried:
                if folder.joinpath(*parts[dropped:]).is_file():
                    return folder, dropped
    return tried[0], 0


def picture_path(folder: Path, name: str, dropped: int) -> Path:
    """Return the path of one picture, given what ``find_images`` found."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return folder.joinpath(*parts[min(dropped, len(parts) - 1) :])
