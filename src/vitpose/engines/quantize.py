"""int8 by post-training quantisation, with the layers that hurt kept in higher precision.

NNCF picks the scales from real crops. Where the poses are then beyond the gate's limits, layers go back to higher
precision, those that hurt most first, until they are within. NNCF has such a search, too, but it puts back weights from
before its own smoothing (SmoothQuant, Xiao et al. 2023), which belong to other activations: with a transformer every
layer it restores makes things worse (seen with NNCF 3.4). Here a layer is restored by reading past the rounding of what
it multiplies, which leaves the smoothing alone.
"""

import contextlib
import copy
import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.extras import require
from vitpose.engines.base import Crops
from vitpose.engines.description import CROPS, HEATMAPS
from vitpose.engines.openvino import compile_graph
from vitpose.engines.threads import usable_cores

Maps = NDArray[np.float32]

Score = Callable[[Maps, int], float]
"""How near the limits heatmaps of the first so many crops are: 1 is at the limit."""

CALIBRATION = 128
"""Crops that choose the scales, at most."""

_RANKING = 16
"""Crops that tell which layer hurts most."""


class _Graph(Protocol):
    """A quantised graph of either kind."""

    layers: tuple[str, ...]
    """Names of the layers that read rounded values, in order of computation."""

    def restored(self, names: Sequence[str]) -> Any:
        """Return the graph with these layers in higher precision."""

    def run(self, graph: Any, crops: Crops) -> Maps:
        """Return a graph's heatmaps."""


def quantize_graph(graph: Any, crops: Crops, excess: Score) -> tuple[Any, tuple[str, ...]]:
    """Quantise a graph until it is within the limits, or nothing is left to take back.

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
    if not len(crops):
        raise UsageError("int8 needs crops of real people to choose its scales: give pictures")
    before = _weighted(graph)
    quantised: _Graph = (_OpenVino if _is_openvino(graph) else _Onnx)(graph, crops)
    found = quantised.restored(())
    if excess(quantised.run(found, crops), len(crops)) > 1:
        found = quantised.restored(_needed(quantised, graph, crops, excess))
    return found, tuple(sorted(before - _quantised(found)))


def _needed(quantised: _Graph, graph: Any, crops: Crops, excess: Score) -> list[str]:
    """Return the fewest layers, of those that hurt most, whose higher precision keeps the limits; all if none do."""
    some = crops[:_RANKING]
    exact = quantised.run(graph, some)

    def error(name: str) -> float:
        return float(np.square(quantised.run(quantised.restored([name]), some) - exact).mean())

    ranked = sorted(quantised.layers, key=error)  # whose restoring leaves least error hurts most
    low, high = 0, len(ranked)  # too few, enough or all
    while high - low > 1:
        middle = (low + high) // 2
        within = excess(quantised.run(quantised.restored(ranked[:middle]), crops), len(crops)) <= 1
        low, high = (low, middle) if within else (middle, high)
    return ranked[:high]


def _rounded(graph: Any, crops: Crops, **parameters: Any) -> Any:
    """Return what NNCF makes of a graph."""
    os.environ.setdefault("NNCF_CI", "1")  # otherwise NNCF tells its makers that it is used
    nncf = require("nncf", "int8", "quantising to int8")
    feed = (lambda crop: crop) if _is_openvino(graph) else (lambda crop: {CROPS: crop})
    items = [feed(crop[None]) for crop in crops[:CALIBRATION]]
    with _quiet():
        return nncf.quantize(
            graph,
            nncf.Dataset(items),
            subset_size=len(items),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=_kept_exact(graph), validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(**parameters),
        )


class _OpenVino:
    """Layers read ``FakeQuantize`` operations; those of weights become int8 constants at the end."""

    def __init__(self, graph: Any, crops: Crops) -> None:
        self._openvino: Any = require("openvino", "openvino", "quantising to int8")
        # Weights stay as they are until it is known which are kept.
        self._graph = _rounded(graph, crops, backend_params={"compress_weights": False})
        rounded = _quantised(self._graph)
        self.layers = tuple(
            node.get_friendly_name() for node in self._graph.get_ordered_ops() if node.get_friendly_name() in rounded
        )

    def restored(self, names: Sequence[str]) -> Any:
        from openvino._offline_transformations import compress_quantize_weights_transformation

        graph = self._graph.clone()
        for node in graph.get_ops():
            if node.get_friendly_name() in names:
                for reader, place in _roundings(node):
                    rounding = reader.input(place).get_source_output().get_node()
                    reader.input(place).replace_source_output(rounding.input(0).get_source_output())
        compress_quantize_weights_transformation(graph)
        return graph

    def run(self, graph: Any, crops: Crops) -> Maps:
        compiled = compile_graph(self._openvino, graph, "int8", threads=usable_cores(), width=1)
        return np.concatenate([np.array(compiled(crop[None])[HEATMAPS]) for crop in crops])


def _roundings(layer: Any) -> list[tuple[Any, int]]:
    """Return where the roundings a layer works on are read: by itself or by what shapes its input, and where."""
    readers = _reached([layer], lambda node: [one for one in _read(node) if one.get_type_name() in _SHAPING])
    return [
        (reader, place)
        for reader in readers
        for place, source in enumerate(_read(reader))
        if source.get_type_name() == "FakeQuantize"
    ]


def _read(node: Any) -> list[Any]:
    """Return what gives a node its inputs."""
    return [node.input(place).get_source_output().get_node() for place in range(node.get_input_size())]


class _Onnx:
    """Layers read ``DequantizeLinear`` operations, of ``QuantizeLinear`` ones or of weights, which stay in int8."""

    def __init__(self, graph: Any, crops: Crops) -> None:
        self._runtime: Any = require("onnxruntime", "onnx", "checking an int8 graph")
        self._graph = _rounded(graph, crops)
        rounded = _quantised(self._graph)
        self.layers = tuple(node.name for node in self._graph.graph.node if node.name in rounded)

    def restored(self, names: Sequence[str]) -> Any:
        graph = copy.deepcopy(self._graph)
        makers = {output: node for node in graph.graph.node for output in node.output}
        for node in graph.graph.node:
            for place, name in enumerate(node.input if node.name in names else ()):
                back = makers.get(name)
                forth = makers.get(back.input[0]) if back is not None and back.op_type == "DequantizeLinear" else None
                if forth is not None and forth.op_type == "QuantizeLinear":
                    node.input[place] = forth.input[0]
        return graph

    def run(self, graph: Any, crops: Crops) -> Maps:
        session = self._runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.concatenate([np.asarray(session.run([HEATMAPS], {CROPS: crop[None]})[0]) for crop in crops])


def _is_openvino(graph: Any) -> bool:
    return hasattr(graph, "get_ops")


_SOFTMAX = "Softmax"
_SHAPING = ("Unsqueeze", "Squeeze", "Concat", "Reshape", "Transpose")
_HEAVY = ("MatMul", "Gemm", "Conv", "ConvTranspose", "Convolution", "ConvolutionBackpropData")


def _kept_exact(graph: Any) -> list[str]:
    """Return the names of operations that are never quantised; none where a head's last layer gives the only output.

    What follows a head's last layer, a softmax over places or decoding, is exact arithmetic: in steps of 1/255 the
    probability of one pixel among a thousand is zero. The layer itself stays, too, for OpenVINO would carry its scale
    into what follows, and with it what lies between it and the layer before.
    """
    return _openvino_exact(graph) if _is_openvino(graph) else _onnx_exact(graph)


def _onnx_exact(graph: Any) -> list[str]:
    makers = {output: node for node in graph.graph.node for output in node.output}

    def read(node: Any) -> list[Any]:
        return [makers[name] for name in node.input if name in makers]

    last = _last_layer(makers[HEATMAPS], read, lambda node: (node.name, node.op_type))
    reached, after = {HEATMAPS}, []
    for node in graph.graph.node:  # in order of computation
        if reached.intersection(node.input):
            reached.update(node.output)
            after.append(node.name)
    return [*last, *after] if after or _SOFTMAX in last.values() else []


def _openvino_exact(graph: Any) -> list[str]:
    start = next(output for output in graph.outputs if HEATMAPS in output.get_names())
    maker = start.get_node().input(0).get_source_output().get_node()
    last = _last_layer(maker, _read, lambda node: (node.get_friendly_name(), node.get_type_name()))
    after = [node.get_friendly_name() for node in _reached(_targets(maker), _targets)]
    return [*last, *after] if after or _SOFTMAX in last.values() else []


def _last_layer(
    maker: Any, read: Callable[[Any], list[Any]], about: Callable[[Any], tuple[str, str]]
) -> dict[str, str]:
    """Return names and kinds of all operations from the heatmaps back to the last layer but one, which is left out."""
    found: dict[str, str] = {}
    waiting = [(maker, False)]
    while waiting:
        node, passed = waiting.pop()
        name, kind = about(node)
        if name in found or kind == "Constant" or (passed and kind in _HEAVY):
            continue
        found[name] = kind
        waiting += [(one, passed or kind in _HEAVY) for one in read(node)]
    return found


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
            if node.get_type_name() in _HEAVY and any(place == 0 for _, place in _roundings(node))
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
