"""Write TopK with k = 1 as a maximum and where it is, which every runtime has and quantizes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute, set_initializer


def simplify_top_one(model: onnx.ModelProto) -> None:
    """Replace TopK of one element by ReduceMax and ArgMax, or by the least, in place; others stay.

    Of equal values both take the first.

    Args:
        model: Of opset 18 or newer.
    """
    index = GraphIndex(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        count = index.constant(node.input[1]) if node.op_type == "TopK" else None
        nodes += [node] if count is None or count.tolist() not in (1, [1]) else _top_one(model.graph, node, index)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _top_one(graph: onnx.GraphProto, node: onnx.NodeProto, index: GraphIndex) -> list[onnx.NodeProto]:
    x, (values, where) = node.input[0], (*node.output, "")[:2]
    axis = int(attribute(node, "axis", -1))  # type: ignore[call-overload]
    kind = "Max" if attribute(node, "largest", 1) else "Min"
    made = []
    if values in index.consumers or any(output.name == values for output in graph.output):
        axes = set_initializer(graph, f"{values}.axes", np.array([axis], np.int64))
        made.append(helper.make_node(f"Reduce{kind}", [x, axes], [values], name=values, keepdims=1))
    if where and (where in index.consumers or any(output.name == where for output in graph.output)):
        made.append(helper.make_node(f"Arg{kind}", [x], [where], name=where, axis=axis, keepdims=1))
    return made
