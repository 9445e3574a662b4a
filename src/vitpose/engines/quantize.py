"""int8 by post-training quantisation, with the layers that hurt kept in higher precision.

NNCF picks the scales from real crops. Where the poses are then beyond the gate's limits, layers go back to higher
precision, those that hurt most first, until they are within. NNCF has such a search, too, but it puts back weights from
before its own smoothing (SmoothQuant, Xiao et al. 2023), which belong to other activations: with a transformer every
layer it restores makes things worse (seen with NNCF 3.4). Here a layer is restored by reading past the rounding of what
it multiplies, which leaves the smoothing alone.

What is not int8 runs in bf16 where that keeps the limits with nothing rounded, and in fp32 where it does not: a model
that wavers between two places of like height can fail in bf16 already, and then no choice of layers would help.
"""

import contextlib
import copy
import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.extras import require
from vitpose.engines.base import Crops
from vitpose.engines.description import CROPS, HEATMAPS
from vitpose.engines.openvino import compile_graph
from vitpose.engines.threads import usable_cores

Maps = NDArray[np.float32]

Rest = Literal["bf16", "fp32"]

Score = Callable[[Maps, int], float]
"""How near the limits heatmaps of the first so many crops are: 1 is at the limit."""

CALIBRATION = 128
"""Crops that choose the scales, at most."""

_RANKING = 16
"""Crops that tell which layer hurts most."""

_LARGEST = 1_900_000_000
"""Bytes of weights up to which a graph can be handed over in memory: a protocol buffer ends at 2 GiB."""

_MARGIN = 0.8
"""What the search calls within, of the limit: at the limit itself the next people are as likely beyond it."""

_STEPS = 8
"""Sizes the search begins with: an eighth of the layers restored, two eighths, and so on."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """A quantised graph, and what of it is not.

    Attributes:
        graph: an OpenVINO model or an ``onnx.ModelProto``.
        kept: names of the matrix products and convolutions in higher precision.
        layers: how many there are of either kind.
        rest: their precision, and that of everything else.
    """

    graph: Any
    kept: tuple[str, ...]
    layers: int
    rest: Rest

    @property
    def note(self) -> str:
        """How much of it is int8, in words; of an ONNX file all weights are."""
        rounded = self.layers - len(self.kept)
        return f"activations are int8 in {rounded} of {self.layers} products, {self.rest} elsewhere"


class _Graph(Protocol):
    """A quantised graph of either kind."""

    layers: tuple[str, ...]
    """Names of the layers that read rounded values, in order of computation."""

    rests: tuple[Rest, ...]
    """Precisions of what is not int8, the fastest first; the last one loses nothing."""

    def restored(self, names: Sequence[str]) -> Any:
        """Return the graph with these layers in higher precision."""

    def run(self, graph: Any, crops: Crops, rest: Rest) -> Maps:
        """Return a graph's heatmaps."""


def quantize_graph(graph: Any, crops: Crops, excess: Score) -> Quantised:
    """Quantise a graph until it is within the limits, or nothing is left to take back.

    Args:
        graph: an OpenVINO model or an ``onnx.ModelProto``.
        crops: ``(people, height, width, 3)`` uint8 of real people: they choose the scales and the layers, so a verdict
            on them is kinder than one on others.
        excess: from heatmaps of the first crops to how near the limits they are.

    Raises:
        MissingExtraError: NNCF is not installed.
        UsageError: no crops to calibrate with.
    """
    if not len(crops):
        raise UsageError("int8 needs crops of real people to choose its scales: give pictures")
    before = _weighted(graph)
    quantised: _Graph = (_OpenVino if _is_openvino(graph) else _Onnx)(graph, crops)

    def within(names: Sequence[str], rest: Rest) -> bool:
        return excess(quantised.run(quantised.restored(names), crops, rest), len(crops)) <= _MARGIN

    restored, rest = _needed(quantised, graph, crops[:_RANKING], within)
    found = quantised.restored(restored)
    kept = tuple(sorted(before - _quantised(found)))
    return Quantised(found, kept, len(before), rest)


def _needed(
    quantised: _Graph, graph: Any, some: Crops, within: Callable[[Sequence[str], Rest], bool]
) -> tuple[list[str], Rest]:
    """Return layers whose higher precision keeps the limits, and that precision; all layers if none do.

    More layers are not always better, since errors of two can cancel. So sizes are tried, from few to many, and between
    the first that keeps the limits and the one before; what is returned was measured, but a smaller set may exist.
    """
    final = quantised.rests[-1]
    rest = next((one for one in quantised.rests[:-1] if within(quantised.layers, one)), final)
    if within((), rest):
        return [], rest
    exact = quantised.run(graph, some, final)

    def error(name: str) -> float:
        return float(np.square(quantised.run(quantised.restored([name]), some, rest) - exact).mean())

    ranked = sorted(quantised.layers, key=error)  # whose restoring leaves least error hurts most
    few = 0
    for step in range(1, _STEPS + 1):
        many = -(-len(ranked) * step // _STEPS)
        if many > few and (many == len(ranked) or within(ranked[:many], rest)):
            break
        few = max(few, many)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if within(ranked[:middle], rest) else (middle, many)
    return ranked[:many], rest


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

    rests: tuple[Rest, ...] = ("bf16", "fp32")

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

    def run(self, graph: Any, crops: Crops, rest: Rest) -> Maps:
        compiled = compile_graph(self._openvino, graph, "int8", threads=usable_cores(), width=1, rest=rest)
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

    rests: tuple[Rest, ...] = ("fp32",)

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

    def run(self, graph: Any, crops: Crops, rest: Rest) -> Maps:  # noqa: ARG002 - ONNX Runtime has fp32 alone
        session = self._session(graph)
        return np.concatenate([np.asarray(session.run([HEATMAPS], {CROPS: crop[None]})[0]) for crop in crops])

    def _session(self, graph: Any) -> Any:
        providers = ["CPUExecutionProvider"]
        if sum(len(tensor.raw_data) for tensor in graph.graph.initializer) < _LARGEST:
            return self._runtime.InferenceSession(graph.SerializeToString(), providers=providers)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.onnx"
            require("onnx", "onnx", "checking an int8 graph").save(graph, str(path), save_as_external_data=True)
            return self._runtime.InferenceSession(str(path), providers=providers)


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
