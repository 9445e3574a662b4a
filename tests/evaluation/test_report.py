import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitpose.core.poses import Boxes
from vitpose.data.records import LabelledSet
from vitpose.evaluation.pictures import TILE, worst_cases
from vitpose.evaluation.report import write_report
from vitpose.evaluation.run import compare, evaluate

Make = Callable[..., Any]


class Page(HTMLParser):
    """Collects what a page refers to and checks that its tags close."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_the_page_stands_alone_and_says_what_was_measured(
    labelled: LabelledSet, make_oracle: Make, tmp_path: Path
) -> None:
    result = evaluate(make_oracle(labelled, 0.08), replace(labelled, name="cows <& goats>"), flip_test=True)
    path = write_report(result, tmp_path / "report", worst=3)
    page = parsed(path)
    assert all(link.startswith("data:image/") for link in page.links)
    assert len(page.links) == 3 + 3
    assert result.protocol.text in page.text
    assert f"{100 * result.numbers['ap']:.1f}" in page.text
    for row in result.keypoints:
        assert row.name in page.text
    numbers = json.loads((tmp_path / "report/results.json").read_text())
    assert numbers["numbers"]["ap"] == result.numbers["ap"]
    predictions = json.loads((tmp_path / "report/predictions.json").read_text())
    assert len(predictions) == len(result.predictions) > 0


def test_a_comparison_is_on_the_page_and_in_the_numbers(
    labelled: LabelledSet, make_oracle: Make, tmp_path: Path
) -> None:
    good, bad = (evaluate(make_oracle(labelled, noise), labelled) for noise in (0.02, 0.1))
    page = parsed(write_report(good, tmp_path, against=(bad, compare(bad, good, resamples=50)), worst=0))
    assert "Against oracle 0.1" in page.text
    assert "better" in page.text
    numbers = json.loads((tmp_path / "results.json").read_text())
    assert numbers["against"]["differences"]["ap"]["difference"] > 0


def test_worst_cases_are_the_worst_and_show_the_error(labelled: LabelledSet, make_oracle: Make) -> None:
    result = evaluate(make_oracle(labelled, 0.08), labelled)
    cases = worst_cases(result, 5)
    assert [case.oks for case in cases] == sorted(case.oks for case in cases)
    assert cases[0].oks == pytest.approx(result.people.oks.min(), abs=1e-3)
    for case in cases:
        assert case.picture.shape == (*TILE, 3)
        red = (case.picture[..., 0] > 200) & (case.picture[..., 1] < 110)
        assert red.any()


def test_somebody_nobody_found_and_a_point_far_away(labelled: LabelledSet, make_oracle: Make, tmp_path: Path) -> None:
    oracle = make_oracle(labelled)

    class Blind:
        name = "blind"

        def __call__(self, here: Any) -> Boxes:
            return Boxes(np.array([record.box for record in here[1:]]).reshape(-1, 4))

    oracle.detector = Blind()
    result = evaluate(oracle, labelled, boxes="detector")
    assert not worst_cases(result, 1)[0].found
    assert "not found" in parsed(write_report(result, tmp_path, worst=2)).text
    result.people.xy[0] += 1e5
    assert worst_cases(result, 3)[0].picture.shape == (*TILE, 3)


def test_nobody_found_at_all_still_gives_a_report(labelled: LabelledSet, make_oracle: Make, tmp_path: Path) -> None:
    oracle = make_oracle(labelled)

    class Nobody:
        name = "nobody"

        def __call__(self, here: Any) -> Boxes:
            return Boxes(np.zeros((0, 4)))

    oracle.detector = Nobody()
    result = evaluate(oracle, labelled, boxes="detector")
    assert result.confidence is None
    assert result.numbers["ap"] == 0
    page = parsed(write_report(result, tmp_path, worst=1))
    assert "What a score is worth" not in page.text
    assert not re.search(r"\bnan\b", page.text)
