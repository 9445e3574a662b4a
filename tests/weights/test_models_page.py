"""The page about published weights names only what the catalogue has, with the catalogue's scores."""

import re
from itertools import product
from pathlib import Path

from vitpose.weights.catalog import find_model

TEXT = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
TABLE = TEXT.split("## Which one")[1].split("\n\n")[1]


def names(cell):
    """Return the names in a cell, ``x-{a,b}`` written out."""
    for quoted in re.findall(r"`([^`]+)`", cell):
        parts = [part.split(",") for part in re.split(r"[{}]", quoted)]
        yield from ("".join(chosen) for chosen in product(*parts))


def test_every_name_in_the_table_is_known_and_every_score_is_the_catalogues():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines()[2:]]
    checked = 0
    for _, called, what in rows:
        found = [find_model(name) for name in names(called)]
        assert found
        published = {f"{score.value:.1f}" for row in found for score in row.scores if score.metric == "AP"}
        for score in re.findall(r"\d\d\.\d", what):
            assert score in published, (called, score)
            checked += 1
    assert checked == 15


def test_the_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(code, {})
    assert "commercial use: no" in capsys.readouterr().out
