"""Rewrite a float graph so that ONNX Runtime finds integer kernels for more of it.

ONNX Runtime has none for HardSigmoid, HardSwish and ReduceMean, so each of them costs a step to float and one back.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute
from edge_vseg.export.quantization.sensitivity import Ranges

Gates = dict[str, float]
"""Factor by the name of a tensor."""
_HARD_SWISH = 1 / 6, 0.5
_FINEST_MEAN = 128
"""ONNX Runtime's integer mean ends with an error at 256 steps of the output to a step of the sum, or more."""


def use_integer_operators(model: onnx.ModelProto, ranges: Ranges, float_nodes: Collection[str]) -> tuple[Ranges, Gates]:
    """Rewrite a graph in place, before it is quantized.

    ``HardSigmoid(x)``, ``min(max(a x + b, 0), 1)``, becomes ``x + b / a``, whose rounding in the range from 0 to
    ``1 / a`` does the clipping; :func:`scale_gates` then multiplies by ``a``, which costs nothing. ReduceMean over rows
    and columns becomes GlobalAveragePool.

    Args:
        model: The graph.
        ranges: Range of every float activation.
        float_nodes: Names of nodes that stay in float, and as they are.

    Returns:
        The ranges of the new graph, and the factor of each rewritten HardSigmoid by the name of its output.
    """
    split_hard_swish(model, float_nodes)
    changed, gates = dict(ranges), dict[str, float]()
    index = GraphIndex(model)
    for node in model.graph.node:
        if node.name in float_nodes:
            continue
        if node.op_type == "HardSigmoid" and node.input[0] in ranges:
            slope, offset = (
                float(str(attribute(node, name, default))) for name, default in (("alpha", 0.2), ("beta", 0.5))
            )
            if slope <= 0:
                continue
            name = node.output[0]
            shift = _add_scalar(model, f"{name}.shift", offset / slope)
            node.CopyFrom(helper.make_node("Add", [node.input[0], shift], [name], name=node.name))
            changed[name], gates[name] = (0.0, 1 / slope), slope
        elif node.op_type == "ReduceMean" and _is_over_the_plane(node, index):
            node.CopyFrom(helper.make_node("GlobalAveragePool", node.input[:1], node.output, name=node.name))
        if node.op_type == "GlobalAveragePool" and {node.input[0], node.output[0]} <= changed.keys():
            _widen_mean(changed, node, index)
    return changed, gates


def _widen_mean(ranges: dict[str, tuple[float, float]], node: onnx.NodeProto, index: GraphIndex) -> None:
    """Give a mean that is zero but for float's rounding, as one of an instance norm is, a range that integers can have.

    Steps so fine are of no use: the mean of N rounded pixels moves by an Nth of their step.
    """
    (low, high), (in_low, in_high) = ranges[node.output[0]], ranges[node.input[0]]
    pixels = math.prod(length or 1 for length in (index.shape(node.input[0]) or ())[2:])
    narrowest = (in_high - in_low) / (_FINEST_MEAN * pixels)
    if 0 < high - low < narrowest:
        factor = narrowest / (high - low)
        ranges[node.output[0]] = low * factor, high * factor


def scale_gates(quantized: onnx.ModelProto, gates: Gates) -> bool:
    """Multiply rewritten tensors by their factor, where they become real numbers again.

    Args:
        quantized: The QDQ graph, changed in place.
        gates: From :func:`use_integer_operators`.

    Returns:
        Whether all of them are rounded as they must be; if not, the graph is wrong, and to be made without rewriting.
    """
    index = GraphIndex(quantized)
    for name, factor in gates.items():
        rounding = index.consumers.get(name, [])
        if len(rounding) != 1 or rounding[0].op_type != "QuantizeLinear":
            return False
        for reader in index.consumers.get(rounding[0].output[0], []):
            scale = index.constant(reader.input[1]) if reader.op_type == "DequantizeLinear" else None
            if scale is None:
                return False
            reader.input[1] = _add_scalar(quantized, f"{name}.gate_scale", factor * float(np.asarray(scale).item()))
    return True


def _add_scalar(model: onnx.ModelProto, name: str, value: float) -> str:
    if name not in {tensor.name for tensor in model.graph.initializer}:
        model.graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value]))
    return name


def split_hard_swish(model: onnx.ModelProto, float_nodes: Collection[str] = ()) -> None:
    """Write each HardSwish as HardSigmoid and Mul, in place; ``float_nodes`` stay as they are."""
    slope, offset = _HARD_SWISH
    nodes = []
    for node in model.graph.node:
        if node.op_type != "HardSwish" or node.name in float_nodes:
            nodes.append(node)
            continue
        gate = f"{node.output[0]}.gate"
        nodes.append(
            helper.make_node("HardSigmoid", node.input, [gate], name=f"{node.name}.gate", alpha=slope, beta=offset)
        )
        nodes.append(helper.make_node("Mul", [node.input[0], gate], node.output, name=node.name))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _is_over_the_plane(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a ReduceMean is the mean of each channel, with its axes kept."""
    shape = index.shape(node.input[0])
    axes = index.constant(node.input[1]) if len(node.input) > 1 else attribute(node, "axes")
    if axes is None or attribute(node, "keepdims", 1) != 1:
        return False
    rank = 4 if shape is None else len(shape)
    return rank == 4 and sorted(int(axis) % 4 for axis in np.asarray(axes)) == [2, 3]
