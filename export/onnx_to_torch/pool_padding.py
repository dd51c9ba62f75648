"""Fold a Pad node of minus infinity into the MaxPool behind it, as exporters from TensorFlow and Paddle write it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_LOWEST = -1e30
"""Padding below this stands for minus infinity."""


def fold_pool_padding(nodes: Sequence[onnx.NodeProto], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes, with the padding of such a Pad in the attributes of its MaxPool.

    Args:
        nodes: The nodes of the graph, in order.
        graph: Where the constants and the outputs are.
    """
    reads = Counter([*(name for node in nodes for name in node.input), *(output.name for output in graph.output)])
    pads = {node.output[0]: node for node in nodes if _is_constant_pad(node) and reads[node.output[0]] == 1}
    if not pads:
        return list(nodes)
    constants = _constants(nodes, graph)
    folded: dict[str, onnx.NodeProto] = {}
    dropped: set[str] = set()
    for node in nodes:
        pad = pads.get(node.input[0]) if node.op_type == "MaxPool" else None
        added = None if pad is None else _spatial_padding(pad, constants)
        if pad is not None and added is not None and (pool := _padded_pool(node, pad.input[0], added)) is not None:
            folded[node.output[0]] = pool
            dropped.add(pad.output[0])
    kept = [node for node in nodes if not (node.output and node.output[0] in dropped)]
    return [folded.get(node.output[0], node) if node.output else node for node in kept]


def _is_constant_pad(node: onnx.NodeProto) -> bool:
    return node.op_type == "Pad" and bool(_attributes(node).get("mode", b"constant") == b"constant")


def _spatial_padding(pad: onnx.NodeProto, constants: dict[str, NDArray[Any]]) -> list[int] | None:
    """``begin`` then ``end`` of the spatial axes; ``None`` if the node does anything else."""
    attributes = _attributes(pad)
    if "pads" in attributes:  # before opset 11
        sides, value = list(attributes["pads"]), attributes.get("value", 0.0)
    else:
        given = [constants.get(name) for name in pad.input[1:]]
        if len(given) != 2 or given[0] is None or given[1] is None or given[1].size != 1:
            return None
        sides, value = given[0].tolist(), given[1].item()
    rank = len(sides) // 2
    spatial = [*sides[2:rank], *sides[rank + 2 :]]
    only_spatial = not any((*sides[:2], *sides[rank : rank + 2]))
    return spatial if value < _LOWEST and only_spatial and min(sides) >= 0 else None


def _padded_pool(pool: onnx.NodeProto, source: str, added: Sequence[int]) -> onnx.NodeProto | None:
    attributes = _attributes(pool)
    if attributes.pop("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or attributes.get("ceil_mode", 0):
        return None
    own = attributes.pop("pads", [0] * len(added))
    pads = [int(a + b) for a, b in zip(own, added, strict=True)]
    return helper.make_node("MaxPool", [source], list(pool.output), name=pool.name, pads=pads, **attributes)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _constants(nodes: Sequence[onnx.NodeProto], graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if np.prod(tensor.dims) <= 16}
    for node in nodes:
        if node.op_type == "Constant" and "value" in (attributes := _attributes(node)):
            arrays[node.output[0]] = numpy_helper.to_array(attributes["value"])
    return arrays
