"""Recipes: complete configurations that come with the package, read by name, and files of the user's own."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.training.config import RunConfig
from vitpose.training.settings import build, changed, parse_toml


def recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("vitpose").joinpath("training", "recipes")
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def recipe_text(name: str) -> str:
    """Return the text of a recipe that comes with the package.

    Raises:
        UsageError: no such recipe; the nearest one is named.
    """
    known = recipes()
    if name not in known:
        raise UsageError(f"unknown recipe {name!r}{nearest(name, known)} (or give the path of a .toml file)")
    return resources.files("vitpose").joinpath("training", "recipes", f"{name}.toml").read_text(encoding="utf-8")


def recipe_purpose(name: str) -> str:
    """Return the first line of a recipe's header: what it is for."""
    return recipe_text(name).split("\n", 1)[0].lstrip("# ").strip()


def load_config(recipe_or_file: str | Path, changes: Sequence[str] = ()) -> RunConfig:
    """Read a recipe by name or a TOML file, make ``--set`` changes, and check everything.

    Raises:
        UsageError: unknown recipe, unknown key or a wrong value; the nearest right one is named.
        InputError: the file cannot be read.
    """
    name = str(recipe_or_file)
    if name.endswith(".toml") or "/" in name:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {name}: {error}") from error
    else:
        text = recipe_text(name)
    return parse_config(text, name, changes)


def parse_config(text: str, where: str, changes: Sequence[str] = ()) -> RunConfig:
    """Build a configuration from TOML text; ``where`` names it in messages.

    Raises:
        UsageError: see ``load_config``.
    """
    plain: dict[str, Any] = changed(parse_toml(text, where), changes)
    return build(RunConfig, plain, where)
