"""Operators of opsets that the version converter cannot lower: written out as older ones, or named in its error."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, helper

from edge_vseg.errors import ModelFileError
from edge_vseg.export.error_text import first_line
from edge_vseg.export.graph.index import GraphIndex, attribute, set_initializer

_WITH_A_BODY = ("RMSNormalization", "Swish", "SwiGLU", "RotaryEmbedding", "Attention", "LinearAttention")
"""Operators newer than opset 20 that the standard defines by older ones."""
_PER_GROUP = 20
"""Last opset whose GroupNormalization has a scale for each group; later ones have one for each channel."""
_NAMED = 3


def write_out_group_norm(model: onnx.ModelProto, opset: int) -> None:
    """Replace GroupNormalization, in place, by the InstanceNormalization that exporters write before opset 21.

    The standard withdrew its first form, which the checker refuses, and no converter knows the second.

    Args:
        model: Of opset 13 or newer, its nodes in order.
        opset: Which one.

    Raises:
        ModelFileError: If neither the rank of a node's input nor the number of its channels is known.
    """
    graph = model.graph
    if not any(node.op_type == "GroupNormalization" for node in graph.node):
        return
    # The first form is not one that shapes are inferred through, and does not ask for them.
    index = GraphIndex(onnx.shape_inference.infer_shapes(model) if opset > _PER_GROUP else model)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += _group_norm(graph, node, index, opset) if node.op_type == "GroupNormalization" else [node]
    _replace_nodes(graph, nodes)


def inline_newer(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model with operators that are newer than ``opset`` written as those that the standard defines them by."""
    newer = [("", name) for name in _WITH_A_BODY if any(node.op_type == name for node in model.graph.node)]
    if not newer or next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) <= opset:
        return model
    typed = onnx.shape_inference.infer_shapes(model)
    # What such an operator is written as depends on the types of its inputs, and the inliner looks for them there.
    known = {value.name for value in typed.graph.value_info}
    typed.graph.value_info.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in typed.graph.initializer
        if tensor.name not in known
    )
    return onnx.inliner.inline_selected_functions(typed, newer, inline_schema_functions=True)


def why_not_converted(model: onnx.ModelProto, error: Exception) -> str:
    """The version converter's reason, with the operators and the nodes that it speaks of."""
    said = re.sub(r"^\S+:\d+: \w+: Assertion `.*` failed:\s*", "", first_line(error))
    said = re.sub(r"DataType \((\d+)\)", lambda found: TensorProto.DataType.Name(int(found[1])), said).rstrip(".")
    nodes = [node for node in model.graph.node if re.search(rf"\b{node.op_type}\b", said)]
    names = ", ".join(repr(node.name or node.output[0]) for node in nodes[:_NAMED])
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return f"{said} ({nodes[0].op_type} {names}{more})" if nodes else said


def _group_norm(graph: onnx.GraphProto, node: onnx.NodeProto, index: GraphIndex, opset: int) -> list[onnx.NodeProto]:
    x, scale, bias = node.input
    name, groups = node.output[0], int(attribute(node, "num_groups", 1))  # type: ignore[call-overload]
    made: list[onnx.NodeProto] = []

    def add(op_type: str, *inputs: str, to: str, **attributes: float) -> str:
        made.append(helper.make_node(op_type, inputs, [to], name=to, **attributes))
        return to

    def constant(suffix: str, value: list[int] | np.ndarray) -> str:
        return set_initializer(graph, f"{name}.{suffix}", np.asarray(value))

    grouped = add("Reshape", x, constant("groups", [0, groups, -1]), to=f"{name}.grouped")
    epsilon = float(attribute(node, "epsilon", 1e-5))  # type: ignore[arg-type]
    if opset <= _PER_GROUP:
        normal = add("InstanceNormalization", grouped, scale, bias, to=f"{name}.normal", epsilon=epsilon)
        add("Reshape", normal, add("Shape", x, to=f"{name}.shape"), to=name)
        return made
    ones, zeros = constant("ones", np.ones(groups, np.float32)), constant("zeros", np.zeros(groups, np.float32))
    normal = add("InstanceNormalization", grouped, ones, zeros, to=f"{name}.normal", epsilon=epsilon)
    shape, channels = index.shape(x), (index.shape(scale) or (None,))[0]
    if shape is None and channels is None:
        raise ModelFileError(
            f"GroupNormalization {node.name or name!r} has an input of unknown rank and computed scales; export the"
            " network with fixed shapes"
        )
    whole_shape = add("Shape", x, to=f"{name}.shape")
    # Of unknown rank: all positions in one dimension.
    target = whole_shape if shape is not None else constant("channels", [0, int(channels or 0), -1])
    axes = constant("axes", list(range(1, len(shape) - 1 if shape is not None else 2)))
    whole = add("Reshape", normal, target, to=f"{name}.whole")
    scaled = add("Mul", whole, add("Unsqueeze", scale, axes, to=f"{name}.scale"), to=f"{name}.scaled")
    moved = name if shape is not None else f"{name}.moved"
    add("Add", scaled, add("Unsqueeze", bias, axes, to=f"{name}.bias"), to=moved)
    if shape is None:
        add("Reshape", moved, whole_shape, to=name)
    return made


def _replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
