"""Give transposed convolutions weights of their own, for OpenVINO.

OpenVINO (2026.4, on a CPU) lays weights out once for all that read them, and a transposed convolution that shares them
with a convolution then gives wrong sums. A copy is no help: equal constants are one again in the file.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge_vseg.export.graph.index import attribute, set_initializer


def separate_transposed_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, or a copy in which shared weights of transposed convolutions have one more column, of zeros.

    Args:
        model: A graph with constant weights as initializers.
    """
    content = {t.name: (tuple(t.dims), numpy_helper.to_array(t).tobytes()) for t in _large(model)}
    readers: dict[object, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(content.get(name, name), set()).add(node.op_type)
    shared = [
        node.name
        for node in model.graph.node
        if node.op_type == "ConvTranspose"
        and node.input[1] in content
        and len(readers[content[node.input[1]]]) > 1
        and attribute(node, "auto_pad", "NOTSET") == "NOTSET"
        and attribute(node, "output_shape") is None
    ]
    if not shared:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = {t.name: t for t in copy.graph.initializer}
    for node in (n for n in copy.graph.node if n.name in shared):
        _widen(copy.graph, node, np.asarray(numpy_helper.to_array(tensors[node.input[1]])))
    return copy


def _large(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [t for t in model.graph.initializer if len(t.dims) > 2]


def _widen(graph: onnx.GraphProto, node: onnx.NodeProto, weight: NDArray[np.generic]) -> None:
    """Add a column of zeros to the kernel, and crop what it adds to the output."""
    axes = weight.ndim - 2
    pads = list(cast(list[int], attribute(node, "pads", [0] * 2 * axes)))
    pads[-1] += cast(list[int], attribute(node, "dilations", [1] * axes))[-1]
    wide = np.pad(weight, [(0, 0)] * (weight.ndim - 1) + [(0, 1)])
    node.input[1] = set_initializer(graph, f"{node.name}.own_weight", wide)
    kept = [a for a in node.attribute if a.name not in ("pads", "kernel_shape")]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("pads", pads)])
    node.attribute.append(helper.make_attribute("kernel_shape", list(wide.shape[2:])))
