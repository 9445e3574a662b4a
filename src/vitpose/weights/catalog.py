"""Every published checkpoint by name, and which of them are on this disk. No network, no torch."""

import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from vitpose.core.errors import UsageError, nearest
from vitpose.weights.catalog_file import read_catalog
from vitpose.weights.rows import CheckpointRow

__all__ = [
    "PACKAGED_NAME", "CheckpointRow", "find_model", "hub_cache", "hub_file_on_disk", "is_on_disk", "list_models",
    "packaged_file", "weights_cache",
]  # fmt: skip

PACKAGED_NAME: Final = "embedded"
"""The word for the checkpoint that comes with the package, whatever else is there."""


def list_models() -> tuple[CheckpointRow, ...]:
    """Return every checkpoint of the catalogue, in the order of its file."""
    return _rows()


def find_model(name: str) -> CheckpointRow:
    """Return the checkpoint called ``name``.

    Args:
        name: an id, an alias, a hub id (``owner/repository``), or a hub id followed by a file of it.

    Raises:
        UsageError: nothing is called that, with the nearest name, or a hub repository holds several checkpoints.
    """
    names = _names()
    found = names.get(name.lower())
    if found is not None:
        return found
    inside = [row for row in _rows() if row.repo and row.repo.lower() == name.lower().rstrip("/")]
    if len(inside) > 1:
        ids = ", ".join(row.id for row in inside)
        raise UsageError(f"hub repository {name!r} holds {len(inside)} checkpoints of the catalogue; name one: {ids}")
    hint = nearest(name, names)
    raise UsageError(
        f"no checkpoint is called {name!r}{hint if 'did you mean' in hint else '; `vitpose models` lists them all'}"
    )


def is_on_disk(row: CheckpointRow) -> Path | None:
    """Return the weights file of ``row`` if it is on this disk, in the hub's cache or our own; never the network."""
    if row.packaged:
        return packaged_file(row.packaged)
    own = weights_cache() / row.local_name
    if own.is_file():
        return own
    return hub_file_on_disk(row.repo, row.file) if row.repo else None


def hub_file_on_disk(repo: str, filename: str) -> Path | None:
    """Return a file of a hub repository if it is in the hub's cache; never the network.

    The cache is the one the hub's client downloads into, which reads its variables when it is first imported.
    """
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repo, filename, cache_dir=hub_cache())
    return Path(cached) if isinstance(cached, str) else None


def packaged_file(name: str) -> Path | None:
    """Return a file of weights that comes with the package, or None where this copy of it carries none."""
    path = _packaged_folder() / name
    return path if path.is_file() else None


def weights_cache() -> Path:
    """Return the folder for weights that do not come from the hub.

    ``weights`` in ``$VITPOSE_HOME``, which is ``vitpose`` in the user's cache folder if it is not set. The folder need
    not be there yet.
    """
    home = os.environ.get("VITPOSE_HOME")
    return (Path(home).expanduser() if home else _user_cache() / "vitpose") / "weights"


def _packaged_folder() -> Path:
    return Path(str(resources.files("vitpose").joinpath("weights", "embedded")))


def hub_cache() -> Path:
    """Return the folder the hub's client downloads into."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


@cache
def _rows() -> tuple[CheckpointRow, ...]:
    file = resources.files("vitpose").joinpath("weights", "catalog.toml")
    return read_catalog(file.read_text(encoding="utf-8"), "weights/catalog.toml")


@cache
def _names() -> dict[str, CheckpointRow]:
    """Return rows by every name that means exactly one of them, in lower case."""
    names: dict[str, CheckpointRow] = {}
    repos = [row.repo for row in _rows()]
    for row in _rows():
        hub = [f"{row.repo}/{row.file}"] if row.repo else []
        alone = [row.repo] if row.repo and repos.count(row.repo) == 1 else []
        names.update({name.lower(): row for name in (row.id, *row.aliases, *hub, *alone)})
    return names
