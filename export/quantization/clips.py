"""Find the Clips that a quantizer may not drop: rounding clips at the ends of a range, and every range holds 0."""

from __future__ import annotations

import numpy as np
import onnx

from edge_vseg.export.graph.index import GraphIndex


def clips_beyond_zero(model: onnx.ModelProto) -> list[str]:
    """Names of the Clips with a bound that cuts 0 off, or that the network computes.

    Args:
        model: A float graph with named nodes.
    """
    index = GraphIndex(model)
    return [node.name for node in model.graph.node if node.op_type == "Clip" and not _lets_zero_pass(node, index)]


def _lets_zero_pass(node: onnx.NodeProto, index: GraphIndex) -> bool:
    for name, passes in zip(node.input[1:], (np.less_equal, np.greater_equal), strict=False):
        bound = index.constant(name) if name else np.zeros(1, np.float32)
        if bound is None or not passes(bound, 0).all():
            return False
    return True
