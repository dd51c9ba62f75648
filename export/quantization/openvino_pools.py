"""Write the average pools that OpenVINO would compute otherwise as a padding and a pool.

OpenVINO (2026.4) divides by the whole window where ``ceil_mode`` lets it reach beyond the padding that counts; the
standard, ONNX Runtime and torch count what lies within.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx
from onnx import helper

from edge_vseg.export.graph.index import attribute, set_initializer


def write_out_pools(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, or a copy without average pools that OpenVINO misreads.

    Args:
        model: A canonical graph, float or QDQ.
    """
    if not any(_is_misread(node) for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        nodes.extend(_padded_before(copy.graph, node) if _is_misread(node) else [node])
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy


def _is_misread(node: onnx.NodeProto) -> bool:
    rounds_up = node.op_type == "AveragePool" and attribute(node, "ceil_mode", 0) == 1
    return rounds_up and attribute(node, "count_include_pad", 0) == 1


def _padded_before(graph: onnx.GraphProto, pool: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Zeros around the tensor, and a pool without padding, which divides by what it finds."""
    axes = len(cast("list[int]", attribute(pool, "kernel_shape")))
    pads = cast("list[int]", attribute(pool, "pads", [0] * 2 * axes))
    kept = [each for each in pool.attribute if each.name not in ("pads", "count_include_pad")]
    del pool.attribute[:]
    pool.attribute.extend(kept)
    if not any(pads):
        return [pool]
    sides = np.asarray([0, 0, *pads[:axes], 0, 0, *pads[axes:]], np.int64)
    padded = f"{pool.output[0]}.padded"
    pad = helper.make_node("Pad", [pool.input[0], set_initializer(graph, f"{padded}.sides", sides)], [padded], padded)
    pool.input[0] = padded
    return [pad, pool]
