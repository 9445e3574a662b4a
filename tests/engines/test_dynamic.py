import numpy as np
import pytest
from tiny_models import SPEC, tiny_crops

from vitpose.core.errors import UsageError
from vitpose.engines.dynamic import _round, compress_weights
from vitpose.engines.eager import EagerEngine
from vitpose.engines.export import open_exported
from vitpose.engines.openvino import OpenVinoEngine, read_graph

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

LAYERS = 4 * SPEC.backbone.depth
"""Queries, keys and values; projection; and the two of the feed-forward layer."""


@pytest.mark.parametrize("axis", [0, 1])
def test_rounding_is_within_half_a_step_of_its_channel(rng, axis):
    matrix = rng.normal(size=(40, 30)).astype(np.float32) * rng.uniform(0.01, 10, (40, 1) if axis else (1, 30))
    matrix = matrix.astype(np.float32)
    numbers, scales = _round(matrix, axis)
    assert numbers.dtype == np.int8
    assert np.abs(numbers).max(axis=axis).min() == 127, "every channel uses the whole range"
    assert (np.abs(numbers * scales - matrix) <= 0.5001 * scales).all()
    zeros, ones = _round(np.zeros((3, 4), np.float32), axis)
    assert not zeros.any()
    assert (ones == 1).all()


@pytest.mark.parametrize(("to", "precision"), [("onnx", "fp32"), ("openvino", "fp32")])
def test_every_linear_layer_is_replaced_once(exported, to, precision):
    openvino = pytest.importorskip("openvino")
    graph = read_graph(openvino, exported(to, precision))
    assert compress_weights(graph) == LAYERS
    assert compress_weights(graph) == 0


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_heatmaps_stay_near_those_of_the_model(model, exported, to):
    engine = open_exported(exported(to), engine="openvino-int8-dynamic")
    assert (engine.name, engine.precision) == ("openvino-cpu-int8-dynamic", "int8-dynamic")
    reference = EagerEngine(model, device="cpu")
    for people in (5, 1, 0, 21):
        pixels = tiny_crops(people, seed=people)
        heatmaps, expected = engine(pixels), reference(pixels)
        assert heatmaps.shape == expected.shape
        assert np.abs(heatmaps - expected).max(initial=0) <= 0.1 * np.abs(expected).max(initial=0)


def test_scales_do_not_depend_on_the_other_crops(exported):
    """What is chosen while the model runs is chosen for each token: batches give what single crops give."""
    engine = OpenVinoEngine(exported("openvino"), precision="int8-dynamic")
    pixels = np.concatenate([tiny_crops(3), np.full((1, *SPEC.input_size, 3), 255, np.uint8)])
    together = engine(pixels)
    alone = np.concatenate([engine(pixels[index : index + 1]) for index in range(4)])
    assert np.abs(together - alone).max() < 0.02 * np.abs(together).max()


@pytest.mark.slow
def test_a_file_of_int8_layers_is_refused(exported):
    pytest.importorskip("nncf")
    with pytest.raises(UsageError, match="runs as it is"):
        OpenVinoEngine(exported("openvino", "int8"), precision="int8-dynamic")


@pytest.mark.slow
def test_half_precision_weights_are_replaced_too(exported):
    openvino = pytest.importorskip("openvino")
    assert compress_weights(read_graph(openvino, exported("openvino", "fp16"))) == LAYERS
