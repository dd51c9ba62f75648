"""Bring the resizing of opset 10 and older to the canonical form: its sampling, and how it rounds."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute, set_initializer

LAST_OLD_OPSET = 10
_RESIZES = ("Upsample", "Resize")


def restore_asymmetric(model: onnx.ModelProto) -> None:
    """Restore the sampling at ``x * scale``, which the converter drops, in a model that was of an old opset."""
    for node in model.graph.node:
        if node.op_type not in _RESIZES:
            continue
        kept = [a for a in node.attribute if a.name == "mode"]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
        node.attribute.append(helper.make_attribute("nearest_mode", "floor"))


def round_up_where_shrinking(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let resizes to the nearest pixel round up along the axes that they shrink, as ONNX Runtime runs them.

    Old opsets did not say how to round. Newer ones have one word for all axes, so a resize that enlarges others is
    split in two.

    Args:
        model: A simplified model that was of an old opset, so that the scales are constants; changed.
    """
    index = GraphIndex(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nearest = node.op_type == "Resize" and attribute(node, "mode", "nearest") == "nearest" and len(node.input) > 2
        constant = index.constant(node.input[2]) if nearest else None
        scales = np.ones(1, np.float32) if constant is None else np.asarray(constant, np.float32)
        if not (scales < 1).any():
            nodes.append(node)
            continue
        if (scales > 1).any():
            rest = onnx.NodeProto()
            rest.CopyFrom(node)
            small = f"{node.output[0]}.small"
            rest.input[0], rest.input[2] = small, set_initializer(model.graph, f"{small}.rest", np.maximum(scales, 1))
            node.output[0] = small
            node.input[2] = set_initializer(model.graph, f"{small}.scales", np.minimum(scales, 1))
            nodes.extend([node, rest])
        else:
            nodes.append(node)
        for rounding in (a for a in node.attribute if a.name == "nearest_mode"):
            rounding.s = b"ceil"
    made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(made)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)
