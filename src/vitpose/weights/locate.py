"""From what a user writes to files on this disk, downloaded if need be."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vitpose.core.errors import UsageError, WeightsError
from vitpose.models.variants import HeadSpec
from vitpose.weights.catalog import PACKAGED_NAME, find_model, list_models, packaged_file, weights_cache
from vitpose.weights.fetch import check_hash, fetch_hub_file, fetch_hub_folder, fetch_url
from vitpose.weights.huggingface import INDEX, OLD_WEIGHTS, WEIGHTS
from vitpose.weights.rows import CheckpointRow

_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_SUFFIXES: Final = (".pth", ".pt", ".bin", ".safetensors", ".ckpt", ".tar", ".onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where weights lie, and what the catalogue knows about them.

    Attributes:
        path: a file, or a folder in the layout of transformers.
        source: what the user wrote.
        name: catalogue id or the hub's name; empty for local files.
        heads: in the order of the file, if the catalogue knows them.
    """

    path: Path
    source: str
    name: str = ""
    heads: tuple[HeadSpec, ...] = ()


def locate(source: str | Path) -> Located:
    """Find weights: a file, folder or run that is there, else a name of the catalogue, else a repository of the hub.

    A folder without weights does not stand in the way of a name of the catalogue, and none in that of ``embedded``;
    a ``Path`` is never a name.

    Raises:
        WeightsError: the file is not there, or cannot be downloaded; what to do by hand is said.
        UsageError: nothing is called that; the nearest name is given.
    """
    text = str(source)
    path = Path(source).expanduser()
    if path.exists() and (isinstance(source, Path) or names_path(text)):
        return Located(path=_of_run(path), source=text)
    try:
        row = find_model(text)
    except UsageError:
        _refuse_missing_path(source, path)
        if not _HUB_ID.fullmatch(text) or any(known.repo.lower() == text.lower() for known in list_models()):
            raise
    else:
        return Located(path=fetch_row(row), source=text, name=row.id, heads=row.heads)
    try:
        return Located(path=fetch_hub_folder(text), source=text, name=path.name)
    except WeightsError as error:
        raise WeightsError(f"there is no folder {text} here, and {error}") from error


def names_path(text: str) -> bool:
    """Return whether a name stands for what lies on this disk, and not for a checkpoint of the catalogue."""
    path = Path(text).expanduser()
    if not path.is_dir():
        return path.exists()
    try:
        find_model(text)
    except UsageError:
        return True
    if text.lower() == PACKAGED_NAME:
        return False
    return _of_run(path) != path or any((path / name).is_file() for name in (WEIGHTS, INDEX, OLD_WEIGHTS))


def _of_run(path: Path) -> Path:
    """Return the best weights of a run's folder, its last ones where none were judged; else the path itself."""
    if path.is_dir() and (path / "config.toml").is_file():
        for name in ("best.safetensors", "last.safetensors"):
            if (path / name).is_file():
                return path / name
    return path


def _refuse_missing_path(source: str | Path, path: Path) -> None:
    text = str(source)
    looks_like_one = path.suffix.lower() in _SUFFIXES or path.is_absolute() or text.startswith((".", "~"))
    if isinstance(source, Path) or looks_like_one:
        raise WeightsError(f"cannot read weights {text}: no such file or folder")


def fetch_row(row: CheckpointRow) -> Path:
    """Return the local file or folder of a checkpoint of the catalogue, downloading it if it is missing.

    Raises:
        WeightsError: it cannot be downloaded, has to be got by hand, or is not the published file.
    """
    if row.packaged:
        found = packaged_file(row.packaged)
        if found is None:
            raise WeightsError(
                f"{row.id}: this copy of the package carries no {row.packaged}: install a release that does, train one"
                " as scripts/embedded/README.md says, or take another model from `vitpose models`"
            )
        check_hash(found, row.sha256, remove=False)
        return found
    own = weights_cache() / row.local_name
    if own.is_file():
        check_hash(own, row.sha256, remove=False)  # somebody may have put it there by hand
        return own
    if row.url:
        return fetch_url(row.url, weights_cache(), sha256=row.sha256)
    if row.repo and row.format == "hf":
        return fetch_hub_folder(row.repo)
    if row.repo:
        return fetch_hub_file(row.repo, row.file, sha256=row.sha256)
    raise WeightsError(
        f"{row.id} cannot be downloaded by a program: get it by hand from {row.page} and put it at {own}"
    )


def row_of_file(sha256: str) -> CheckpointRow | None:
    """Return the checkpoint of the catalogue that a file is, by its SHA-256, or None."""
    return next((row for row in list_models() if row.sha256 and sha256.startswith(row.sha256.lower())), None)
