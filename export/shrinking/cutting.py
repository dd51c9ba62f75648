"""Cut channels out of a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import onnx

from edge_vseg.export.graph.index import GraphIndex, prune, set_initializer
from edge_vseg.export.shrinking.channels import GROUP, Channel


def cut_channels(model: onnx.ModelProto, removed: Iterable[Channel]) -> onnx.ModelProto:
    """A graph without some of its channels.

    Args:
        model: The graph; not changed.
        removed: Channels to cut, as :func:`~edge_vseg.export.shrinking.channels.find_channels` found them in it.

    Returns:
        The smaller graph, with the same inputs and outputs.
    """
    gone: dict[tuple[str, int], set[int]] = {}
    lost: Counter[tuple[str, int, int]] = Counter()
    for channel in removed:
        lost.update(channel.counted)
        for constant, axis, at in channel.held:
            gone.setdefault((constant, axis), set()).add(at)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _delete(copy, gone)
    _recount(copy, lost)
    prune(copy)
    for output in copy.graph.output:  # their shapes stay; others are inferred anew
        assert output.type.tensor_type.HasField("shape"), "a canonical graph has static shapes"
    return onnx.shape_inference.infer_shapes(copy, strict_mode=True)


def _delete(model: onnx.ModelProto, gone: dict[tuple[str, int], set[int]]) -> None:
    index = GraphIndex(model)
    arrays = {constant: np.asarray(index.constant(constant)) for constant, _ in gone}
    for (constant, axis), at in gone.items():
        arrays[constant] = np.delete(arrays[constant], sorted(at), axis)
    for constant, array in arrays.items():
        set_initializer(model.graph, constant, array)


def _recount(model: onnx.ModelProto, lost: Counter[tuple[str, int, int]]) -> None:
    """Take the channels that were cut off from the integers that count them."""
    index, nodes = GraphIndex(model), {node.name: node for node in model.graph.node}
    for (name, at, position), count in lost.items():
        node = nodes[name]
        if at == GROUP:
            for attribute in node.attribute:
                if attribute.name == "group":
                    attribute.i -= count
            continue
        # A constant of its own: others may read the present one.
        numbers = np.array(index.constant(node.input[at]))
        own = f"{node.output[0]}.count{at}"
        numbers.reshape(-1)[position] -= count
        node.input[at] = set_initializer(model.graph, own, numbers)
