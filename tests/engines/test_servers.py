"""What a server does to engines: many threads at once, a fork after the model was loaded, packages that are missing."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from tiny_models import FREE, tiny_crops

from vitpose.core.errors import MissingExtraError, WeightsError
from vitpose.core.skeleton import load_skeleton
from vitpose.engines import choose
from vitpose.engines.auto import AutoEngine
from vitpose.engines.description import ENTRY
from vitpose.engines.eager import EagerEngine
from vitpose.engines.export import Target, export, open_exported
from vitpose.engines.files import DeferredEngine
from vitpose.engines.onnxruntime import OnnxRuntimeEngine
from vitpose.engines.openvino import OpenVinoEngine

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

SKELETONS = {"coco": load_skeleton("coco17"), "aic": load_skeleton("aic14")}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path / "cache"))


def at_once(count, work):
    """Run ``work(0)`` … at the same time, and return what each gave."""
    found, errors = {}, []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait(30)
            found[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return [found[number] for number in range(count)]


def test_a_deferred_engine_is_built_once_however_many_ask(model):
    built = []

    def build(model, dataset):
        built.append(dataset)
        return EagerEngine(model, dataset=dataset, device="cpu")

    engine = DeferredEngine("later", model, build)
    expected = [EagerEngine(model, device="cpu")(tiny_crops(2, seed)) for seed in range(4)]
    for found, right in zip(at_once(4, lambda seed: engine(tiny_crops(2, seed))), expected, strict=True):
        assert np.array_equal(found, right)
    assert built == ["coco"]


def test_requests_go_on_while_auto_changes_over(model, monkeypatch):
    measured = []

    def milliseconds(engine, _):
        measured.append(engine.name)
        return 1.0 if "bf16" in engine.name else 9.0

    monkeypatch.setattr(choose, "_milliseconds", milliseconds)
    monkeypatch.setattr(choose, "candidates", lambda *_: ("eager-fp32", "eager-bf16"))
    monkeypatch.setattr("vitpose.engines.auto.candidates", lambda *_: ("eager-fp32", "eager-bf16"))
    engine = AutoEngine(model, SKELETONS, device="cpu", digest="w", enough=24, limits=FREE)
    reference = EagerEngine(model, device="cpu")

    def work(seed: int) -> float:
        pixels = tiny_crops(4, seed)
        expected = reference(pixels)
        return max(float(np.abs(engine(pixels) - expected).max() / np.abs(expected).max()) for _ in range(4))

    assert max(at_once(4, work)) < 0.05
    assert engine.name == "eager-cpu-bf16"
    assert len(measured) == 2, "measured once"


_FORKS = """
import multiprocessing, sys
import numpy as np, torch
import vitpose
from vitpose.engines.export import open_exported

vitpose.load("random:vitpose-ti", detector=None, engine="eager-fp32")  # fits the threads
if sys.argv[1] == "eager":
    estimator = vitpose.load("random:vitpose-ti", detector=None, engine="eager-fp32", device="cpu")
else:
    estimator = vitpose.load(sys.argv[1], detector=None)
image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
boxes = np.tile([[50.0, 20.0, 210.0, 280.0]], (24, 1))
expected = estimator(image, boxes=boxes).scores  # PyTorch and the runtime have their threads now
context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=lambda: queue.put(estimator(image, boxes=boxes).scores), daemon=True)
child.start()
found = queue.get(timeout=100)
child.join()
print("close" if np.allclose(found, expected, atol=1e-5) else "different")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fork is for Linux")
@pytest.mark.parametrize("kind", ["eager", "onnx", "openvino"])
def test_an_estimator_works_in_the_workers_of_a_server_that_loaded_it(exported, kind):
    """Decoding is PyTorch's whatever the engine, and would wait for threads that are not in the child."""
    source = "eager" if kind == "eager" else str(exported(kind))
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "ignore", "-c", _FORKS, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=environment)
    assert done.stdout.strip().splitlines()[-1:] == ["close"], done.stderr


@pytest.mark.parametrize(
    ("package", "engine", "extra"),
    [("onnxruntime", OnnxRuntimeEngine, "onnx"), ("openvino", OpenVinoEngine, "openvino")],
)
def test_a_missing_runtime_comes_with_the_command(tmp_path, monkeypatch, package, engine, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'vitpose\[{extra}\]'"):
        engine(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("package", "target", "extra"),
    [
        ("onnx", Target(), "onnx"),
        ("onnxscript", Target(), "onnx"),
        ("nncf", Target(to="openvino", precision="int8"), "int8"),
    ],
)
def test_a_missing_exporter_comes_with_the_command_and_leaves_nothing(
    model, crops, tmp_path, monkeypatch, package, target, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'vitpose\[{extra}\]'"):
        export(model, tmp_path / "out" / "m", skeleton=SKELETONS["coco"], crops=crops, target=target, limits=FREE)
    assert list((tmp_path / "out").iterdir()) == []


def test_auto_goes_on_with_what_is_installed(model, monkeypatch):
    find = choose.util.find_spec
    monkeypatch.setattr(choose.util, "find_spec", lambda name: None if name in ("openvino", "onnx") else find(name))
    assert not [name for name in choose.candidates("cpu") if name.startswith(("openvino", "onnx"))]
    engine = AutoEngine(model, SKELETONS, device="cpu", digest="w", enough=8, limits=FREE)
    assert engine(tiny_crops(9)).shape == (9, 17, 16, 12)
    assert engine.name.startswith("eager")


def test_a_file_that_another_program_wrote_is_refused(exported, tmp_path):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(str(exported("onnx")))
    for entry in graph.metadata_props:
        if entry.key == ENTRY:
            entry.value = entry.value.replace('"version": 1', '"version": 99')
    onnx.save(graph, str(tmp_path / "newer.onnx"))
    with pytest.raises(WeightsError, match=r"version 99.*upgrade vitpose"):
        open_exported(tmp_path / "newer.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, str(tmp_path / "foreign.onnx"))
    for engine in (OnnxRuntimeEngine, OpenVinoEngine):
        with pytest.raises(WeightsError, match="not written by `vitpose export`"):
            engine(tmp_path / "foreign.onnx")
