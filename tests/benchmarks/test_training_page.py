"""The tables of the page on training are those of the results, also while a study is not complete."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SPEC = importlib.util.spec_from_file_location("generate_training", DOCS / "generate_training.py")
training = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(training)


def test_the_page_shows_the_results():
    text = training.PAGE.read_text(encoding="utf-8")
    assert training.page(text) == text, "run python docs/generate_training.py"
    for name in training.TABLES:
        assert f"<!-- table: {name} -->" in text


LEVERS = {
    "note": "Small.",
    "judged": 4,
    "mean_pose": {"pck": 0.05},
    "cost": {"a": {"memory_mib": 12.4, "people_per_s": 30.2, "batch": 4}},
    "arms": {
        "a": {"pck": {"mean": 0.1, "deviation": 0.01, "seeds": 2}},
        "b": {"pck": {"mean": 0.2, "deviation": None, "seeds": 1}},
    },
    "comparisons": [
        {
            "question": "q",
            "baseline": "a",
            "arm": "b",
            "pck_difference": 0.1,
            "interval_over_people": [0.05, 0.15],
            "interval_over_seeds": None,
            "verdict": "one seed: no verdict",
        }
    ],
}


def test_a_lever_study_with_one_seed_is_shown_as_such():
    table = training.levers(LEVERS)
    assert "| q | a | b | 10.0 ± 1.0 | 20.0 | +10.0 | +5.0 … +15.0 | one seed | one seed: no verdict |" in table
    assert "| a | 12 | 30 |" in table


def test_a_set_with_one_start_leaves_the_other_empty():
    row = {
        "keypoints": 5,
        "training": 30,
        "tested": 10,
        "guess": {"all": 9, "head": 8, "wing": 10},
        "before": {"all": 30, "head": 28, "wing": 32},
        "after": {"all": 4, "head": 3},
    }
    table = training.skeletons({"model": "m", "bound": 10, "sets": {"bee": {"human": row}}})
    assert "| bee | 5 | 30 / 10 | 9.0 | 30.0 | 4.0 |  |  |" in table.splitlines()
    assert "| keypoint | median pose | human: before | human: after |" in table.splitlines()
    assert table.splitlines()[-4:] == ["| head | 8.0 | 28.0 | 3.0 |", "| wing | 10.0 | 32.0 |  |", "", "</details>"]


@pytest.mark.parametrize("name", training.TABLES)
def test_a_study_without_results_keeps_its_place(name, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "RESULTS", tmp_path)
    text = f"a\n<!-- table: {name} -->\nold\n<!-- end of table -->\nb\n"
    assert training.page(text) == f"a\n<!-- table: {name} -->\n<!-- end of table -->\nb\n"
