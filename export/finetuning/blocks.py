"""Where a graph may be trained block by block: tensors that everything behind them depends on."""

from __future__ import annotations

import onnx

from edge_vseg.export.graph.input_stage import is_input_node

MIN_NODES = 4
"""A block has at least so many nodes."""


def block_ends(model: onnx.ModelProto) -> list[str]:
    """Tensors that alone lead from one part of a graph to the rest, in order; the graph's output is not among them.

    Args:
        model: A graph whose nodes are in topological order.
    """
    constant = {t.name for t in model.graph.initializer}
    left = {o.name: 1 for o in model.graph.output}
    for node in model.graph.node:
        for name in node.input:
            if name and name not in constant:
                left[name] = left.get(name, 0) + 1
    outputs = {o.name for o in model.graph.output}
    live = {i.name for i in model.graph.input} - constant
    ends: list[str] = []
    since = 0
    for node in model.graph.node:
        since = 0 if is_input_node(node) else since + 1  # the input stage has nothing to learn
        if node.op_type == "Constant":
            left.pop(node.output[0], None)
            continue
        for name in node.input:
            if name in left:
                left[name] -= 1
                if not left[name]:
                    live.discard(name)
        live |= {name for name in node.output if left.get(name)}
        if len(live) == 1 and since >= MIN_NODES and not live & outputs:
            ends += live
            since = 0
    return ends
