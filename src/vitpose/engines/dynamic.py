"""int8 without calibration: weights are stored as 8-bit numbers, activations are rounded while the model runs.

Every output channel of a weight matrix gets a scale of its own. OpenVINO then gives every token's activations the scale
they need at that moment (its "dynamic quantisation"), so there is nothing to choose beforehand, and an outlier spoils
one token of one crop and not the scale of all. Convolutions, and the products inside attention, stay as they are.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.extras import require

_LARGEST = 127


def compress_weights(graph: Any) -> int:
    """Replace the weights of an OpenVINO model's linear layers by int8 numbers with a scale an output channel.

    Args:
        graph: changed in place.

    Returns:
        how many matrices were replaced: none in a file whose layers are int8 already.
    """
    found = [(node, matrix) for node in graph.get_ops() if (matrix := _weights(node)) is not None]
    for node, matrix in found:
        # A product's second matrix is (in, out), or (out, in) when it is to be transposed.
        axis = 1 if node.get_attributes()["transpose_b"] else 0
        numbers, scales = _round(matrix, axis)
        node.input(1).replace_source_output(_product(numbers, scales))
    graph.validate_nodes_and_infer_types()
    return len(found)


def _weights(node: Any) -> NDArray[np.float32] | None:
    """Return the matrix a linear layer multiplies with; None for anything else."""
    if node.get_type_name() != "MatMul":
        return None
    source = node.input(1).get_source_output().get_node()
    if source.get_type_name() == "Convert":  # of a file with half-precision weights
        source = source.input(0).get_source_output().get_node()
    if source.get_type_name() != "Constant" or len(source.shape) != 2 or not source.get_element_type().is_real():
        return None
    return np.asarray(source.data, dtype=np.float32)


def _round(matrix: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return whole numbers and the scales to multiply them with; ``axis`` is the one that is summed over."""
    scales = np.abs(matrix).max(axis=axis, keepdims=True) / _LARGEST
    scales[scales == 0] = 1.0
    return np.rint(matrix / scales).astype(np.int8), scales


def _product(numbers: NDArray[np.int8], scales: NDArray[np.float32]) -> Any:
    operations = require("openvino.opset13", "openvino", "running a model with OpenVINO")
    plain = operations.convert(operations.constant(numbers), "f32")
    return operations.multiply(plain, operations.constant(scales)).output(0)
