import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["tracking", "smoothing", "video"])
def test_the_tables_are_those_of_the_results(name: str) -> None:
    spec = importlib.util.spec_from_file_location("generate_studies", DOCS / "generate_studies.py")
    studies = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(studies)
    assert studies.page(name) == (DOCS / f"{name}.md").read_text(encoding="utf-8"), (
        "run python docs/generate_studies.py"
    )
