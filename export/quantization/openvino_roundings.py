"""Round what some of OpenVINO's int8 kernels read once more, since they are slow or wrong without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, set_initializer, sort_nodes
from edge_vseg.export.quantization.sensitivity import Ranges

SMALLEST_STEP = 1e-7
"""OpenVINO (2026.4) takes the zero point of a smaller scale for 0: seen at 1e-9, and not at 1e-8."""
_EXTREMES = ("ReduceMax", "ReduceMin")
_PASSED_ON = frozenset(
    {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Exp", "Sqrt", "Pow", "Max", "Min", "Clip", "Relu", "LeakyRelu", "PRelu"}
    | {"Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Erf", "Gelu", "Mish", "Floor", "Round"}
)
"""What OpenVINO may compute in the kernel of what it reads, together with the rounding behind it."""


def round_for_transposed(graph: onnx.ModelProto, ranges: Ranges, float_nodes: Sequence[str]) -> None:
    """Round what transposed convolutions read once more, in a symmetric range: OpenVINO has no other int8 kernel.

    The tensor keeps its own range, which begins at 0 behind a Relu, because the quantizer has dropped that Relu.
    """
    producer = {name: node for node in graph.graph.node for name in node.output}
    for node in [n for n in graph.graph.node if n.op_type == "ConvTranspose" and n.name not in float_nodes]:
        first = producer.get(node.input[0])
        name = "" if first is None else first.input[0].removesuffix("_QuantizeLinear_Output")
        if first is None or first.op_type != "DequantizeLinear" or name not in ranges:
            continue
        _round(graph, node, max(*map(abs, ranges[name]), 1e-12) / 127, 0)
    sort_nodes(graph.graph)


def round_for_extremes(graph: onnx.ModelProto, ranges: Ranges) -> None:
    """Round what a maximum or minimum along axes reads where what it gives is rounded.

    OpenVINO (2026.4) computes both in one kernel, which from floats gives wrong bytes: 10 dB above the error, and
    nothing but the minimum that a byte holds. Of a rounded tensor it is right, and the maximum is one of its values.
    """
    index = GraphIndex(graph)
    for node in [n for n in graph.graph.node if n.op_type in _EXTREMES]:
        written_by = index.producer.get(node.input[0])
        rounded = written_by is not None and written_by.op_type == "DequantizeLinear"
        if rounded or node.input[0] not in ranges or not _is_rounded_behind(node, index):
            continue
        lowest, highest = min(ranges[node.input[0]][0], 0.0), max(ranges[node.input[0]][1], 0.0)
        scale = max((highest - lowest) / 255, SMALLEST_STEP)
        _round(graph, node, scale, round(-128 - lowest / scale))
    sort_nodes(graph.graph)


def _is_rounded_behind(node: onnx.NodeProto, index: GraphIndex) -> bool:
    readers = index.consumers.get(node.output[0], [])
    return any(
        each.op_type == "QuantizeLinear" or (each.op_type in _PASSED_ON and _is_rounded_behind(each, index))
        for each in readers
    )


def _round(graph: onnx.ModelProto, node: onnx.NodeProto, scale: float, zero_point: int) -> None:
    """Let a node read its first input in int8, whatever others read."""
    step = set_initializer(graph.graph, f"{node.name}.scale", np.array(scale, np.float32))
    zero = set_initializer(graph.graph, f"{node.name}.zero", np.array(zero_point, np.int8))
    rounded, again = f"{node.name}.rounded", f"{node.name}.read"
    graph.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", [node.input[0], step, zero], [rounded], name=rounded),
            helper.make_node("DequantizeLinear", [rounded, step, zero], [again], name=again),
        ]
    )
    node.input[0] = again
