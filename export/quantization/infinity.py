"""Find where a graph adds infinity, or what stands for it, as masks of attention do: int8 has no room for it.

One step of a range that reaches to -1e9 is larger than all that the softmax behind it tells apart.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

INFINITE = 1e6
"""What counts as infinite: no activation that 8 bits can hold is as large."""

_ADDING = frozenset({"Add", "Sub", "Where", "Concat", "Mul", "Max", "Min"})
_PASSING = _ADDING | {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Expand", "Slice", "Split"}
_PASSING |= {"Gather", "Tile", "Pad", "Div", "Neg", "ReduceMax", "ReduceMin"}
_BOUNDED = frozenset({"Max", "Min"})
"""Infinity in a constant that they read is a bound that never applies, and what they give is finite."""


def nodes_of_infinity(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that read or write infinite numbers, as far as constants tell."""
    infinite = {tensor.name for tensor in model.graph.initializer if _is_infinite(tensor)}
    constants = set(infinite)
    found = []
    for node in model.graph.node:
        reads = infinite.intersection(node.input)
        if not reads or (node.op_type not in _PASSING and reads <= constants):
            continue  # bounds of Clip and the like
        found.append(node.name)
        if node.op_type in _PASSING and not (node.op_type in _BOUNDED and reads <= constants):
            infinite.update(node.output)
    return found


def finite_part(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """The numbers of a tensor that are finite, flat; the tensor itself if all are."""
    if value.size == 0 or (value.min() > -INFINITE and value.max() < INFINITE):
        return value
    return value[np.abs(value) < INFINITE]


def _is_infinite(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type != TensorProto.FLOAT:
        return False
    value = numpy_helper.to_array(tensor)
    return bool(value.size > 0 and finite_part(value).size < value.size)
