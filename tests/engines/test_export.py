import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from tiny_models import FREE, SPEC, tiny_crops, tiny_model

import vitpose.engines.export as export_module
from vitpose.codec.codec import Codec
from vitpose.core.errors import GateError, UsageError, WeightsError
from vitpose.core.geometry import CropTransform
from vitpose.core.skeleton import load_skeleton
from vitpose.engines import description, quantize
from vitpose.engines.description import KEYPOINTS, SCORES, Description
from vitpose.engines.eager import EagerEngine
from vitpose.engines.export import Limits, Target, export, open_exported
from vitpose.engines.onnxruntime import OnnxRuntimeEngine
from vitpose.engines.openvino import OpenVinoEngine
from vitpose.engines.quantize import quantize_graph

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

KINDS = [("onnx", "fp32", 1e-5), ("onnx", "fp16", 3e-3), ("openvino", "fp32", 1e-5), ("openvino", "bf16", 3e-2)]
SLOW = [("openvino", "fp16", 3e-3), ("openvino", "int8", 0.3), ("onnx", "int8", 0.3)]


def check_engine(path: Path, model, dataset: str, tolerance: float) -> None:
    engine = open_exported(path)
    reference = EagerEngine(model, device="cpu", dataset=dataset)
    for people in (5, 1, 0, 21):  # the number of people is free; 21 is more than is run at a time
        pixels = tiny_crops(people, seed=people)
        heatmaps, expected = engine(pixels), reference(pixels)
        assert heatmaps.dtype == np.float32
        assert heatmaps.shape == expected.shape == (people, engine.num_keypoints, *engine.heatmap_size)
        assert np.abs(heatmaps - expected).max(initial=0) <= tolerance * np.abs(expected).max(initial=0)
    assert (engine.input_size, engine.dataset) == (SPEC.input_size, dataset)
    with pytest.raises(UsageError, match="uint8"):
        engine(np.zeros((1, 64, 48, 3), dtype=np.float32))
    engine.close()
    engine.close()
    with pytest.raises(UsageError, match="closed"):
        engine(tiny_crops(1))


@pytest.mark.parametrize(("to", "precision", "tolerance"), KINDS)
def test_exported_file_gives_the_models_heatmaps(model, exported, to, precision, tolerance):
    check_engine(exported(to, precision), model, "coco", tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("to", "precision", "tolerance"), SLOW)
def test_smaller_precisions(model, exported, to, precision, tolerance):
    if precision == "int8":
        pytest.importorskip("nncf")
    check_engine(exported(to, precision), model, "coco", tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_int8_leaves_the_softmax_of_places_alone(model, exported, to):
    """In 8 bits one pixel's part of a probability is zero, and every keypoint would lie in the corner."""
    pytest.importorskip("nncf")
    path = exported(to, "int8", dataset="aic")
    crops = tiny_crops(5, seed=5)
    found, expected = open_exported(path)(crops), EagerEngine(model, device="cpu", dataset="aic")(crops)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_layers_go_back_to_higher_precision_until_the_limit_is_kept(exported, to):
    pytest.importorskip("nncf")
    import onnx
    import openvino

    path, pixels = exported(to), tiny_crops(20, seed=3)
    exact = open_exported(path)(pixels)
    graph = onnx.load(str(path)) if to == "onnx" else openvino.Core().read_model(str(path))
    errors: list[float] = []

    def error(heatmaps: np.ndarray, count: int) -> float:
        errors.append(float(np.square(heatmaps - exact[:count]).mean()))
        return errors[-1]

    none = quantize_graph(graph, pixels, lambda heatmaps, count: 0 * error(heatmaps, count))
    rounded = errors[-1]
    some = quantize_graph(graph, pixels, lambda heatmaps, count: 1.1 * error(heatmaps, count) / rounded)
    assert min(errors) <= 0.8 * rounded / 1.1
    assert errors[-1] < rounded
    every = quantize_graph(graph, pixels, lambda *_: 2.0)
    assert set(none.kept) < set(some.kept) < set(every.kept)
    assert len(every.kept) <= every.layers == some.layers
    assert (none.rest, every.rest) == ("bf16" if to == "openvino" else "fp32", "fp32")
    assert f" {some.layers - len(some.kept)} of {some.layers} products" in some.note


@pytest.mark.slow
def test_what_is_not_int8_is_exact_where_bf16_alone_would_fail(exported):
    """With nothing rounded and fp32 for the rest, a quantised graph is the graph."""
    pytest.importorskip("nncf")
    import openvino

    path, pixels = exported("openvino"), tiny_crops(8, seed=3)
    exact = open_exported(path)(pixels)
    spread = np.abs(exact).max()
    found = quantize_graph(
        openvino.Core().read_model(str(path)),
        pixels,
        lambda maps, count: np.abs(maps - exact[:count]).max() / 1e-4 / spread,
    )
    assert found.rest == "fp32"
    assert len(found.kept) > 0


def test_a_graph_beyond_a_protocol_buffer_is_run_from_a_file(exported, monkeypatch):
    import onnx
    import onnxruntime

    path, pixels = exported("onnx"), tiny_crops(2, seed=3)
    graph = onnx.load(str(path))
    runner = object.__new__(quantize._Onnx)
    given = []

    def session(graph, **options):
        given.append(type(graph))
        return onnxruntime.InferenceSession(graph, **options)

    runner._runtime = SimpleNamespace(InferenceSession=session)
    expected = runner.run(graph, pixels, "fp32")
    monkeypatch.setattr(quantize, "_LARGEST", 0)
    assert np.array_equal(runner.run(graph, pixels, "fp32"), expected)
    assert given == [bytes, str]


def test_int8_is_judged_by_other_people_than_it_is_fitted_to(model, crops, tmp_path, monkeypatch):
    seen = {}

    def write(model, draft, words, score, people):
        seen["fitted"] = people
        export_module.write_onnx(model, draft, words)
        return "as it was"

    monkeypatch.setattr(export_module, "_write", write)
    people = tiny_crops(7, seed=9)
    report = export(
        model, tmp_path / "a.onnx", skeleton=load_skeleton("coco17"), crops=people, target=Target(precision="int8")
    )
    assert len(seen["fitted"]) == 3
    assert report.crops == 4
    assert report.summary.endswith("; as it was")
    with pytest.raises(UsageError, match="other"):
        export(
            model,
            tmp_path / "b.onnx",
            skeleton=load_skeleton("coco17"),
            crops=people[:1],
            target=Target(precision="int8"),
        )


def test_a_stem_of_convolutions_exports(crops, tmp_path):
    spec = replace(SPEC, backbone=replace(SPEC.backbone, stem="convolutions", stem_depths=(1, 0, 1)))
    model = tiny_model(spec)
    path = tmp_path / "stem.onnx"
    export(model, path, skeleton=load_skeleton("coco17"), crops=crops, target=Target(to="onnx"), limits=FREE)
    check_engine(path, model, "coco", 1e-5)


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_each_dataset_exports_its_own_head_and_expert(model, exported, to):
    check_engine(exported(to, dataset="aic"), model, "aic", 1e-5)


def test_openvino_reads_the_onnx_file_too(model, exported, crops):
    engine = OpenVinoEngine(exported("onnx"), precision="fp32")
    expected = EagerEngine(model, device="cpu")(crops)
    assert np.abs(engine(crops) - expected).max() < 1e-5 * np.abs(expected).max()
    assert engine.description.skeleton == load_skeleton("coco17")


@pytest.mark.parametrize(
    ("to", "dataset"), [("onnx", "aic"), ("openvino", "aic"), pytest.param("onnx", "coco", marks=pytest.mark.slow)]
)
def test_end_to_end_decodes_as_the_codec_does(model, exported, to, dataset):
    engine = open_exported(exported(to, end_to_end=True, dataset=dataset))
    codec = Codec.for_head(SPEC.head(dataset), SPEC.heatmap_size)
    for people in (1, 7, 0):
        pixels = tiny_crops(people, seed=3)
        xy, scores = engine.outputs(pixels, [KEYPOINTS, SCORES])
        heatmaps = engine(pixels)
        expected_xy, expected_scores = codec.decode(torch.from_numpy(heatmaps), SPEC.input_size)
        assert xy.shape == (people, engine.num_keypoints, 2)
        assert np.allclose(xy, expected_xy.numpy(), atol=1e-3)
        assert np.allclose(scores, expected_scores.numpy(), atol=1e-6)


def test_file_says_what_it_is(model, exported):
    words = open_exported(exported("onnx")).description
    assert words.head.dataset == "coco"
    assert words.spec.backbone.experts == 0
    assert words.skeleton == load_skeleton("coco17")
    assert words == Description.from_json(words.to_json(), "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not written by `vitpose export`"),
        ("{", "damaged"),
        ('{"schema": "vitpose-export", "version": 99}', "upgrade vitpose"),
        ('{"schema": "other", "version": 1}', "schema 'other'"),
        ('{"schema": "vitpose-export", "version": 1}', "damaged"),
    ],
)
def test_wrong_descriptions_are_refused(text, message):
    with pytest.raises(WeightsError, match=message):
        Description.from_json(text, "model.onnx")


def test_file_of_a_newer_version_is_refused(exported, tmp_path, monkeypatch):
    path = exported("onnx")
    monkeypatch.setattr(description, "VERSION", 0)
    for engine in (OnnxRuntimeEngine, OpenVinoEngine):
        with pytest.raises(WeightsError, match="upgrade vitpose"):
            engine(path)


def test_unreadable_files_are_refused(tmp_path, exported):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    for engine in (OnnxRuntimeEngine, OpenVinoEngine):
        with pytest.raises(WeightsError, match="broken"):
            engine(broken)
        with pytest.raises(WeightsError, match="no file"):
            engine(tmp_path / "missing.onnx")
    shutil.copy(exported("openvino"), tmp_path / "alone.xml")
    with pytest.raises(WeightsError, match="not beside it"):
        open_exported(tmp_path / "alone.xml")
    with pytest.raises(UsageError, match="no exported model"):
        open_exported(tmp_path / "model.pt")


def test_gate_refuses_and_leaves_nothing(model, crops, tmp_path):
    pytest.importorskip("onnxruntime")
    limits = Limits(p50=-1.0)
    with pytest.raises(GateError, match="median shift") as caught:
        export(model, tmp_path / "m.onnx", skeleton=load_skeleton("coco17"), crops=crops, limits=limits)
    assert caught.value.exit_code == 6
    assert "worst keypoints: " in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_wrong_wishes_are_refused_before_any_work(model, crops, tmp_path):
    skeleton = load_skeleton("coco17")
    with pytest.raises(UsageError, match="did you mean 'int8'"):
        Target(precision="int9")
    with pytest.raises(UsageError, match="no bf16 arithmetic"):
        Target(to="onnx", precision="bf16")
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        export(model, tmp_path / "m.xml", skeleton=skeleton, crops=crops)
    with pytest.raises(UsageError, match="give pictures"):
        export(model, tmp_path / "m", skeleton=skeleton, crops=crops[:0])


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_threads_get_what_they_would_get_alone(exported, to):
    engine = open_exported(exported(to))
    expected = [engine(tiny_crops(3, seed)) for seed in range(4)]
    results: list[list[np.ndarray]] = [[] for _ in range(4)]

    def work(seed: int) -> None:
        results[seed] = [engine(tiny_crops(3, seed)) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert len(results[seed]) == 5
        assert all(np.array_equal(result, expected[seed]) for result in results[seed])


_FORKS = """
import multiprocessing, sys
import numpy as np
from vitpose.engines.export import open_exported

engine, pixels = open_exported(sys.argv[1]), np.load(sys.argv[2])
expected = engine(pixels)
context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=lambda: queue.put(engine(pixels)), daemon=True)
child.start()
found = queue.get(timeout=40)
child.join()
print("equal" if np.array_equal(found, expected) else "different")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fork is for Linux")
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_an_engine_works_after_a_fork(exported, tmp_path, to):
    """In a process of its own: whether a child survives depends on what else its parent has started, too."""
    np.save(tmp_path / "crops.npy", tiny_crops(2))
    command = [sys.executable, "-W", "ignore", "-c", _FORKS, str(exported(to)), str(tmp_path / "crops.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.stdout.strip() == "equal", done.stderr


def test_end_to_end_file_needs_no_torch_and_no_vitpose(model, exported, tmp_path):
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8), (400, 300))
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    path = exported("onnx", end_to_end=True, dataset="aic")
    script = Path(__file__).parents[2] / "examples" / "onnx_only.py"
    assert len(script.read_text().splitlines()) <= 40
    blocked = "import sys; sys.modules['torch'] = sys.modules['vitpose'] = None; sys.argv = sys.argv[1:]; "
    run = f"{blocked}import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    box = (50, 20, 210, 280)
    command = [sys.executable, "-c", run, str(script), str(path), str(tmp_path / "photo.png"), *map(str, box)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    transform = CropTransform.from_boxes([box], SPEC.input_size, convention="msra")
    crops = transform.warp(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    xy, scores = open_exported(path).outputs(crops, [KEYPOINTS, SCORES])
    expected = transform.to_image(xy)[0]
    assert [line[0] for line in lines] == list(load_skeleton("aic14").keypoints)
    assert np.allclose([[float(x), float(y)] for _, x, y, _ in lines], expected, atol=0.06)
    assert np.allclose([float(line[3]) for line in lines], scores[0], atol=0.006)


def test_an_onnx_file_without_content_is_damaged_weights(tmp_path):
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(WeightsError, match="damaged"):
        OnnxRuntimeEngine(tmp_path / "empty.onnx")
