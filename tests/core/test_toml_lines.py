"""Every place of a TOML text has the line a reader would point at."""

import tomllib
from importlib import resources

import pytest

from vitpose.core.skeleton import builtin_skeletons
from vitpose.core.toml_lines import line_of, lines_of

TEXT = '''# a comment with [brackets] and = signs
title = "a # is not a comment, nor is a ] here"
"odd key" = 1

edges = [  # why = not
    ["a", "b"], ["c",
     "d"],  # ] , [
    ["e", "f"],
]
source = """\\
  first = [
  "second"
"""
raw = \'\'\'
it's = [
\'\'\'
inline = { x = 1.5, "y z" = [1, 2] }
date = 1979-05-27 07:32:00
a.b.c = 3

[sigmas]
nose = 0.026

"Root of tail" = 0.035
[deep."er x".table]
x = 1
[[recipe]]
name = "one"
[[recipe]]
name = "two"
'''


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("title",), 2),
        (("odd key",), 3),
        (("edges",), 5),
        (("edges", 0), 6),
        (("edges", 1), 6),
        (("edges", 1, 1), 7),
        (("edges", 2), 8),
        (("source",), 10),
        (("raw",), 14),
        (("inline",), 17),
        (("inline", "y z", 1), 17),
        (("date",), 18),
        (("a", "b", "c"), 19),
        (("sigmas",), 21),
        (("sigmas", "nose"), 22),
        (("sigmas", "Root of tail"), 24),
        (("deep", "er x", "table", "x"), 26),
        (("recipe", 0, "name"), 28),
        (("recipe", 1), 29),
        (("recipe", 1, "name"), 30),
    ],
)
def test_places_are_where_they_stand(place, line):
    assert line_of(TEXT, place) == line
    assert line_of(TEXT.replace("\n", "\r\n"), place) == line


def test_every_value_of_the_text_has_a_line():
    assert set(places(tomllib.loads(TEXT))) <= set(lines_of(TEXT))


@pytest.mark.parametrize("name", builtin_skeletons())
def test_every_value_of_every_skeleton_file_is_on_its_line(name):
    text = resources.files("vitpose").joinpath("skeletons", f"{name}.toml").read_text(encoding="utf-8")
    lines = text.splitlines()
    found = lines_of(text)
    for place, value in places(tomllib.loads(text)).items():
        shown = lines[found[place] - 1]
        last = place[-1]
        assert (str(last) if isinstance(last, str) else str(value) if isinstance(value, str) else "[") in shown


def test_unknown_places_fall_back_to_what_is_around_them():
    assert line_of(TEXT, ("sigmas", "left_eye")) == 21
    assert line_of(TEXT, ("nothing",)) is None
    assert line_of("", ()) is None


def places(value, place=()):
    """Return every place of parsed TOML with its value."""
    found = {place: value} if place else {}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found |= places(inner, (*place, key))
    return found
