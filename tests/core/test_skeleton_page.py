"""The page about skeletons is up to date, and what it shows works."""

import re
import runpy
from pathlib import Path

import pytest

from vitpose.core.skeleton import builtin_skeletons, parse_skeleton

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "skeletons.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", builtin_skeletons())
def test_every_skeleton_is_listed(name):
    assert TEXT.count(f"\n| `{name}` | ") == 1


def test_the_table_is_fresh():
    assert runpy.run_path(str(DOCS / "generate_skeletons.py"))["page"](TEXT) == TEXT


def test_the_examples_work():
    (toml,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert parse_skeleton(toml, "example").flip_indices.tolist() == [0, 2, 1]
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(code, {})
