"""Give an int8 graph the pixels as they are: 8 bits are enough for them, but not for pixels less a mean per channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute, prepend, prune, rewire, set_initializer
from edge_vseg.export.graph.input_stage import FRAME

PIXELS = f"{FRAME}.pixels"


def with_whole_mean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Subtract one whole number from all channels, and let the biases of the first layers make up for the rest.

    Pixels less the means of ImageNet span 276 levels, so that rounding them to 8 bits blurs them by half a level; less
    one whole number they span 256, which int8 represents exactly (and ONNX Runtime then reads the bytes of the frame;
    see :mod:`~edge_vseg.export.quantization.uint8_input`). Where the first layer pads with the mean colour, bytes of
    that colour are put around the frame instead, for zero is another colour now: without them up to 0.6 % of the pixels
    change their class. Where several layers read the frame and pad it differently, they pad with that other colour.

    Args:
        model: A graph with the input ``frame``; not changed.

    Returns:
        The same graph where nothing is to be done, or where something other than plain convolutions reads the pixels.
    """
    copy = onnx.shape_inference.infer_shapes(model)
    index = GraphIndex(copy)
    stage = index.producer.get(PIXELS)
    if stage is None or stage.op_type != "Sub":
        return model
    mean = np.broadcast_to(np.asarray(index.constant(stage.input[1]), np.float64).reshape(-1), 3)
    whole = float(np.round(mean.mean()))
    readers = index.consumers.get(PIXELS, [])
    if (mean == whole).all() or not readers or not all(_is_plain(node, index) for node in readers):
        return model
    pads = {_pads(node) for node in readers}
    surrounded = len(pads) == 1 and min(map(min, pads)) >= 0 and mean.min() >= 0 and mean.max() <= 255
    for node in readers:
        weight = np.asarray(index.constant(node.input[1]), np.float64)
        bias = np.asarray(index.constant(node.input[2]), np.float64) if len(node.input) > 2 else np.zeros(len(weight))
        bias = bias + np.einsum("ocij,c->o", weight, whole - mean)
        name = set_initializer(copy.graph, f"{node.output[0]}.bias_on_pixels", bias.astype(np.float32))
        del node.input[2:]
        node.input.append(name)
        kept = [each for each in node.attribute if each.name != "pads" or not surrounded]
        del node.attribute[:]
        node.attribute.extend(kept)
    stage.input[1] = set_initializer(copy.graph, f"{FRAME}.whole_mean", np.array(whole, np.float32))
    if surrounded:
        _surround(copy, pads.pop(), np.round(mean))
    prune(copy)
    return onnx.shape_inference.infer_shapes(copy)


def _pads(node: onnx.NodeProto) -> tuple[int, ...]:
    return tuple(cast(Sequence[int], attribute(node, "pads", (0, 0, 0, 0))))


def _surround(model: onnx.ModelProto, pads: tuple[int, ...], color: NDArray[np.float64]) -> None:
    """Put bytes of a colour around the frame, before anything else reads it."""
    graph = model.graph
    top, left, bottom, right = pads
    _, height, width, _ = (dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim)
    sides = {
        ("columns", 2): ((1, height, left, 3), (1, height, right, 3)),
        ("rows", 1): ((1, top, left + width + right, 3), (1, bottom, left + width + right, 3)),
    }
    nodes, current = [], FRAME
    for (name, axis), (before, after) in sides.items():
        parts = [
            [set_initializer(graph, f"{FRAME}.{name}_{end}", np.broadcast_to(color, shape).astype(np.uint8))]
            if 0 not in shape
            else []
            for end, shape in (("before", before), ("after", after))
        ]
        if parts[0] or parts[1]:
            target = f"{FRAME}.{name}"
            nodes.append(helper.make_node("Concat", [*parts[0], current, *parts[1]], [target], name=target, axis=axis))
            current = target
    rewire(graph, FRAME, current)
    prepend(graph, nodes)
    del graph.value_info[:]  # the input stage is larger now


def _is_plain(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a node is a convolution over all channels with constant weights."""
    known = node.op_type == "Conv" and node.input[0] == PIXELS and attribute(node, "group", 1) == 1
    known = known and attribute(node, "auto_pad", "NOTSET") == "NOTSET"
    return known and all(index.constant(name) is not None for name in node.input[1:])
