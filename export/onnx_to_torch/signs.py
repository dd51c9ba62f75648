"""Which tensors hold no negative number, whatever the image: padding with zero then never wins a maximum."""

from __future__ import annotations

from edge_vseg.export.onnx_to_torch.node import Node

_ALWAYS = frozenset({"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt"})
_KEEPING = frozenset(
    {"Add", "AveragePool", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "GlobalAveragePool", "Identity"}
    | {"Max", "MaxPool", "Mean", "Min", "Mul", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sum"}
    | {"Transpose", "Unsqueeze"}
)
"""Operators that make no negative number of inputs without one."""


def is_nonnegative(node: Node) -> bool:
    """Whether the outputs of the node hold no negative number; ``False`` also where that is not known."""
    kind = node.proto.op_type
    if kind == "Clip":
        low = node.attribute("min") if node.version < 11 else node.scalar(1)
        return node.value(0).nonnegative or (low is not None and low >= 0)
    if kind in _KEEPING:
        data = node.inputs if kind in ("Add", "Concat", "Max", "Mean", "Min", "Mul", "Sum") else node.inputs[:1]
        return all(value is not None and value.nonnegative for value in data)
    return kind in _ALWAYS
