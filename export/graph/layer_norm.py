"""Replace layer normalization that is written out, as exporters do below opset 17, by one LayerNormalization node.

Runtimes put its nine operators together again in a float graph, but not where quantizing put roundings between them.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute


def fuse_layer_norm(model: onnx.ModelProto) -> None:
    """Replace ``(x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * scale + shift`` over the last axis, in place.

    Args:
        model: A graph of opset 18 or later with shapes; what nothing reads any more is left in it.
    """
    index = GraphIndex(model)
    outputs = {output.name for output in model.graph.output}
    for node in model.graph.node:
        found = _match(node, index)
        if found is None:
            continue
        inside, inputs, epsilon = found
        if any(name in outputs for part in inside for name in part.output) or not _closed(inside, node, index):
            continue
        node.CopyFrom(
            helper.make_node("LayerNormalization", inputs, node.output, name=node.name, axis=-1, epsilon=epsilon)
        )


Found = tuple[list[onnx.NodeProto], list[str], float]
"""The operators inside, the inputs of the new node, and epsilon."""


def _match(node: onnx.NodeProto, index: GraphIndex) -> Found | None:
    """What ends in the sum of ``shift``, if that is a layer normalization."""
    scaled, shift = _split(node, "Add", index)
    normal, scale = _split(scaled, "Mul", index)
    if normal is None or normal.op_type != "Div":
        return None
    centered, root = (index.producer.get(name) for name in normal.input)
    if centered is None or root is None or (centered.op_type, root.op_type) != ("Sub", "Sqrt"):
        return None
    variance, epsilon = _split(index.producer.get(root.input[0]), "Add", index)
    mean = index.producer.get(centered.input[1])
    square = None if variance is None else index.producer.get(variance.input[0])
    if mean is None or variance is None or square is None or not _squares(square, centered.output[0], index):
        return None
    x = centered.input[0]
    if mean.input[0] != x or not (_means_last(mean, x, index) and _means_last(variance, x, index)):
        return None
    width, value = (index.shape(x) or (None,))[-1], _scalar(index, epsilon)
    if value is None or any(index.shape(name) != (width,) for name in (scale, shift)):
        return None
    assert scaled is not None
    inside = [scaled, normal, root, index.producer[root.input[0]], variance, square, centered, mean]
    return inside, [x, scale, shift], value


def _split(node: onnx.NodeProto | None, op_type: str, index: GraphIndex) -> tuple[onnx.NodeProto | None, str]:
    """What makes the computed operand of a node, and the name of the constant one."""
    if node is None or node.op_type != op_type or len(node.input) != 2:
        return None, ""
    for one, other in (node.input, list(reversed(node.input))):
        if other in index.initializer:
            return index.producer.get(one), other
    return None, ""


def _squares(node: onnx.NodeProto, name: str, index: GraphIndex) -> bool:
    if node.op_type == "Mul":
        return list(node.input) == [name, name]
    return node.op_type == "Pow" and node.input[0] == name and _scalar(index, node.input[1]) == 2


def _means_last(node: onnx.NodeProto, x: str, index: GraphIndex) -> bool:
    """Whether a node is the mean over the last axis, which it keeps."""
    axes = index.constant(node.input[1]) if node.op_type == "ReduceMean" and len(node.input) > 1 else None
    shape = index.shape(x)
    if axes is None or shape is None or attribute(node, "keepdims", 1) != 1:
        return False
    return [int(axis) % len(shape) for axis in np.ravel(axes)] == [len(shape) - 1]


def _scalar(index: GraphIndex, name: str) -> float | None:
    value: NDArray[np.generic] | None = index.constant(name) if name else None
    return float(value.item()) if value is not None and value.size == 1 else None


def _closed(inside: list[onnx.NodeProto], last: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether nothing outside reads what is computed inside."""
    names = {part.output[0] for part in inside} | {last.output[0]}
    readers = (reader for part in inside for reader in index.consumers.get(part.output[0], []))
    return all(reader.output[0] in names for reader in readers)
