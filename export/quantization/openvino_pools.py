"""Write the average pools that OpenVINO would compute otherwise as an average of what lies in the image, and a factor.

OpenVINO (2026.4) divides by the whole window where ``ceil_mode`` lets it reach beyond the padding that counts; the
standard, ONNX Runtime and torch count what lies within. And in int8 it pads with bytes of 0, which mean another number
than 0 where the range does not begin there. A padding in a node of its own is fused into the pool.
"""

from __future__ import annotations

from functools import reduce
from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute, set_initializer


def write_out_pools(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, or a copy without average pools that OpenVINO misreads; one of unknown size stays as it is.

    Args:
        model: A canonical graph, float or QDQ.
    """
    index = GraphIndex(model)
    if not any(_is_misread(node, index) for node in model.graph.node):
        return model
    copy = onnx.shape_inference.infer_shapes(model)
    index = GraphIndex(copy)
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        nodes.append(node)
        factor = _factor(node, index) if _is_misread(node, index) else None
        if factor is not None:
            nodes.append(_without_padding(copy.graph, node, factor))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy


def _is_misread(node: onnx.NodeProto, index: GraphIndex) -> bool:
    if node.op_type != "AveragePool" or attribute(node, "count_include_pad", 0) != 1:
        return False
    if attribute(node, "ceil_mode", 0) == 1:
        return True
    return any(cast("list[int]", attribute(node, "pads", []))) and _is_of_bytes(node.input[0], index)


def _is_of_bytes(name: str, index: GraphIndex) -> bool:
    """Whether a tensor is read as bytes of which 0 is not the number 0."""
    node = index.producer.get(name)
    if node is None or node.op_type != "DequantizeLinear":
        return False
    zero = index.constant(node.input[2]) if len(node.input) > 2 else None
    lowest = 0 if zero is None or zero.dtype.kind == "u" else -128
    return zero is not None and bool((zero != lowest).any())


def _factor(pool: onnx.NodeProto, index: GraphIndex) -> NDArray[np.float32] | None:
    """For each cell, how many pixels its window holds, out of those that it counts."""
    before, after = index.shape(pool.input[0]), index.shape(pool.output[0])
    kernel = cast("list[int]", attribute(pool, "kernel_shape"))
    axes = len(kernel)
    pads = cast("list[int]", attribute(pool, "pads", [0] * 2 * axes))
    strides = cast("list[int]", attribute(pool, "strides", [1] * axes))
    if (
        before is None
        or after is None
        or None in (*before, *after)
        or attribute(pool, "dilations", [1] * axes) != [1] * axes
    ):
        return None
    shares = []
    for axis in range(axes):
        size, cells = cast(int, before[axis + 2]), cast(int, after[axis + 2])
        first = np.arange(cells) * strides[axis] - pads[axis]
        counted = np.minimum(first + kernel[axis], size + pads[axes + axis]) - first
        held = np.minimum(first + kernel[axis], size) - np.maximum(first, 0)
        shares.append(held / counted)
    return np.asarray(reduce(np.multiply.outer, shares), np.float32)[None, None]


def _without_padding(graph: onnx.GraphProto, pool: onnx.NodeProto, factor: NDArray[np.float32]) -> onnx.NodeProto:
    """Let a pool average what its windows hold; the product that makes of it what it was."""
    name = pool.output[0]
    kept = [each for each in pool.attribute if each.name != "count_include_pad"]
    del pool.attribute[:]
    pool.attribute.extend(kept)
    pool.output[0] = f"{name}.held"
    return helper.make_node(
        "Mul", [f"{name}.held", set_initializer(graph, f"{name}.share", factor)], [name], f"{name}.all"
    )
