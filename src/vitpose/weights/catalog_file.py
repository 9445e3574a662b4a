"""The strict reading of the catalogue's file: every fault is named with its line, nothing is passed over."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import Any, get_args

from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.toml_lines import Place, line_of
from vitpose.models.variants import HeadSpec, published_spec
from vitpose.weights.rows import CheckpointRow, Commercial, Format, Score, Terms

_TABLES = ("heads", "terms", "protocols", "sources", "checkpoint")
_RENAMED = {"spec": "architecture"}
_PLAIN: dict[str, tuple[type, ...]] = {
    "size_mb": (int, float),
    "heads": (list,),
    "trained_on": (list,),
    "aliases": (list,),
    "scores": (list,),
}
_KEYS = {field.name for field in fields(CheckpointRow)} - set(_RENAMED.values()) | set(_RENAMED)
_NEEDED = {field.name for field in fields(CheckpointRow) if field.default is MISSING}


def read_catalog(text: str, where: str) -> tuple[CheckpointRow, ...]:
    """Read the text of a catalogue; ``where`` names it in messages.

    Raises:
        InputError: not TOML, an unknown, missing or wrong key, a reference to nothing, or a name used twice; the line
            is named.
    """
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
    for message, place in _faults(plain):
        line = line_of(text, place)
        raise InputError(f"{where}{f', line {line}' if line else ''}: {message}")
    terms = {key: Terms(key=key, **value) for key, value in plain["terms"].items()}
    return tuple(_row(table, plain, terms) for table in plain["checkpoint"])


def _row(table: Mapping[str, Any], plain: Mapping[str, Any], terms: Mapping[str, Terms]) -> CheckpointRow:
    values = {_RENAMED.get(key, key): value for key, value in table.items()}
    published = published_spec(table["spec"])
    heads = [HeadSpec(**plain["heads"][key]) for key in table["heads"]]
    values["heads"] = tuple(
        replace(head, kind=published.heads[0].kind, expert=position if published.backbone.experts else 0)
        for position, head in enumerate(heads)
    )
    values["trained_on"] = tuple(terms[key] for key in table["trained_on"])
    values["aliases"] = tuple(table.get("aliases", ()))
    values["scores"] = tuple(
        Score(**score | {"protocol": plain["protocols"][score["on"]], "source": plain["sources"][score["source"]]})
        for score in table.get("scores", ())
    )
    return CheckpointRow(**values)


def _faults(plain: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    """Yield what is wrong with a catalogue and where, shapes before meanings."""
    yield from _table_faults(plain)
    for key, value in plain["heads"].items():
        yield from _field_faults(f"head {key!r}", value, HeadSpec, ("heads", key))
    for key, value in plain["terms"].items():
        yield from _field_faults(f"terms {key!r}", {"key": key} | value, Terms, ("terms", key))
        if value.get("commercial") not in get_args(Commercial):
            yield f"commercial of {key!r} must be one of {', '.join(get_args(Commercial))}", ("terms", key)
    seen: dict[str, str] = {}
    for position, table in enumerate(plain["checkpoint"]):
        place: Place = ("checkpoint", position)
        name = table.get("id", f"number {position + 1}")
        yield from _key_faults(name, table, place)
        yield from _reference_faults(name, table, plain, place)
        yield from _source_faults(name, table, place)
        for called in (name, *table.get("aliases", ())):
            if called in seen:
                yield f"{called!r} is the name of both {seen[called]!r} and {name!r}", place
            seen[called] = name


def _table_faults(plain: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    for key in plain:
        if key not in _TABLES:
            yield f"unknown table {key!r}{nearest(key, _TABLES)}", (key,)
    for key in _TABLES:
        if key not in plain:
            yield f"table {key!r} is missing", ()


def _field_faults(what: str, value: Mapping[str, Any], kind: type, place: Place) -> Iterator[tuple[str, Place]]:
    known = {field.name: field for field in fields(kind)}
    for key in value:
        if key not in known:
            yield f"{what} has an unknown key {key!r}{nearest(key, known)}", (*place, key)
    for key, field in known.items():
        if field.default is MISSING and key not in value:
            yield f"{what} lacks {key!r}", place


def _key_faults(name: str, table: Mapping[str, Any], place: Place) -> Iterator[tuple[str, Place]]:
    for key, value in table.items():
        if key not in _KEYS:
            yield f"checkpoint {name!r} has an unknown key {key!r}{nearest(key, _KEYS)}", (*place, key)
        elif isinstance(value, bool) or not isinstance(value, _PLAIN.get(key, (str,))):
            yield f"{key} of checkpoint {name!r} is of the wrong kind: {value!r}", (*place, key)
    for key in sorted(_NEEDED):
        written = next((short for short, long in _RENAMED.items() if long == key), key)
        if written not in table:
            yield f"checkpoint {name!r} lacks {written!r}", place


def _reference_faults(
    name: str, table: Mapping[str, Any], plain: Mapping[str, Any], place: Place
) -> Iterator[tuple[str, Place]]:
    try:
        published_spec(table["spec"])
    except UsageError as error:
        yield f"spec of checkpoint {name!r}: {error}", (*place, "spec")
    if table["format"] not in get_args(Format):
        yield f"format of checkpoint {name!r} must be one of {', '.join(get_args(Format))}", (*place, "format")
    for key, values, known in (
        ("heads", table["heads"], plain["heads"]),
        ("trained_on", table["trained_on"], plain["terms"]),
    ):
        yield from _unknown(f"{key} of checkpoint {name!r}", values, known, (*place, key))
    for position, score in enumerate(table.get("scores", ())):
        spot = (*place, "scores", position)
        if set(score) != {"on", "metric", "value", "source"}:
            yield f"score {position + 1} of checkpoint {name!r} must hold on, metric, value and source", spot
        yield from _unknown(f"score of checkpoint {name!r}", [score["on"]], plain["protocols"], spot)
        yield from _unknown(f"score of checkpoint {name!r}", [score["source"]], plain["sources"], spot)
        if not 0 < score["value"] <= 100:
            yield f"score {score['value']!r} of checkpoint {name!r} is not a percentage", spot


def _unknown(what: str, values: Sequence[str], known: Mapping[str, Any], place: Place) -> Iterator[tuple[str, Place]]:
    for value in values:
        if value not in known:
            yield f"{what} names {value!r}, which is not in this file{nearest(str(value), known)}", place


def _source_faults(name: str, table: Mapping[str, Any], place: Place) -> Iterator[tuple[str, Place]]:
    given = [key for key in ("repo", "url", "page", "packaged") if table.get(key)]
    if len(given) != 1:
        yield f"checkpoint {name!r} needs exactly one of repo, url, page and packaged, and has {given or 'none'}", place
    if bool(table.get("repo")) != bool(table.get("file")):
        yield f"checkpoint {name!r} needs repo and file together", place
    if not re.fullmatch(r"[0-9a-f]{0,64}", table.get("sha256", "")):
        yield f"sha256 of checkpoint {name!r} must be up to 64 hex digits", (*place, "sha256")
