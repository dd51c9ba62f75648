"""Make a network that was exported for a fixed batch of images take one."""

from __future__ import annotations

import numpy as np
import onnx

from edge_vseg.export.graph.index import GraphIndex, set_initializer

_SHAPE_INPUTS = {"Reshape": 1, "Expand": 1, "Resize": 3}
"""Operators that take the shape of their result as a constant, and at which input."""


def take_one_image(model: onnx.ModelProto, batch: int) -> None:
    """Write 1 where constant shapes begin with the batch; whether that was all shows when shapes are inferred.

    Args:
        model: Changed in place; its input has a batch of 1 already.
        batch: Number of images that it was exported for.
    """
    index = GraphIndex(model)
    for node in model.graph.node:
        at = _SHAPE_INPUTS.get(node.op_type, len(node.input))
        shape = index.constant(node.input[at]) if at < len(node.input) and node.input[at] else None
        if shape is None or not np.issubdtype(shape.dtype, np.integer) or not shape.size or shape[0] != batch:
            continue
        one = shape.copy()
        one[0] = 1
        node.input[at] = set_initializer(model.graph, f"{node.output[0]}.one_image", one)
