"""int8 by post-training quantisation, with the operations that hurt kept in higher precision.

NNCF picks the scales from real crops, then takes operations back to higher precision, those that hurt most first, until
the poses are within the gate's limits.
"""

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.extras import require
from vitpose.engines.base import Crops
from vitpose.engines.description import CROPS, HEATMAPS

Score = Callable[[NDArray[np.float32], int], float]
"""How near the limits heatmaps of the first so many crops are: 1 is at the limit."""

CALIBRATION = 128
"""Crops that choose the scales, at most."""

_RANKING = 16
"""Crops that tell which operation hurts most."""


def quantize_graph(graph: Any, crops: Crops, excess: Score) -> tuple[Any, tuple[str, ...]]:
    """Quantise a graph until it is within the limits.

    Args:
        graph: an OpenVINO model or an ``onnx.ModelProto``.
        crops: ``(people, height, width, 3)`` uint8 of real people.
        excess: from heatmaps of the first crops to how near the limits they are.

    Returns:
        the quantised graph, and the names of the matrix products and convolutions in higher precision.

    Raises:
        MissingExtraError: NNCF is not installed.
        UsageError: no crops to calibrate with.
    """
    os.environ.setdefault("NNCF_CI", "1")  # otherwise NNCF tells its makers that it is used
    nncf = require("nncf", "int8", "quantising to int8")
    if not len(crops):
        raise UsageError("int8 needs crops of real people to choose its scales: give pictures")
    onnx = type(graph).__module__.startswith("onnx")
    feed = (lambda crop: {CROPS: crop}) if onnx else (lambda crop: crop)
    items = [feed(crop[None]) for crop in crops[:CALIBRATION]]
    before = _weighted(graph)

    def validate(model: Any, data: Iterable[Any]) -> tuple[float, None]:
        heatmaps = np.concatenate([_run(model, item) for item in data])
        # Counted from 2: NNCF divides by what the graph scored before.
        return 2.0 - excess(heatmaps, len(heatmaps)), None

    settings = nncf.AdvancedAccuracyRestorerParameters(ranking_subset_size=min(_RANKING, len(items)))
    with _quiet():
        quantised = nncf.quantize_with_accuracy_control(
            graph,
            calibration_dataset=nncf.Dataset(items),
            validation_dataset=nncf.Dataset([feed(crop[None]) for crop in crops]),
            validation_fn=validate,
            max_drop=1.0,
            drop_type=nncf.DropType.ABSOLUTE,
            subset_size=len(items),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=_kept_exact(graph), validate=False),
            advanced_accuracy_restorer_parameters=settings,
        )
    return quantised, tuple(sorted(before - _quantised(quantised)))


def _run(model: Any, item: Any) -> NDArray[np.float32]:
    """Run a compiled OpenVINO model, or an ONNX graph, on one crop."""
    if hasattr(model, "graph"):
        runtime = require("onnxruntime", "onnx", "checking an int8 graph")
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run([HEATMAPS], item)[0])
    return np.array(model(item)[HEATMAPS])


def _is_openvino(graph: Any) -> bool:
    return hasattr(graph, "get_ops")


_SOFTMAX = "Softmax"
_HEAVY = ("MatMul", "Gemm", "Conv", "ConvTranspose", "Convolution", "ConvolutionBackpropData")


def _kept_exact(graph: Any) -> list[str]:
    """Return the names of operations that are never quantised; none where a head's last layer gives the only output.

    What follows a head's last layer, a softmax over places or decoding, is exact arithmetic: in steps of 1/255 the
    probability of one pixel among a thousand is zero. The layer itself stays, too, for OpenVINO would carry its scale
    into what follows.
    """
    return _openvino_exact(graph) if _is_openvino(graph) else _onnx_exact(graph)


def _onnx_exact(graph: Any) -> list[str]:
    makers = {output: node for node in graph.graph.node for output in node.output}
    last: list[Any] = []  # from the heatmaps back to the layer that makes them
    waiting = [makers[HEATMAPS]]
    while waiting:
        node = waiting.pop()
        last.append(node)
        if node.op_type not in _HEAVY:
            waiting += [makers[name] for name in node.input if name in makers and makers[name].op_type != "Constant"]
    reached, after = {HEATMAPS}, []
    for node in graph.graph.node:  # in order of computation
        if reached.intersection(node.input):
            reached.update(node.output)
            after.append(node)
    plain = not after and not any(node.op_type == _SOFTMAX for node in last)
    return [] if plain else list(dict.fromkeys(node.name for node in (*last, *after)))


def _openvino_exact(graph: Any) -> list[str]:
    start = next(output for output in graph.outputs if HEATMAPS in output.get_names())
    maker = start.get_node().input(0).get_source_output().get_node()
    last = _reached([maker], _sources)
    after = _reached(_targets(maker), _targets)
    plain = not after and not any(node.get_type_name() == _SOFTMAX for node in last)
    return [] if plain else list(dict.fromkeys(node.get_friendly_name() for node in (*last, *after)))


def _reached(nodes: list[Any], following: Callable[[Any], list[Any]]) -> list[Any]:
    """Return all nodes that are reached from some, these included."""
    found: dict[str, Any] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in found:
            found[node.get_friendly_name()] = node
            waiting += following(node)
    return list(found.values())


def _sources(node: Any) -> list[Any]:
    """Return what a node reads, except constants; nothing for a layer, where the way back ends."""
    if node.get_type_name() in _HEAVY:
        return []
    read = [node.input(place).get_source_output().get_node() for place in range(node.get_input_size())]
    return [one for one in read if one.get_type_name() != "Constant"]


def _targets(node: Any) -> list[Any]:
    """Return what reads a node, except results."""
    readers = [target.get_node() for output in node.outputs() for target in output.get_target_inputs()]
    return [one for one in readers if one.get_type_name() != "Result"]


def _weighted(graph: Any) -> set[str]:
    """Return the names of the operations that quantisation is about."""
    if _is_openvino(graph):
        return {node.get_friendly_name() for node in graph.get_ops() if node.get_type_name() in _HEAVY}
    return {node.name for node in graph.graph.node if node.op_type in _HEAVY}


def _quantised(graph: Any) -> set[str]:
    """Return the names of those that read a quantised activation."""
    if _is_openvino(graph):
        return {
            node.get_friendly_name()
            for node in graph.get_ops()
            if node.get_type_name() in _HEAVY
            and node.input(0).get_source_output().get_node().get_type_name() == "FakeQuantize"
        }
    made = {node.output[0]: node.op_type for node in graph.graph.node if node.output}
    return {
        node.name
        for node in graph.graph.node
        if node.op_type in _HEAVY and made.get(node.input[0]) == "DequantizeLinear"
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's progress bars and remarks away from stdout, where results go."""
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
