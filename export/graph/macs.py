"""Count multiply-accumulates and parameters of a canonical graph."""

from __future__ import annotations

import math
from typing import cast

import onnx

from edge_vseg.export.graph.index import GraphIndex


def count_macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of one run: convolutions, transposed convolutions and matrix products."""
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    total = 0
    for node in index.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        weight, output, image = (index.shape(n) for n in (node.input[1], node.output[0], node.input[0]))
        if weight is None or output is None or image is None:
            continue
        w, o, i = (cast(tuple[int, ...], s) for s in (weight, output, image))
        match node.op_type:
            case "Conv":
                total += math.prod(o) * math.prod(w[1:])
            case "ConvTranspose":
                total += math.prod(i) * math.prod(w[1:])
            case _:
                total += math.prod(o) * i[-1]
    return total


def count_parameters(model: onnx.ModelProto) -> int:
    """Number of trained values."""
    return sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
