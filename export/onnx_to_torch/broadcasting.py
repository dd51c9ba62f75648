"""Broadcasting operators of two tensors, with constant operands in the form that lowers best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from edge_vseg.export.onnx_to_torch.module import Bound
from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorBuilder

BROADCASTING = frozenset({"Add", "Div", "Mul", "Sub"})
"""Operators of two tensors that need no Expand before them."""
_MAX_UNROLLED_CHANNELS = 16
_ABSORB_CONSTANTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that a following constant is folded into, as part of their weights and bias."""


def broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether a tensor of one shape can be broadcast to the other."""
    sizes = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(size in (1, wanted) for size, wanted in sizes)


def binary(function: Callable[[Any, Any], Tensor]) -> OperatorBuilder:
    """A builder for an elementwise operator of two tensors.

    A one-element constant becomes a Python number. An operand of lower rank gets leading axes of size 1: litert-torch
    does not lay out an operator as NHWC if an operand has fewer than four axes.
    """

    def build(node: Node) -> Function:
        axis = _channel_axis(node)
        if axis is not None:
            return _rowwise(node, function, axis)
        left, right = _operand(node, 0), _operand(node, 1)
        return lambda a, b: function(left(a), right(b))

    return build


def _operand(node: Node, index: int) -> Callable[[Tensor], Any]:
    other = 1 - index
    number = node.scalar(index)
    if number is not None and node.array(other) is None and node.rank(index) <= node.rank(other):
        return lambda tensor: number
    if node.rank(index) < node.rank(other):
        shape = (1,) * (node.rank(other) - node.rank(index)) + node.shape(index)
        return lambda tensor: tensor.reshape(shape)
    return lambda tensor: tensor


def _constant_index(node: Node) -> int | None:
    constants = [index for index in (0, 1) if node.array(index) is not None]
    return constants[0] if len(constants) == 1 else None


def _channel_axis(node: Node) -> int | None:
    """The channel axis, if the constant holds one number per channel of an image with few channels; else ``None``."""
    index = _constant_index(node)
    if index is None or node.rank(1 - index) != 4 or node.rank(index) > 4:
        return None
    if node.value(1 - index).producer in _ABSORB_CONSTANTS:
        return None
    image = node.shape(1 - index)
    constant = (1,) * (4 - node.rank(index)) + node.shape(index)
    for axis in (3, 1):
        per_channel = all(size == 1 for other, size in enumerate(constant) if other != axis)
        if per_channel and 1 < constant[axis] == image[axis] < _MAX_UNROLLED_CHANNELS:
            return axis
    return None


def _rowwise(node: Node, function: Callable[[Any, Any], Tensor], axis: int) -> Function:
    """The operator on whole rows of pixels, with the constant repeated along the row.

    XNNPACK is slow at broadcasting over a short innermost axis: subtracting the mean from a 512x896 RGB frame took
    6.8 ms of a 10 ms int8 graph (cast, mean, first convolution; 2 threads), and 0.3 ms in this form.
    """
    index = _constant_index(node)
    n, *sizes = node.shape(1 - (index or 0))
    channels = sizes[axis - 1]
    h, w = (sizes[0], sizes[1]) if axis == 3 else (sizes[1], sizes[2])
    array = node.array(index or 0)
    rows = np.tile(np.ravel(np.asarray(array)), w)[None, None]

    def apply(row: Tensor, a: Tensor, b: Tensor) -> Tensor:
        x = b if index == 0 else a
        x = (x if axis == 3 else x.permute(0, 2, 3, 1)).reshape(n, h, w * channels)
        y = (function(row, x) if index == 0 else function(x, row)).reshape(n, h, w, channels)
        return y if axis == 3 else y.permute(0, 3, 1, 2)

    return Bound(apply, rows)
