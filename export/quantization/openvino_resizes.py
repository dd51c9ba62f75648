"""Write the resizes that OpenVINO would compute otherwise as matrix products.

OpenVINO (2026.4) reads a Resize from ONNX without ``antialias``, which smooths before shrinking, and without
``exclude_outside``, and says nothing.
"""

from __future__ import annotations

import onnx
from onnx import helper

from edge_vseg.errors import QuantizationError
from edge_vseg.export.graph.index import GraphIndex, attribute, set_initializer

_RESIZE_VERSION = 19
"""Of the operator in the canonical opset."""


def write_out_resizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, or a copy without the resizes that OpenVINO does not know.

    Args:
        model: A canonical graph, float or QDQ.

    Raises:
        QuantizationError: If the size of such a resize is not known.
    """
    if not any(_is_special(node) for node in model.graph.node):
        return model
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    misread = {node.output[0] for node in model.graph.node if _is_special(node) and not _only_enlarges(node, index)}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.extend(_as_products(copy.graph, node, index) if node.output[0] in misread else [node])
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _is_special(node: onnx.NodeProto) -> bool:
    if node.op_type != "Resize":
        return False
    mode = attribute(node, "mode", "nearest")
    smooth = mode in ("linear", "cubic") and attribute(node, "antialias", 0) == 1
    return smooth or (mode == "cubic" and attribute(node, "exclude_outside", 0) == 1)


def _only_enlarges(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether there is nothing to smooth, and nothing to exclude."""
    before, after = index.shape(node.input[0]), index.shape(node.output[0])
    if attribute(node, "exclude_outside", 0) == 1 or before is None or after is None:
        return False
    return all(a is not None and b is not None and a <= b for a, b in zip(before, after, strict=True))


def _as_products(graph: onnx.GraphProto, resize: onnx.NodeProto, index: GraphIndex) -> list[onnx.NodeProto]:
    """The resize as one product for each axis that it changes."""
    from edge_vseg.export.onnx_to_torch.node import Node, Value  # imports torch, which few networks need here
    from edge_vseg.export.onnx_to_torch.resize_geometry import read_axes
    from edge_vseg.export.onnx_to_torch.resize_kernels import kernel_matrices

    shape = index.shape(resize.input[0])
    if shape is None or None in shape:
        raise QuantizationError(
            f"OpenVINO knows no Resize with antialias or exclude_outside, and the size of {resize.name!r} is not known;"
            " leave openvino out of --runtimes, or resize without them"
        )
    source = Value(name=resize.input[0], shape=tuple(side or 0 for side in shape), dtype=None)
    constants = [index.constant(name) if name else None for name in resize.input[1:]]
    inputs = [None if array is None else Value.constant("", array) for array in constants]
    node = Node(proto=resize, version=_RESIZE_VERSION, inputs=(source, *inputs))
    made: list[onnx.NodeProto] = []
    name = resize.input[0]
    for axis, matrix in sorted(kernel_matrices(node, read_axes(node)).items()):
        last = len(shape) - 1
        order = [at for at in range(len(shape)) if at != axis] + [axis]
        weights = set_initializer(graph, f"{resize.output[0]}.matrix{axis}", matrix)
        if axis != last:
            made.append(_node("Transpose", [name], f"{resize.output[0]}.turned{axis}", perm=order))
            name = made[-1].output[0]
        made.append(_node("MatMul", [name, weights], f"{resize.output[0]}.axis{axis}"))
        name = made[-1].output[0]
        if axis != last:
            back = [order.index(at) for at in range(len(shape))]
            made.append(_node("Transpose", [name], f"{resize.output[0]}.back{axis}", perm=back))
            name = made[-1].output[0]
    if not made:
        return [_node("Identity", [name], resize.output[0])]
    made[-1].name = made[-1].output[0] = resize.output[0]
    return made


def _node(kind: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name=output, **attributes)
