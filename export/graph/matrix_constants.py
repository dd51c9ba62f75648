"""Write a constant that takes part in a matrix product as one matrix, where it is one for all images.

ONNX Runtime does not run an int8 product with a constant ``(1, K, N)``, as ``torch.bmm`` with a dictionary of bases
gives it.
"""

from __future__ import annotations

import onnx

from edge_vseg.export.graph.index import GraphIndex, set_initializer


def flatten_matrix_constants(model: onnx.ModelProto) -> None:
    """Drop leading axes of length one from constants that products read, in place.

    Args:
        model: With shapes.
    """
    index = GraphIndex(model)
    for node in model.graph.node:
        if node.op_type != "MatMul":
            continue
        for at, other in ((0, 1), (1, 0)):
            value, beside = index.constant(node.input[at]), index.shape(node.input[other])
            if value is None or beside is None or value.ndim < 3 or len(beside) < value.ndim:
                continue
            if set(value.shape[:-2]) == {1}:
                flat = value.reshape(value.shape[-2:])
                node.input[at] = set_initializer(model.graph, f"{node.input[at]}.matrix", flat)


def stacks_of_constants(model: onnx.ModelProto) -> list[str]:
    """Names of products with a constant that holds another matrix for each head or row."""
    index = GraphIndex(model)
    products = (node for node in model.graph.node if node.op_type == "MatMul")
    constants = ((node, index.constant(name)) for node in products for name in node.input)
    return [node.name for node, value in constants if value is not None and value.ndim > 2]
