"""The tables of ``docs/speed.md`` are those of the results."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def speed() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_speed", DOCS / "generate_speed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(speed) -> None:
    assert speed.page() == (DOCS / "speed.md").read_text(encoding="utf-8"), "run python docs/generate_speed.py"


def test_every_table_has_a_place(speed) -> None:
    assert [match[1] for match in speed.MARKED.finditer(speed.page())] == list(speed.TABLES)


def test_counted_arithmetic_is_the_papers(speed) -> None:
    for kind, window, paper, _ in speed.PAPER.values():
        choice = {} if window is None else {"attention": speed.alternate(kind, window, 12)}
        assert speed.gmacs(stride=8, **choice) == pytest.approx(paper, rel=0.006)


def result(**parts: object) -> dict:
    return {"command": "python x.py", "date": "2026-01-02", "commit": "abc", "machine": {"cpu": "C"}, "result": parts}


def test_results_that_were_not_there_are_shown_once_they_are(speed, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(speed, "RESULTS", tmp_path)
    assert "Not measured yet: `python benchmarks/embedded_speed.py`" in speed.TABLES["embedded"]()
    found = result(ms={"slow": 200.0, "fast": 2.5}, share={"fast": {"median": 0.0125}})
    (tmp_path / "embedded_speed.json").write_text(json.dumps(found))
    assert speed.TABLES["embedded"]().splitlines()[2:] == [
        "| fast | 2.50 | 1/80 |",
        "| slow | 200.00 | 1 |",
        "",
        "C; `python x.py`, 2026-01-02, commit abc.",
    ]
    stages = dict.fromkeys(("read", "model", "around", "write", "total"), 1.0)
    found = result(
        milliseconds_by_stage={"a": stages, "transformers": stages}, times_faster={"a": {"median": 3.0}}, auto="a"
    )
    (tmp_path / "picture_of_people.json").write_text(json.dumps(found))
    assert "| a (what `auto` stands for) | 1.0 | 1.0 | 1.0 | 1.0 | 1.0 | 3.00 |" in speed.TABLES["picture"]()
    found = result(
        model="m",
        engine="e",
        seconds={"whole": {"clock_s": 2.0, "processor_s": 3.0}},
        fraction_of_slowest=0.9,
        slowest="model",
        model_share_of_processor_time=0.8,
        more_memory_mib={"30 pictures": 4.0},
    )
    (tmp_path / "many_pictures_openvino-cpu-bf16.json").write_text(json.dumps(found))
    assert "reaches 90% of its slowest stage alone (model)" in speed.TABLES["many"]()
    rows = {"256x192, stride 8, full": {"ms_a_crop": 12.0, "memory_mib": 34.0}}
    (tmp_path / "attention_cost.json").write_text(json.dumps(result(rows=rows)))
    assert "| 256x192, stride 8, full | 76.55 | 76.59 | 77.4 | 12 | 34 |" in speed.TABLES["attention"]()
