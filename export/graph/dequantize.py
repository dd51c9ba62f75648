"""Take the quantization out of a model that is already quantized, where it can be taken out.

A model in QDQ form computes in float between pairs of QuantizeLinear and DequantizeLinear: without the pairs, it is a
float network whose weights lie on a grid of 8 bits. One with integer operators is not.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edge_vseg.errors import ModelFileError
from edge_vseg.export.graph.index import GraphIndex, attribute, prune, rewire, set_initializer

_INTEGER = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_SIGNED = (
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "Add",
    "Sub",
    "Mul",
    "BatchNormalization",
    "InstanceNormalization",
)
"""Operators whose result may be negative, so that a quantizer may have taken a ReLU after them for granted."""
_RELU6_MAX = 6.0
GIVE_FLOAT = "give the float network that it was made from: edge-vseg quantizes it itself"


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether the model has operators of quantization."""
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear", *_INTEGER) for node in model.graph.node)


def drop_quantization(model: onnx.ModelProto, *, where: str) -> onnx.ModelProto:
    """A float copy of a model in QDQ form: weights dequantized, pairs around activations left out.

    Quantizers leave out a ReLU before an unsigned tensor, whose zero point cuts what is negative: it is put back.

    Args:
        model: As it was read.
        where: Names the model in messages.

    Raises:
        ModelFileError: If it computes with integers.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    integer = sorted({node.op_type for node in copy.graph.node if node.op_type in _INTEGER})
    if integer:
        raise ModelFileError(f"model {where} is already quantized and computes in {', '.join(integer)}; {GIVE_FLOAT}")
    index = GraphIndex(copy)
    outputs = {output.name for output in copy.graph.output}
    for node in list(copy.graph.node):
        match node.op_type:
            case "QuantizeLinear":
                _bypass(copy.graph, index, node, outputs, relu=_cuts_negative(index, node))
            case "DequantizeLinear" if (constant := _stored(index, node.input[0])) is not None:
                value = _dequantize(index, node, constant, where)
                copy.graph.node.remove(node)
                set_initializer(copy.graph, node.output[0], value)
            case "DequantizeLinear":
                _bypass(copy.graph, index, node, outputs, relu="")
    prune(copy)
    _rename(copy.graph, outputs)
    try:
        onnx.checker.check_model(copy, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise ModelFileError(
            f"model {where} is already quantized, and computes with integers between its QuantizeLinear and"
            f" DequantizeLinear; {GIVE_FLOAT}"
        ) from exc
    return copy


def _rename(graph: onnx.GraphProto, outputs: set[str]) -> None:
    """Give tensors other names than a quantizer gives them, or the next one takes them for its own."""
    names = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
    for name in (name for name in names - outputs if "quantize" in name.lower()):
        rewire(graph, name, f"{name}.float")
        for node in graph.node:
            node.output[:] = [f"{each}.float" if each == name else each for each in node.output]
        for tensor in graph.initializer:
            tensor.name = f"{name}.float" if tensor.name == name else tensor.name


def _bypass(graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto, outputs: set[str], *, relu: str) -> None:
    """Replace a node by a ReLU, or by nothing."""
    source, target = node.input[0], node.output[0]
    if relu == "Clip":
        limits = [set_initializer(graph, f"{target}.{v:g}", np.array(v, np.float32)) for v in (0.0, _RELU6_MAX)]
        made = helper.make_node("Clip", [source, *limits], [target], name=target)
    elif relu:
        made = helper.make_node(relu, [source], [target], name=target)
    elif target in outputs:
        made = helper.make_node("Identity", [source], [target], name=target)
    else:
        graph.node.remove(node)
        rewire(graph, target, source)
        return
    node.CopyFrom(made)


def _cuts_negative(index: GraphIndex, node: onnx.NodeProto) -> str:
    """``Relu`` or ``Clip`` (at 6) if the quantization does what one of them does; else empty."""
    producer = index.producer.get(node.input[0])
    scale, zero = index.constant(node.input[1]), _zero_point(index, node)
    if producer is None or producer.op_type not in _SIGNED or scale is None or zero.size != 1:
        return ""
    bits = 8 * zero.dtype.itemsize
    smallest = 0 if zero.dtype.kind == "u" else -(2 ** (bits - 1))
    if int(zero.item()) != smallest:
        return ""
    largest = float(scale.item()) * (2**bits - 1)
    return "Clip" if abs(largest - _RELU6_MAX) < 0.01 * _RELU6_MAX else "Relu"


def _stored(index: GraphIndex, name: str) -> NDArray[np.generic] | None:
    """A constant on the grid; ``None`` for activations, and for float weights that were quantized in the graph."""
    value = index.constant(name)
    return None if value is None or np.issubdtype(value.dtype, np.floating) else value


def _zero_point(index: GraphIndex, node: onnx.NodeProto) -> NDArray[np.generic]:
    found = index.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    return np.zeros(1, np.uint8) if found is None else found


def _dequantize(index: GraphIndex, node: onnx.NodeProto, value: NDArray[np.generic], where: str) -> NDArray[np.float32]:
    scale = index.constant(node.input[1])
    zero = index.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.int64)
    if scale is None or zero is None or attribute(node, "block_size", 0):
        raise ModelFileError(f"model {where} is already quantized in blocks, or with computed scales; {GIVE_FLOAT}")
    shape = [1] * value.ndim
    if scale.size > 1:
        shape[cast(int, attribute(node, "axis", 1)) % value.ndim] = scale.size
    factor, shift = (each.astype(np.float32).reshape(shape if each.size > 1 else ()) for each in (scale, zero))
    return np.asarray((value.astype(np.float32) - shift) * factor, np.float32)
