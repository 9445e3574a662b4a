"""What a file does not say comes from the catalogue, by name or by the file's hash."""

import foreign_layouts as foreign
import pytest
from foreign_layouts import random_model, tiny_spec, write

from vitpose.core.errors import WeightsError
from vitpose.weights import load, locate
from vitpose.weights.catalog import find_model, list_models
from vitpose.weights.heads import known_heads
from vitpose.weights.load import load_model


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "no name that helps", foreign.original(random_model(tiny_spec())))


def test_by_name(monkeypatch, file):
    monkeypatch.setattr(locate, "fetch_row", lambda row: {"vitpose-b-ap10k": file}[row.id])
    loaded = load_model("animal")
    assert loaded.name == loaded.model.spec.name == "vitpose-b-ap10k"
    assert loaded.source == "animal"
    assert [(head.dataset, head.codec) for head in loaded.model.spec.heads] == [("ap10k", "msra")]
    assert loaded.skeletons["ap10k"].name == "ap10k17"
    assert not any("order" in words for words in loaded.assumptions)


def test_by_hash(monkeypatch, file):
    row = find_model("vitpose-b-apt36k")
    monkeypatch.setattr(load, "row_of_file", lambda sha256: row if len(sha256) == 64 else None)
    assert list(load_model(file).skeletons) == ["apt36k"]
    pinned = next(row for row in list_models() if len(row.sha256) == 64)
    assert locate.row_of_file(pinned.sha256) == pinned
    assert locate.row_of_file("0" * 64) is None


def test_a_file_with_other_heads_than_the_catalogue_says_is_another_file(monkeypatch, file):
    monkeypatch.setattr(locate, "fetch_row", lambda row: file if row else None)
    with pytest.raises(WeightsError, match="has 1 heads, but the catalogue says 6: it is another file"):
        load_model("original-vitpose-plus-b")
    with pytest.raises(WeightsError, match=r"final_layer.*instead of"):
        load_model("vitpose-b-wholebody")


def test_the_likelier_dataset_comes_first():
    by_count: dict[int, str] = {}
    for head in known_heads().values():
        by_count.setdefault(head.keypoints, head.dataset)
        assert head.expert == 0
    assert by_count == {17: "coco", 14: "aic", 16: "mpii", 133: "wholebody", 25: "coco_25", 52: "synthpose"}
