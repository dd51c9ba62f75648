"""Keep biases that int32 would not hold, as those of channels whose weights are all but zero.

A bias is stored in steps of the input's step times its channel's weight step. Training leaves channels without weights,
whose bias is all that they give; ai-edge-quantizer takes a weight step of 8e-12 for them, the bias has more steps than
int32 counts, and what remains of it is next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_vseg.export.quantization.tflite_activations import Range
from edge_vseg.export.quantization.tflite_tables import pack_tflite, unpack_tflite

_MOST_STEPS = 2**30
"""Of a bias; half of what int32 holds, since the sum of the products is added to it."""
_WEIGHT_LEVELS, _INPUT_STEPS = 127, 255

_Operator = schema.BuiltinOperator
_WEIGHTED = {
    _Operator.CONV_2D: (0, 1, 2, 0),
    _Operator.DEPTHWISE_CONV_2D: (0, 1, 2, 3),
    _Operator.FULLY_CONNECTED: (0, 1, 2, 0),
    _Operator.TRANSPOSE_CONV: (2, 1, 3, 0),
}
"""Where operators have their data, weights and bias, and the axis of the weights that counts output channels."""


def make_room_for_biases(file: bytes, ranges: Mapping[str, Range]) -> bytes:
    """The file with one weight raised in every channel whose bias int32 would not hold once it is quantized.

    The weight becomes large enough for the bias to have 2**30 steps: what it adds to the output is at most
    ``127 * 255 / 2**30`` of that bias, three in a hundred thousand.

    Args:
        file: A float ``.tflite``.
        ranges: Range of every activation, as ai-edge-quantizer reads it.
    """
    model = unpack_tflite(file)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    changed = False
    for graph in model.subgraphs:
        for operator in graph.operators:
            if (places := _WEIGHTED.get(codes[operator.opcodeIndex])) is not None:
                changed |= _make_room(model, graph, list(operator.inputs), places, ranges)
    return pack_tflite(model) if changed else file


def _make_room(
    model: Any, graph: Any, inputs: list[int], places: tuple[int, int, int, int], ranges: Mapping[str, Range]
) -> bool:
    """Raise weights of one operator; whether there were any to be raised."""
    data, weights, bias, axis = places
    if len(inputs) <= bias or inputs[bias] < 0:
        return False
    span = ranges.get(graph.tensors[inputs[data]].name.decode())
    constants = [_constant(model, graph.tensors[inputs[at]]) for at in (weights, bias)]
    if span is None or constants[0] is None or constants[1] is None:
        return False
    values, biases = constants[0], constants[1]
    rows = np.moveaxis(values, axis, 0).reshape(len(biases), -1)
    step = (max(float(span["max"].max()), 0.0) - min(float(span["min"].min()), 0.0)) / _INPUT_STEPS
    least = _WEIGHT_LEVELS * np.abs(biases) / (max(step, 1e-9 / _INPUT_STEPS) * _MOST_STEPS)
    largest = np.abs(rows).argmax(1)
    channels = np.arange(len(biases))
    short = np.abs(rows[channels, largest]) < least
    if not short.any():
        return False
    raised = np.where(rows[channels, largest] < 0, -least, least)
    rows[channels[short], largest[short]] = raised[short]
    moved = np.moveaxis(values, axis, 0)
    made = np.moveaxis(rows.reshape(moved.shape), 0, axis)
    model.buffers[graph.tensors[inputs[weights]].buffer].data = np.frombuffer(
        np.ascontiguousarray(made, np.float32).tobytes(), np.uint8
    )
    return True


def _constant(model: Any, tensor: Any) -> NDArray[np.float32] | None:
    """A copy of a float tensor that is constant."""
    data = model.buffers[tensor.buffer].data
    if data is None or len(data) == 0 or tensor.type != schema.TensorType.FLOAT32:
        return None
    flat = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.float32)
    return flat.reshape([int(side) for side in tensor.shape]).copy()
