"""Drop roundings between operators that compute in float anyway.

Quantizers round what every integer operator writes. Where only operators without an integer kernel read that (layer
normalization, GELU), the rounding is followed by its undoing: it costs accuracy, and time unless the writer can do no
other.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from edge_vseg.export.graph.index import GraphIndex, described_tensors, prune, rewire

MOVING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split")
FLOAT_OUTPUT = ("MatMul", "Gemm")
"""Operators whose integer kernels can give floats, which they have before they round them."""
_CLIPPING = ("Relu", "Clip")


def drop_needless_rounding(
    model: onnx.ModelProto,
    integer: Collection[str],
    float_nodes: Collection[str] = (),
    clipped: Collection[str] = (),
) -> None:
    """Remove pairs of QuantizeLinear and DequantizeLinear that no integer operator needs, in place.

    Args:
        model: A QDQ graph.
        integer: Operators that have integer kernels.
        float_nodes: Names of nodes that run in float, whatever their operator.
        clipped: Names of tensors whose pair stays, as found by :func:`clipped_by_rounding`.
    """
    index = GraphIndex(model)
    floating = {n.name for n in model.graph.node if n.op_type not in integer and n.op_type != "QuantizeLinear"}
    floating |= set(float_nodes)
    gone: set[str] = set()
    for node in reversed(model.graph.node):
        if node.op_type != "QuantizeLinear" or node.input[0] in index.initializer or node.input[0] in clipped:
            continue
        if not _gives_floats(node.input[0], index, integer, float_nodes):
            continue
        pairs = index.consumers.get(node.output[0], [])
        if not pairs or any(pair.op_type != "DequantizeLinear" for pair in pairs):
            continue
        if all(_reads_floats(pair.output[0], index, floating, gone) for pair in pairs):
            gone.add(node.output[0])
            for pair in pairs:
                rewire(model.graph, pair.output[0], node.input[0])
    prune(model, described_tensors(model))


def clipped_by_rounding(quantized: onnx.ModelProto, model: onnx.ModelProto) -> set[str]:
    """Tensors that nothing but their rounding clips: the quantizer has dropped the Relu or Clip that writes them.

    Args:
        quantized: The QDQ graph.
        model: The float graph that it was made from.
    """
    kept = {name for node in quantized.graph.node if node.op_type in _CLIPPING for name in node.output}
    return {node.output[0] for node in model.graph.node if node.op_type in _CLIPPING} - kept


def sums_of_floats(model: onnx.ModelProto, integer: Collection[str]) -> list[str]:
    """Names of the Adds whose operands are floats before they are rounded, as those of a transformer's residuals are.

    Args:
        model: A float graph, in order.
        integer: Operators that have integer kernels.
    """
    index = GraphIndex(model)
    found: list[str] = []
    for node in model.graph.node:
        if node.op_type == "Add" and all(
            name in index.producer and _gives_floats(name, index, integer, found) for name in node.input
        ):
            found.append(node.name)
    return found


def _gives_floats(name: str, index: GraphIndex, integer: Collection[str], sums: Collection[str] = ()) -> bool:
    """Whether what a tensor holds was floats before it was rounded, without more work."""
    node = index.producer.get(name)
    while node is not None and node.op_type in (*MOVING, "DequantizeLinear", "QuantizeLinear"):
        node = index.producer.get(node.input[0])
    return node is not None and (node.op_type in FLOAT_OUTPUT or node.op_type not in integer or node.name in sums)


def _reads_floats(name: str, index: GraphIndex, floating: set[str], gone: set[str]) -> bool:
    """Whether only operators without an integer kernel read a tensor, at once or behind others that move it."""
    readers = index.consumers.get(name, [])
    return bool(readers) and all(_is_float(reader, index, floating, gone) for reader in readers)


def _is_float(reader: onnx.NodeProto, index: GraphIndex, floating: set[str], gone: set[str]) -> bool:
    if reader.op_type not in MOVING:
        return reader.name in floating
    rounded = [each for output in reader.output for each in index.consumers.get(output, [])]
    return bool(rounded) and all(
        each.output[0] in gone if each.op_type == "QuantizeLinear" else _is_float(each, index, floating, gone)
        for each in rounded
    )
