"""What is used where nobody said what: the published default, or the pair that comes with the package.

The published one is taken where its files are on this disk or the hub can be reached, else the embedded one. Which it
was is said in one line; results record it. ``docs/embedded.md`` has the rule for people.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from vitpose.core.hub import hub_is_reachable, is_offline
from vitpose.weights.catalog import PACKAGED_NAME, find_model, hub_file_on_disk, is_on_disk, packaged_file
from vitpose.weights.detector import PACKAGED
from vitpose.weights.locate import names_path

_LOGGER = logging.getLogger(__name__)

AUTO: Final = "auto"
"""What a user writes, or leaves, to have something chosen."""

EMBEDDED: Final = PACKAGED_NAME
"""The model, and the detector, that come with the package."""

DEFAULT_MODEL: Final = "vitpose-b"
"""The published default."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for ``auto``.

    Attributes:
        name: to load it by.
        kind: what it is: model or detector.
        reason: why, for people; empty where nothing had to be chosen.
        fallback: it is not the published default.
    """

    name: str
    kind: str
    reason: str = ""
    fallback: bool = False


def choose(
    kind: str,
    published: str,
    *,
    on_disk: bool,
    shipped: bool,
    reachable: Callable[[], bool],
) -> Choice:
    """Apply the rule; the network is asked only where the answer matters.

    Args:
        kind: ``model`` or ``detector``.
        published: name of the published default.
        on_disk: whether its files are here.
        shipped: whether this copy of the package carries the embedded one, and it would do.
        reachable: asks whether the hub can be reached.
    """
    if on_disk:
        return Choice(published, kind, "the default, on this disk")
    if not shipped:
        return Choice(published, kind, "the default; nothing to take instead comes with this copy of the package")
    if reachable():
        return Choice(published, kind, "the default, from the hub")
    network = "HF_HUB_OFFLINE is set" if is_offline() else "the hub cannot be reached"
    return Choice(
        EMBEDDED, kind, f"comes with the package; {published} is not on this disk and {network}", fallback=True
    )


def choose_model(given: str, reachable: Callable[[], bool] = hub_is_reachable) -> Choice:
    """Return the model to load for what a user wrote.

    Args:
        given: a name or path, or ``auto``.
        reachable: asks whether the hub can be reached.
    """
    if given != AUTO:
        return Choice(given, "model")
    row, own = find_model(DEFAULT_MODEL), find_model(EMBEDDED)
    here = is_on_disk(row) is not None
    # A file or folder of the same name is not what is announced: another name of the same checkpoint passes it by.
    names = (DEFAULT_MODEL, row.id, *row.aliases, row.repo)
    published = next((name for name in names if name and not names_path(name)), DEFAULT_MODEL)
    return choose("model", published, on_disk=here, shipped=is_on_disk(own) is not None, reachable=reachable)


def choose_detector(
    published: str, *, model: str = "", people: bool = True, reachable: Callable[[], bool] = hub_is_reachable
) -> Choice:
    """Return the detector to load where none was named.

    Args:
        published: hub id of the published default.
        model: name of the model it works for; the embedded one takes the embedded detector.
        people: whether people are what is looked for: the embedded one knows nothing else.
        reachable: asks whether the hub can be reached.
    """
    shipped = packaged_file(PACKAGED) is not None
    if shipped and people and model in embedded_names():
        return Choice(EMBEDDED, "detector", "goes with the model")
    here = all(hub_file_on_disk(published, name) for name in ("config.json", "model.safetensors"))
    if shipped and not people and not here:
        return Choice(published, "detector", "the default; the one that comes with the package knows people only")
    return choose("detector", published, on_disk=here, shipped=shipped, reachable=reachable)


def embedded_names() -> tuple[str, ...]:
    """Return all names of the embedded model."""
    row = find_model(EMBEDDED)
    return (row.id, *row.aliases)


def asked_once(reachable: Callable[[], bool] = hub_is_reachable) -> Callable[[], bool]:
    """Return a question whose answer is kept, for choices that are made together."""
    return cache(reachable)


def announce(choices: Sequence[Choice]) -> None:
    """Log what was chosen in one line: a warning where it is not the published default, else news."""
    line = announcement(choices)
    if line:
        _LOGGER.log(logging.WARNING if any(one.fallback for one in choices) else logging.INFO, line)


def announcement(choices: Sequence[Choice]) -> str:
    """Return one line on what was chosen and how to choose otherwise; empty where nothing was."""
    chosen = [one for one in choices if one.reason]
    parts = "; ".join(f"{one.kind} {one.name}: {one.reason}" for one in chosen)
    ways = " and ".join(f"--{one.kind}" for one in chosen)
    return f"{parts} (choose with {ways})" if chosen else ""
