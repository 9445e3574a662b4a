import json
import tomllib
from pathlib import Path

import pytest

from vitpose.engines import choose
from vitpose.engines.choose import Choice, Tried, _choice_path, _remember
from vitpose.pipeline import installation as module
from vitpose.pipeline.installation import EXTRAS, installation


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path / "ours"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub" / "hub"))
    return tmp_path


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Pretend that some modules are not installed."""
    find = module.importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name in missing else find(name))


def test_extras_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"]) - {"all", "dev"}


def test_what_is_missing_comes_with_the_command(monkeypatch):
    without(monkeypatch, "openvino", "nncf", "trackers")
    found = installation()
    json.dumps(found)
    assert found["engines"]["eager"] == "ready"
    assert found["engines"]["openvino"].endswith("pip install 'vitpose[openvino]'")
    assert "lacks openvino, nncf" in found["extras"]["int8"]
    assert "pip install 'vitpose[trackers]'" in found["extras"]["trackers"]
    assert "openvino" not in found["engines"]["auto"]


def test_a_compiler_is_asked_for_where_there_is_none(monkeypatch):
    if module.torch.cuda.is_available():
        pytest.skip("graphs for a GPU need no C++ compiler")
    monkeypatch.setattr("vitpose.engines.compiled.shutil.which", lambda _: None)
    assert "C++ compiler" in installation()["engines"]["compiled"]


def test_choices_are_shown():
    assert installation()["chosen"] == {}
    choice = Choice(name=choose.REFERENCE, tried=(Tried(name=choose.REFERENCE, ms=12.5),))
    _remember(_choice_path("abc", "coco", "auto"), choice)
    assert installation()["chosen"] == {"abc-coco-auto": "engine eager-fp32: fastest here of eager-fp32 12.5 ms"}


def test_caches_are_measured_without_counting_links_twice(cache):
    assert installation()["caches"]["weights from hub"].endswith("not there yet")
    folder = cache / "hub" / "hub"
    folder.mkdir(parents=True)
    (folder / "blob").write_bytes(b"0" * 2**21)
    (folder / "name").symlink_to("blob")
    shown = installation()["caches"]["weights from hub"]
    assert shown == f"{folder}, 2 MiB"
