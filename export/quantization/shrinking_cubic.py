"""Cubic resizes that shrink: ONNX Runtime runs them in float, and in an int8 graph only with antialias."""

from __future__ import annotations

import onnx

from edge_vseg.export.graph.index import GraphIndex, attribute
from edge_vseg.export.graph.layer_names import noted_layer


def shrinking_cubic(model: onnx.ModelProto) -> tuple[str, ...]:
    """The layers of such resizes, as the user knows them.

    ONNX Runtime turns an int8 graph to NHWC, and has no cubic kernel for that which shrinks.

    Args:
        model: A float graph with shapes.
    """
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    found = []
    for node in model.graph.node:
        if node.op_type != "Resize" or attribute(node, "mode") != "cubic" or attribute(node, "antialias", 0):
            continue
        before, after = index.shape(node.input[0]) or (), index.shape(node.output[0]) or ()
        if any(old and new and new < old for old, new in zip(before, after, strict=False)):
            found.append(noted_layer(node) or node.name)
    return tuple(found)
