"""Give an int8 graph the pixels as they are: 8 bits are enough for them, but not for pixels less a mean per channel."""

from __future__ import annotations

import numpy as np
import onnx

from edge_vseg.export.graph.index import GraphIndex, attribute, prune, set_initializer
from edge_vseg.export.graph.input_stage import FRAME

PIXELS = f"{FRAME}.pixels"


def with_whole_mean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Subtract one whole number from all channels, and let the biases of the first layers make up for the rest.

    Pixels less the means of ImageNet span 276 levels, so that rounding them to 8 bits blurs them by half a level; less
    one whole number they span 256, which int8 represents exactly (and ONNX Runtime then reads the bytes of the frame;
    see :mod:`~edge_vseg.export.quantization.uint8_input`). Only where the first layer pads does the result differ: the
    mean colour outside the image becomes a grey of about the same brightness.

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
    for node in readers:
        weight = np.asarray(index.constant(node.input[1]), np.float64)
        bias = np.asarray(index.constant(node.input[2]), np.float64) if len(node.input) > 2 else np.zeros(len(weight))
        bias = bias + np.einsum("ocij,c->o", weight, whole - mean)
        name = set_initializer(copy.graph, f"{node.output[0]}.bias_on_pixels", bias.astype(np.float32))
        del node.input[2:]
        node.input.append(name)
    stage.input[1] = set_initializer(copy.graph, f"{FRAME}.whole_mean", np.array(whole, np.float32))
    prune(copy)
    return onnx.shape_inference.infer_shapes(copy)


def _is_plain(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a node is a convolution over all channels with constant weights."""
    known = node.op_type == "Conv" and node.input[0] == PIXELS and attribute(node, "group", 1) == 1
    return known and all(index.constant(name) is not None for name in node.input[1:])
