"""Who cannot have published weights is told of the small pair, where it has the same keypoints."""

from pathlib import Path

import pytest

from vitpose.cli.alternative import embedded_instead
from vitpose.core.errors import WeightsError


def told(model: str, dataset: str | None = None) -> bool:
    with pytest.raises(WeightsError, match="no network") as caught, embedded_instead(model, dataset):
        raise WeightsError("no network")
    return "--model embedded" in str(caught.value)


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitpose.weights.catalog.is_on_disk", lambda row: Path() if row.packaged else None)


@pytest.mark.usefixtures("shipped")
def test_the_small_pair_is_named_where_it_would_do() -> None:
    assert told("vitpose-b")
    assert told("vitpose-plus-b", "coco")
    assert not told("vitpose-plus-b", "ap10k")
    assert not told("animal")
    assert not told("some/file.safetensors")
    assert not told("embedded")


def test_a_package_without_a_pair_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitpose.weights.catalog.is_on_disk", lambda _: None)
    assert not told("vitpose-b")
