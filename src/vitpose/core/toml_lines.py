"""On which line of a TOML text a value stands, for error messages that name it.

``tomllib`` reports lines for wrong syntax only; what is wrong with the *meaning* is found later, when the lines are
gone. This scanner finds them again. It expects text that ``tomllib`` accepts.
"""

import re
import tomllib
from collections.abc import Mapping

Place = tuple[str | int, ...]
"""Keys and list positions from the top, for instance ``("edges", 3)`` or ``("sigmas", "nose")``."""

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' + r"|'''.*?'{3,5}" + r'|"(?:\\.|[^"\\\n])*"' + r"|'[^'\n]*'"
    r"|\#[^\n]*|\n|[\[\]{}=,.]|[^\s\[\]{}=,.\"'#]+",
    re.DOTALL,
)
_ENDS = {",", "]", "}", "\n", ""}


def lines_of(text: str) -> Mapping[Place, int]:
    """Return the line, counted from 1, of every key, table and list element of a TOML text."""
    return _Scanner(text).document()


def line_of(text: str, place: Place) -> int | None:
    """Return the line of ``place``, or of the nearest thing around it that stands in the text."""
    lines = lines_of(text)
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place)


class _Scanner:
    """Walks the tokens once and notes where each place begins."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, int]] = []
        line, end = 1, 0
        for match in _TOKEN.finditer(text):
            line += text.count("\n", end, match.start())
            end = match.start()
            if not match.group().startswith("#"):
                self._tokens.append((match.group(), line))
        self._at = 0
        self._lines: dict[Place, int] = {}

    def document(self) -> dict[Place, int]:
        prefix: Place = ()
        while self._at < len(self._tokens):
            if self._peek() == "\n":
                self._at += 1
            elif self._peek() == "[":
                prefix = self._header()
            else:
                self._pair(prefix)
        return self._lines

    def _peek(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _note(self, place: Place) -> None:
        self._lines.setdefault(place, self._tokens[self._at][1])

    def _header(self) -> Place:
        start = self._at
        while self._peek() == "[":
            self._at += 1
        many = self._at - start == 2
        place = self._key(())
        if many:
            position = sum(len(known) == len(place) + 1 and known[:-1] == place for known in self._lines)
            place = (*place, position)
            self._lines[place] = self._tokens[start][1]
        while self._peek() == "]":
            self._at += 1
        return place

    def _key(self, prefix: Place) -> Place:
        """Read a key, dotted or not, and note every part of it."""
        place = prefix
        while self._peek() not in {"=", "]", ""}:
            if self._peek() != ".":
                place = (*place, _plain(self._peek()))
                self._note(place)
            self._at += 1
        return place

    def _pair(self, prefix: Place) -> None:
        place = self._key(prefix)
        self._at += 1
        self._value(place)

    def _value(self, place: Place) -> None:
        if self._peek() in {"[", "{"}:
            self._group(place, "]" if self._peek() == "[" else "}")
        else:
            while self._peek() not in _ENDS:
                self._at += 1

    def _group(self, place: Place, closing: str) -> None:
        """Read a list or an inline table."""
        self._at += 1
        position = 0
        while self._peek() not in {closing, ""}:
            if self._peek() in _ENDS:
                self._at += 1
            elif closing == "]":
                self._note((*place, position))
                self._value((*place, position))
                position += 1
            else:
                self._pair(place)
        self._at += 1


def _plain(key: str) -> str:
    return next(iter(tomllib.loads(f"{key} = 0"))) if key[0] in "\"'" else key
