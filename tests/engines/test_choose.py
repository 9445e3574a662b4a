import json
import logging

import numpy as np
import pytest
import torch
from tiny_models import FREE, tiny_crops

from vitpose.core.errors import UsageError, VitPoseError
from vitpose.core.skeleton import load_skeleton
from vitpose.engines import choose, files, threads
from vitpose.engines.auto import AutoEngine
from vitpose.engines.choose import choose_engine, make_engine, recall
from vitpose.engines.eager import EagerEngine
from vitpose.engines.files import DeferredEngine, cached_onnx
from vitpose.engines.threads import _container_share, usable_cores

SKELETONS = {"coco": load_skeleton("coco17"), "aic": load_skeleton("aic14")}
SKELETON = SKELETONS["coco"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path))
    return tmp_path


class Other(EagerEngine):
    """As good as the reference, and always faster."""

    shift = 0

    def __call__(self, crops):
        return np.roll(super().__call__(crops), self.shift, axis=-1)


@pytest.fixture
def other(monkeypatch):
    """Two candidates: the reference, slow, and another, fast."""
    built = []

    def build(model, dataset, device):
        engine = Other(model, dataset=dataset, device="cpu")
        engine.name = "other"
        built.append(engine)
        return engine

    monkeypatch.setattr(choose, "ENGINES", {**choose.ENGINES, "other": build})
    monkeypatch.setattr(choose, "candidates", lambda *_: ("eager-fp32", "other"))
    monkeypatch.setattr("vitpose.engines.auto.candidates", lambda *_: ("eager-fp32", "other"))
    monkeypatch.setattr(choose, "_milliseconds", lambda engine, _: 1.0 if engine.name == "other" else 9.0)
    return built


def test_fastest_is_chosen_remembered_and_said(model, crops, other):
    assert recall("w", dataset="coco", device="cpu") is None
    choice = choose_engine(model, crops, skeleton=SKELETON, device="cpu", digest="w")
    assert choice.name == "other"
    assert recall("w", dataset="coco", device="cpu") == choice
    assert "engine other: fastest here of other 1.0 ms, eager-fp32 9.0 ms" in choice.summary
    assert recall("w", dataset="aic", device="cpu") is None


def test_fast_but_wrong_is_refused(model, crops, other, monkeypatch):
    monkeypatch.setattr(Other, "shift", 3)
    choice = choose_engine(model, crops, skeleton=SKELETON, device="cpu", digest="w")
    assert choice.name == "eager-fp32"
    assert "99th percentile" in choice.tried[1].refused


def test_one_that_fails_is_left_out(model, crops, other, monkeypatch):
    def fail(self, crops):
        raise VitPoseError("no")

    monkeypatch.setattr(Other, "__call__", fail)
    assert [one.name for one in choose_engine(model, crops, skeleton=SKELETON, device="cpu", digest="w").tried] == [
        "eager-fp32"
    ]


def test_choice_of_another_machine_or_a_damaged_one_is_forgotten(model, crops, other, cache):
    choose_engine(model, crops, skeleton=SKELETON, device="cpu", digest="w")
    (path,) = (cache / "choices").iterdir()
    plain = json.loads(path.read_text())
    path.write_text(json.dumps(plain | {"machine": {"cpu": "another"}}))
    assert recall("w", dataset="coco", device="cpu") is None
    path.write_text("{")
    assert recall("w", dataset="coco", device="cpu") is None


def test_too_few_crops_and_unknown_names(model, crops):
    with pytest.raises(UsageError, match="at least 8"):
        choose_engine(model, crops[:3], skeleton=SKELETON)
    with pytest.raises(UsageError, match="did you mean 'openvino'"):
        make_engine("openvin", model)
    with pytest.raises(UsageError, match="runs on the CPU"):
        make_engine("openvino", model, device="cuda")


def test_auto_changes_over_once_it_has_seen_enough(model, other, caplog):
    engine = AutoEngine(model, SKELETONS, device="cpu", digest="w", enough=10)
    expected = EagerEngine(model, device="cpu")
    with caplog.at_level(logging.INFO):
        for seed in range(2):
            assert engine.name == "eager-cpu-fp32"
            assert np.array_equal(engine(tiny_crops(5, seed)), expected(tiny_crops(5, seed)))
    assert engine.name == "other"
    assert "fastest here" in caplog.text
    assert np.array_equal(engine(tiny_crops(5)), expected(tiny_crops(5)))
    engine.close()
    with pytest.raises(UsageError, match="closed"):
        engine(tiny_crops(1))
    again = AutoEngine(model, SKELETONS, device="cpu", digest="w")
    assert again.name == "other"
    assert again.for_dataset("aic").name == "eager-cpu-fp32"
    assert again.for_dataset("aic")(tiny_crops(1)).shape == (1, 14, 16, 12)
    assert [name for name, _ in choose.remembered()] == ["w-coco-cpu"]


def test_auto_is_quiet_where_there_is_nothing_to_choose(model, monkeypatch):
    monkeypatch.setattr("vitpose.engines.auto.candidates", lambda *_: ("eager-fp32",))
    engine = AutoEngine(model, SKELETONS, device="cpu", enough=1)
    engine(tiny_crops(3))
    assert engine.name == "eager-cpu-fp32"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_damaged_file_in_the_cache_is_exported_again(model, cache, name):
    pytest.importorskip(name)
    place = cached_onnx(model)
    place.write_bytes(b"")  # as a power cut may leave it
    engine = make_engine(name, model, device="cpu")
    expected = EagerEngine(model, device="cpu")(tiny_crops(3))
    assert np.abs(engine(tiny_crops(3)) - expected).max() < 1e-4 * np.abs(expected).max()
    assert place.stat().st_size
    engine.close()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_file_engines_export_once_and_agree(model, cache, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    engine = make_engine("onnxruntime", model, device="cpu")
    assert not list(cache.rglob("*.onnx"))  # nothing slow before it is needed
    expected = EagerEngine(model, device="cpu")(tiny_crops(3))
    assert np.abs(engine(tiny_crops(3)) - expected).max() < 1e-5 * np.abs(expected).max()
    monkeypatch.setattr(files, "write_onnx", None)
    assert cached_onnx(model).is_file()
    fast = make_engine("openvino-bf16", model, device="cpu")
    assert np.abs(fast(tiny_crops(3)) - expected).max() < 0.03 * np.abs(expected).max()
    assert fast.name == "openvino-cpu-bf16"
    rounded = make_engine("openvino-int8-dynamic", model, device="cpu")
    assert 0 < np.abs(rounded(tiny_crops(3)) - expected).max() < 0.1 * np.abs(expected).max()
    assert rounded.name == "openvino-cpu-int8-dynamic"
    for one in (engine, fast, rounded):
        one.close()
        with pytest.raises(UsageError, match="closed"):
            one(tiny_crops(1))


def test_deferred_engines_build_the_head_that_is_used(model):
    built = []

    def build(model, dataset):
        built.append(dataset)
        return EagerEngine(model, dataset=dataset, device="cpu")

    engine = DeferredEngine("later", model, build)
    other = engine.for_dataset("aic")
    assert engine.for_dataset("coco") is engine
    assert (engine.num_keypoints, other.num_keypoints, built) == (17, 14, [])
    assert other(tiny_crops(1)).shape == (1, 14, 16, 12)
    other(tiny_crops(1))
    assert built == ["aic"]


def test_cores_respect_the_container_and_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert usable_cores() >= 1
    file = tmp_path / "cpu.max"
    for text, cores in (("150000 100000", 2), ("max 100000", None), ("", None), ("50000 100000", 1)):
        file.write_text(text)
        assert _container_share(str(file)) == cores
    assert _container_share(str(tmp_path / "missing")) is None


def test_torch_gets_no_more_threads_than_cores_and_never_more_than_before(monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.setattr(threads, "usable_cores", lambda: 5)
        threads.fit_torch_threads()
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(threads, "usable_cores", lambda: 1)
        threads.fit_torch_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_free_limits_pass_anything(model, crops, other, monkeypatch):
    monkeypatch.setattr(Other, "shift", 3)
    assert choose_engine(model, crops, skeleton=SKELETON, device="cpu", limits=FREE).name == "other"
