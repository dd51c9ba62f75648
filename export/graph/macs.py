"""Count multiply-accumulates and parameters of a canonical graph."""

from __future__ import annotations

import math
from typing import cast

import onnx

from edge_vseg.export.graph.index import GraphIndex


def count_macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of one run: convolutions, transposed convolutions and matrix products."""
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    return sum(node_macs(index, node) for node in index.graph.node)


def node_macs(index: GraphIndex, node: onnx.NodeProto) -> int:
    """Multiply-accumulates of one node; 0 where its shapes are unknown."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    weight, output, image = (index.shape(name) for name in (node.input[1], node.output[0], node.input[0]))
    if weight is None or output is None or image is None:
        return 0
    w, o, i = (cast("tuple[int, ...]", shape) for shape in (weight, output, image))
    match node.op_type:
        case "Conv":
            return math.prod(o) * math.prod(w[1:])
        case "ConvTranspose":
            return math.prod(i) * math.prod(w[1:])
        case _:
            return math.prod(o) * i[-1]


def count_parameters(model: onnx.ModelProto) -> int:
    """Number of trained values."""
    return sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
