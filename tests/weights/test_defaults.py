"""The rule for what is used where nobody said what: the published default, or the pair that comes with the package."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vitpose.weights import catalog, locate
from vitpose.weights.catalog import find_model, list_models, packaged_file
from vitpose.weights.defaults import Choice, announcement, asked_once, choose_detector, choose_model
from vitpose.weights.detector import PACKAGED
from vitpose.weights.load import load_model

PUBLISHED = "owner/detector"


def never() -> bool:
    raise AssertionError("the network was asked")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for everything on this disk: nothing is there yet."""
    (tmp_path / "package").mkdir()
    monkeypatch.setattr(catalog, "_packaged_folder", lambda: tmp_path / "package")
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path / "ours"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def ship(disk: Path) -> None:
    for name in (find_model("embedded").packaged, PACKAGED):
        (disk / "package" / name).write_bytes(b"x")


def cache_from_hub(disk: Path, repo: str, *names: str) -> None:
    folder = disk / "hub" / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    for name in names:
        (folder / "snapshots" / "abc" / name).write_bytes(b"x")


def test_what_was_named_is_taken_as_it_is(disk: Path) -> None:
    assert choose_model("embedded", never) == Choice("embedded", "model")
    assert choose_model("no such thing", never).name == "no such thing"
    assert announcement([choose_model("vitpose-s", never)]) == ""


def test_the_published_default_comes_first_where_its_files_are_here(disk: Path) -> None:
    ship(disk)
    cache_from_hub(disk, find_model("vitpose-b").repo, "model.safetensors")
    cache_from_hub(disk, PUBLISHED, "config.json", "model.safetensors")
    choices = [choose_model("auto", never), choose_detector(PUBLISHED, model="vitpose-b", reachable=never)]
    assert [one.name for one in choices] == ["vitpose-b", PUBLISHED]
    assert not any(one.fallback for one in choices)


def test_the_hub_decides_where_neither_is_here(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(disk)
    assert choose_model("auto", lambda: True).name == "vitpose-b"
    assert choose_detector(PUBLISHED, reachable=lambda: True).name == PUBLISHED
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    choices = [choose_model("auto", lambda: False), choose_detector(PUBLISHED, reachable=lambda: False)]
    assert [(one.name, one.fallback) for one in choices] == [("embedded", True)] * 2
    line = announcement(choices)
    assert "\n" not in line
    for part in ("vitpose-b", PUBLISHED, "the hub cannot be reached", "--model and --detector"):
        assert part in line
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in choose_model("auto").reason


def test_what_is_chosen_is_the_catalogues_whatever_lies_around(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(disk)
    monkeypatch.chdir(disk)
    (disk / "vitpose-b").mkdir()
    assert choose_model("auto", lambda: True).name == "vitpose-b"
    for folder in ("vitpose-b", "embedded"):
        (disk / folder).mkdir(exist_ok=True)
        (disk / folder / "model.safetensors").touch()
    for reachable, row in ((True, "vitpose-base"), (False, "vitpose-embedded")):
        chosen = choose_model("auto", lambda there=reachable: there).name  # type: ignore[misc]
        monkeypatch.setattr(locate, "fetch_row", lambda found: Path(found.id))
        assert locate.locate(chosen).path == Path(row)


def test_a_half_cached_detector_is_not_on_this_disk(disk: Path) -> None:
    ship(disk)
    cache_from_hub(disk, PUBLISHED, "config.json")
    assert choose_detector(PUBLISHED, reachable=lambda: False).name == "embedded"


def test_nothing_shipped_leaves_the_published_default_and_asks_nobody(disk: Path) -> None:
    assert choose_model("auto", never).name == "vitpose-b"
    assert choose_detector(PUBLISHED, model="embedded", reachable=never).name == PUBLISHED


@pytest.mark.parametrize("name", ["embedded", "vitpose-embedded"])
def test_the_embedded_model_takes_the_embedded_detector_for_people(disk: Path, name: str) -> None:
    ship(disk)
    found = choose_detector(PUBLISHED, model=name, reachable=never)
    assert (found.name, found.fallback) == ("embedded", False)
    animals = choose_detector(PUBLISHED, model=name, people=False, reachable=lambda: False)
    assert (animals.name, animals.fallback) == (PUBLISHED, False)
    assert animals.reason.endswith("knows people only")


def test_choices_made_together_ask_once(disk: Path) -> None:
    ship(disk)
    asked: list[int] = []

    def ask() -> bool:
        asked.append(1)
        return False

    question: Callable[[], bool] = asked_once(ask)
    choose_model("auto", question)
    choose_detector(PUBLISHED, reachable=question)
    assert asked == [1]


def test_the_embedded_row_is_honest_about_its_data() -> None:
    row = find_model("embedded")
    assert row.source == "package"
    assert row in list_models()
    assert {terms.key for terms in row.trained_on} == {"coco", "lspet"}
    assert all(terms.commercial == "unclear" for terms in row.trained_on)


def test_the_embedded_row_tells_the_heads_of_the_file() -> None:
    row = find_model("embedded")
    assert row.packaged is not None
    path = packaged_file(row.packaged)
    if path is None:
        pytest.skip("this copy of the package carries no weights")
    assert load_model(path).model.spec.heads == row.heads
