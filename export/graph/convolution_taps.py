"""Drop the taps of convolutions that only ever meet padding.

Atrous spatial pyramids with rates made for large images have many on small ones: of a 3x3 convolution at rate 36 on
16x32 cells only the centre is left, a ninth of the work (Chen et al., Rethinking Atrous Convolution for Semantic Image
Segmentation, 2017, section 3.3).
"""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute, prune, set_initializer


def drop_padding_taps(model: onnx.ModelProto) -> onnx.ModelProto:
    """Cut such taps off the kernels; the results stay the same, since padding is zero.

    Args:
        model: A graph with static shapes; not changed.

    Returns:
        The model with shapes inferred again, or the model itself if every tap meets the image.
    """
    model_with_shapes = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    index = GraphIndex(model_with_shapes)
    kept = {node.output[0]: ranges for node in model.graph.node if (ranges := _useful_taps(index, node)) is not None}
    if not kept:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    index = GraphIndex(copy)
    for node in copy.graph.node:
        if node.output and node.output[0] in kept:
            _cut(copy.graph, index, node, kept[node.output[0]])
    prune(copy)
    return onnx.shape_inference.infer_shapes(copy, strict_mode=True)


def _useful_taps(index: GraphIndex, node: onnx.NodeProto) -> list[range] | None:
    """For each spatial axis the taps to keep; ``None`` if that is all of them, or if it is not known."""
    if node.op_type != "Conv" or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        return None
    image, result, kernel = index.shape(node.input[0]), index.shape(node.output[0]), index.constant(node.input[1])
    if kernel is None or image is None or result is None or None in image or None in result:
        return None
    axes = kernel.ndim - 2
    pads, dilations, strides = _windows(node, axes)
    ranges: list[range] = []
    for axis in range(axes):
        size, count, taps = cast(int, image[axis + 2]), cast(int, result[axis + 2]), kernel.shape[axis + 2]
        places = np.arange(count)[:, None] * strides[axis] + np.arange(taps) * dilations[axis] - pads[axis]
        meets = [bool(np.any((column >= 0) & (column < size))) for column in places.T]
        start, stop = 0, taps
        # Cutting takes padding away with the tap, and there is no negative padding.
        while start < stop - 1 and not meets[start] and pads[axis] >= (start + 1) * dilations[axis]:
            start += 1
        while stop > start + 1 and not meets[stop - 1] and pads[axes + axis] >= (taps - stop + 1) * dilations[axis]:
            stop -= 1
        ranges.append(range(start, stop))
    return None if [len(r) for r in ranges] == list(kernel.shape[2:]) else ranges


def _windows(node: onnx.NodeProto, axes: int) -> tuple[list[int], list[int], list[int]]:
    """Padding, dilations and strides."""
    defaults = (("pads", [0] * 2 * axes), ("dilations", [1] * axes), ("strides", [1] * axes))
    pads, dilations, strides = (list(cast(list[int], attribute(node, name, value))) for name, value in defaults)
    return pads, dilations, strides


def _cut(graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto, ranges: list[range]) -> None:
    kernel = index.constant(node.input[1])
    assert kernel is not None
    pads, dilations, _ = _windows(node, len(ranges))
    for axis, taps in enumerate(ranges):
        pads[axis] -= taps.start * dilations[axis]
        pads[len(ranges) + axis] -= (kernel.shape[axis + 2] - taps.stop) * dilations[axis]
        if len(taps) == 1:
            dilations[axis] = 1
    cut = kernel
    for axis, taps in enumerate(ranges, start=2):
        cut = cut.take(taps, axis)
    node.input[1] = set_initializer(graph, f"{node.output[0]}.useful_taps", cut)
    changed = {"pads": pads, "dilations": dilations, "kernel_shape": list(cut.shape[2:])}
    others = [item for item in node.attribute if item.name not in changed]
    del node.attribute[:]
    node.attribute.extend([*others, *(helper.make_attribute(name, value) for name, value in changed.items())])
