"""Damaged journals: the line is named, whatever is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from films import film, write_journal

from vitpose.core.errors import InputError
from vitpose.formats.film import convert_film
from vitpose.formats.film_facts import survey_film


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[Callable[[Any], Any]], Path]:
    """A film of three frames with one of them changed."""

    def make(change: Callable[[Any], Any], line: int = 0) -> Path:
        journal = write_journal(tmp_path / "clip.jsonl", film([[1, 2]] * 3, raw=True))
        lines = [json.loads(text) for text in journal.read_text().splitlines()]
        changed = change(lines[line])
        lines[line] = lines[line] if changed is None else changed
        journal.write_text("".join(json.dumps(one) + "\n" for one in lines))
        return journal

    return make


def of_person(**values: object) -> Callable[[Any], None]:
    return lambda document: document["people"][0].update(values)


@pytest.mark.parametrize("line", [0, 1])
@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(skeleton=None),
        lambda document: document.update(skeleton=[]),
        lambda document: document.update(people=[None]),
        lambda document: document["image"].update(height=None),
        lambda document: document["image"].update(time_s=10**400),
        lambda document: document["image"].update(frame=10**30),
        lambda document: [document],
        of_person(track_id=10**20),
        of_person(track_id="one"),
        of_person(score=10**400),
    ],
)
def test_the_survey_names_the_line(damaged: Any, change: Callable[[Any], Any], line: int) -> None:
    with pytest.raises(InputError, match=rf"clip\.jsonl, line {line + 1}: "):
        survey_film(damaged(change, line))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(model=None),
        lambda document: document.update(threshold=[0.1] * 3),
        of_person(raw_xy=[[0, 0]]),
        of_person(label=None),
    ],
)
def test_what_the_survey_passes_over_the_conversion_names(
    damaged: Any, tmp_path: Path, change: Callable[[Any], Any]
) -> None:
    with pytest.raises(InputError, match=r"clip\.jsonl, line 2: "):
        convert_film(damaged(change, 1), tmp_path, "clip", ["csv"])
    assert [path.name for path in tmp_path.iterdir()] == ["clip.jsonl"]


def test_a_line_nested_without_end(tmp_path: Path) -> None:
    journal = write_journal(tmp_path / "clip.jsonl", film([[1]] * 2))
    journal.write_text("[" * 100_000 + "]" * 100_000 + "\n" + journal.read_text())
    with pytest.raises(InputError, match=r"clip\.jsonl, line 1: not JSON"):
        survey_film(journal)
