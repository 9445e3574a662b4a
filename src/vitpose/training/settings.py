"""Strict settings: TOML to frozen dataclasses and back, with ``a.b=c`` changes; a wrong key names the nearest.

The types are read from the dataclasses' annotations: ``int``, ``float``, ``str``, ``bool``, ``Literal``, other
dataclasses and ``tuple``s of all of these.
"""

import json
import math
import re
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from vitpose.core.errors import UsageError, nearest

T = TypeVar("T")


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Parse TOML text; ``where`` names it in messages.

    Raises:
        UsageError: the text is not TOML; the line is named.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: not valid TOML: {error}") from error


def build(kind: type[T], plain: Mapping[str, Any], where: str, *, prefix: str = "") -> T:
    """Build a dataclass from plain data.

    Args:
        kind: the dataclass.
        plain: tables, lists and scalars as TOML gives them.
        where: file the data comes from, for messages.
        prefix: dotted path of ``plain`` in that file, with a final dot.

    Raises:
        UsageError: an unknown or missing key, or a value of the wrong type; the dotted path is named.
    """
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type] # callers pass dataclasses only
    for key in plain:
        if key not in names:
            raise UsageError(f"{where}: unknown key {prefix + key!r}{nearest(key, names)}")
    values = {name: _convert(hints[name], plain[name], where, prefix + name) for name in names if name in plain}
    try:
        return kind(**values)
    except TypeError as error:
        missing = str(error).rpartition(": ")[2].replace("'", "")
        raise UsageError(f"{where}: {prefix.rstrip('.') or 'the file'} needs {missing}") from error
    except UsageError as error:
        raise UsageError(f"{where}: {prefix.rstrip('.')}: {error}" if prefix else f"{where}: {error}") from error


def _convert(kind: Any, value: Any, where: str, path: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: {path} must be a table, not {value!r}")
        return build(kind, value, where, prefix=f"{path}.")
    origin = get_origin(kind)
    if origin is tuple:
        return _convert_tuple(get_args(kind), value, where, path)
    if origin is Literal:
        options = [str(option) for option in get_args(kind)]
        if value not in options:
            raise UsageError(
                f"{where}: {path} is {value!r}{nearest(str(value), options)} (known: {', '.join(options)})"
            )
        return value
    if origin in (types.UnionType,):
        inner = next(option for option in get_args(kind) if option is not type(None))
        return _convert(inner, value, where, path)
    return _convert_scalar(kind, value, where, path)


def _convert_tuple(inner: tuple[Any, ...], value: Any, where: str, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise UsageError(f"{where}: {path} must be a list, not {value!r}")
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_convert(inner[0], item, where, f"{path}.{index}") for index, item in enumerate(value))
    if len(value) != len(inner):
        raise UsageError(f"{where}: {path} must have {len(inner)} entries, not {len(value)}")
    return tuple(
        _convert(kind, item, where, f"{path}.{i}") for i, (kind, item) in enumerate(zip(inner, value, strict=True))
    )


def _convert_scalar(kind: Any, value: Any, where: str, path: str) -> Any:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise UsageError(f"{where}: {path} must be {words[kind]}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise UsageError(f"{where}: {path} must be a finite number, not {value}")
    return value


def to_plain(settings: Any) -> dict[str, Any]:
    """Return nested plain data that ``build`` reads back to an equal dataclass."""
    return {field.name: _plain(getattr(settings, field.name)) for field in fields(settings)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_plain(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def changed(plain: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return ``plain`` with ``a.b=c`` changes made; a list is entered by position, as in ``data.train.0.images=x``.

    A value is read as TOML (``3e-4``, ``true``, ``[256, 192]``); what is not TOML is text.

    Raises:
        UsageError: a change without ``=``, or a path through something that is neither table nor list.
    """
    result: dict[str, Any] = _copied(plain)
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path.strip():
            raise UsageError(f"--set {change!r} must look like optim.lr=3e-4")
        _place(result, [part.strip() for part in path.split(".")], _value(text.strip()), change)
    return result


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _place(target: Any, path: Sequence[str], value: Any, change: str) -> None:
    for part in path[:-1]:
        inner = isinstance(target, dict)
        target = target.setdefault(part, {}) if inner else target[_position(target, part, change)]
    if isinstance(target, dict):
        target[path[-1]] = value
    else:
        target[_position(target, path[-1], change)] = value


def _position(target: Any, part: str, change: str) -> int:
    if not isinstance(target, list):
        raise UsageError(f"--set {change!r}: {part!r} lies inside a value that is not a table")
    if not part.isdecimal() or int(part) >= len(target):
        raise UsageError(f"--set {change!r}: {part!r} is not a position in a list of {len(target)} (they count from 0)")
    return int(part)


def dump_toml(plain: Mapping[str, Any]) -> str:
    """Return ``plain`` as TOML text: scalars first, then tables, then lists of tables, all in the order given."""
    return "\n".join(_lines(plain, ())) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if not isinstance(value, Mapping) and not _is_tables(value):
            yield f"{_key(key)} = {_literal(value)}"
    for key, value in table.items():
        here = (*path, _key(key))
        if isinstance(value, Mapping):
            yield ""
            yield f"[{'.'.join(here)}]"
            yield from _lines(value, here)
        elif _is_tables(value):
            for entry in value:
                yield ""
                yield f"[[{'.'.join(here)}]]"
                yield from _lines(entry, here)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _literal(key)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's string escapes are a subset of TOML's, except for DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(_literal(item) for item in value)}]"
    return repr(value)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return one line ``a.b: old -> new`` for every leaf that differs."""
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return lines
