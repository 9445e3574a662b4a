import threading

import numpy as np
import pytest
import torch
from tiny_models import tiny_crops

from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError
from vitpose.engines import compiled
from vitpose.engines.compiled import CompiledEngine
from vitpose.engines.deploy import DeployModel
from vitpose.engines.eager import EagerEngine
from vitpose.engines.graph import EndToEnd

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def test_padding_to_a_few_sizes_does_not_show(model):
    engine = CompiledEngine(model, device="cpu", batch_sizes=(1, 4), backend="eager")
    reference = EagerEngine(model, device="cpu")
    for people in (1, 2, 3, 4, 5, 9, 0):
        pixels = tiny_crops(people, seed=people)
        heatmaps, expected = engine(pixels), reference(pixels)
        assert heatmaps.shape == expected.shape
        assert np.abs(heatmaps - expected).max(initial=0) < 1e-5
    assert sorted(engine._functions) == [1, 4]
    other = engine.for_dataset("aic")
    assert np.abs(other(tiny_crops(2)) - EagerEngine(model, device="cpu", dataset="aic")(tiny_crops(2))).max() < 1e-5
    engine.close()
    engine.close()
    with pytest.raises(UsageError, match="closed"):
        engine(tiny_crops(1))
    assert other(tiny_crops(1)).shape == (1, 14, 16, 12)


def test_many_sizes_and_heads_never_hit_the_compilers_limit(model):
    engines = [CompiledEngine(model, device="cpu", batch_sizes=(1, 2, 3), backend="eager") for _ in range(2)]
    for engine in (*engines, engines[0].for_dataset("aic")):
        for people in range(1, 4):
            assert len(engine(tiny_crops(people))) == people


def test_threads_take_turns(model):
    engine = CompiledEngine(model, device="cpu", batch_sizes=(4,), backend="eager")
    expected = [engine(tiny_crops(3, seed)) for seed in range(3)]
    results: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: results.update({seed: engine(tiny_crops(3, seed))}))
        for seed in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[seed], expected[seed]) for seed in range(3))


def test_wrong_settings_are_refused(model, monkeypatch):
    for sizes in ((), (0,), tuple(range(1, 10))):
        with pytest.raises(UsageError, match="batch_sizes"):
            CompiledEngine(model, device="cpu", batch_sizes=sizes)
    monkeypatch.setattr(compiled.shutil, "which", lambda _: None)
    with pytest.raises(UsageError, match="C\\+\\+ compiler"):
        CompiledEngine(model, device="cpu")


@pytest.mark.slow
def test_inductor_agrees_with_eager(model):
    engine = CompiledEngine(model, device="cpu", batch_sizes=(4,))
    expected = EagerEngine(model, device="cpu")(tiny_crops(6))
    assert np.abs(engine(tiny_crops(6)) - expected).max() < 1e-4


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_decoding_compiles_without_a_break(model, backend):
    codec = Codec()
    graph = EndToEnd(DeployModel(model).eval(), codec)
    run = torch.compile(graph, backend=backend, dynamic=False, fullgraph=True)
    with torch.inference_mode():
        xy, scores, heatmaps = run(torch.from_numpy(tiny_crops(3)))
    expected = codec.decode(heatmaps, model.spec.input_size)
    assert torch.allclose(xy, expected[0], atol=1e-3)
    assert torch.allclose(scores, expected[1], atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_captured_graphs_agree_with_the_cpu(model):
    reference = EagerEngine(model, device="cpu")
    engine = CompiledEngine(model, device="cuda", dtype="fp32", batch_sizes=(1, 4))
    for people in (1, 3, 9, 1):
        pixels = tiny_crops(people, seed=people)
        expected = reference(pixels)
        assert np.abs(engine(pixels) - expected).max() < 0.002 * np.abs(expected).max()
