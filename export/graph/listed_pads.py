"""Write pads that torch computes from the size of the image by operators that keep lists flat.

torch lists pads from the last axis on, before and after in turn, and ONNX from the first one on, all before and then
all after. Where they depend on the size, as in padding that is called "same", torch.onnx turns the list round by a
Reshape to pairs, a Slice backwards, a Transpose and a Reshape. onnxslim (0.1.98) forgets the pairs, turns the flat list
round, and pads the other sides.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute, set_initializer

_PAIRS, _FLAT = [-1, 2], [-1]
_FIRST = np.iinfo(np.int64).min + 1
"""As an end of a Slice that goes backwards: up to the first value, and with it."""


def keep_pads_flat(model: onnx.ModelProto) -> None:
    """Compute the pads of every Pad without pairs, in place; what is no longer read stays.

    Args:
        model: Of opset 10 or newer.
    """
    index = GraphIndex(model)
    turned = {}
    for node in model.graph.node:
        if node.op_type == "Pad" and len(node.input) > 1:
            last = _computed(index, node.input[1])
            listed = _torchs_list(index, last)
            if last is not None and listed is not None:
                turned[last.output[0]] = listed
    if not turned:
        return
    nodes = []
    for node in model.graph.node:
        if node.output[0] in turned:
            nodes += _in_onnxs_order(model.graph, turned[node.output[0]], node.output[0])
        else:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _computed(index: GraphIndex, name: str) -> onnx.NodeProto | None:
    """What a tensor comes from, before casts."""
    node = index.producer.get(name)
    while node is not None and node.op_type in ("Cast", "Identity"):
        node = index.producer.get(node.input[0])
    return node


def _torchs_list(index: GraphIndex, node: onnx.NodeProto | None) -> str | None:
    """The list that the operator and those before it bring into ONNX's order; ``None`` if they do something else."""
    if node is None or node.op_type != "Reshape" or not _is(index, node.input[1], _FLAT):
        return None
    transpose = index.producer.get(node.input[0])
    if transpose is None or transpose.op_type != "Transpose" or attribute(transpose, "perm", [1, 0]) != [1, 0]:
        return None
    back = index.producer.get(transpose.input[0])
    if back is None or back.op_type != "Slice" or len(back.input) != 5:
        return None
    starts, ends, axes, steps = back.input[1:]
    backwards = _is(index, starts, [-1]) and _is(index, axes, [0]) and _is(index, steps, [-1])
    end = index.constant(ends)
    pairs = index.producer.get(back.input[0])
    if not backwards or end is None or end.reshape(-1)[0] > np.iinfo(np.int32).min:
        return None
    if pairs is None or pairs.op_type != "Reshape" or not _is(index, pairs.input[1], _PAIRS):
        return None
    joined = index.producer.get(pairs.input[0])
    # What several lists are joined to is one, too.
    return pairs.input[0] if joined is not None and joined.op_type == "Concat" else None


def _is(index: GraphIndex, name: str, values: list[int]) -> bool:
    constant = index.constant(name)
    return constant is not None and constant.reshape(-1).tolist() == values


def _in_onnxs_order(graph: onnx.GraphProto, listed: str, output: str) -> list[onnx.NodeProto]:
    """Every second value from behind: those before, then those after."""
    nodes, parts = [], []
    end, axis, step = (
        set_initializer(graph, f"{output}.{what}", np.array([value], np.int64))
        for what, value in (("end", _FIRST), ("axis", 0), ("step", -2))
    )
    for what, start in (("before", -2), ("after", -1)):
        begin = set_initializer(graph, f"{output}.{what}.start", np.array([start], np.int64))
        parts.append(f"{output}.{what}")
        nodes.append(helper.make_node("Slice", [listed, begin, end, axis, step], parts[-1:], name=parts[-1]))
    return [*nodes, helper.make_node("Concat", parts, [output], name=output, axis=0)]
