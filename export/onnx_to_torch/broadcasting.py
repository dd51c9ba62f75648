"""Operators of two tensors that broadcast, with the constant operand in the form that lowers best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_vseg.export.onnx_to_torch.module import Bound
from edge_vseg.export.onnx_to_torch.node import Node, Tensor
from edge_vseg.export.onnx_to_torch.operator_spec import Builder, Function

_MAX_UNROLLED_CHANNELS = 16
_ABSORB_CONSTANTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators whose weights and bias take up a constant that follows them."""


def binary(function: Callable[[Any, Any], Tensor]) -> Builder:
    """A builder for an elementwise operator of two tensors.

    A constant of one element becomes a Python number, and a smaller constant gets leading axes of 1: operands
    of fewer than four axes would keep litert-torch from laying the operator out as NHWC.
    """

    def build(node: Node) -> Function:
        axis = _channel_axis(node)
        if axis is not None:
            return _by_rows(node, function, axis)
        left, right = _operand(node, 0), _operand(node, 1)
        return lambda a, b: function(left(a), right(b))

    return build


def _operand(node: Node, index: int) -> Callable[[Tensor], Any]:
    other = 1 - index
    number = node.scalar(index)
    if number is not None and node.array(other) is None and node.rank(index) <= node.rank(other):
        return lambda tensor: number
    if node.array(index) is not None and node.rank(index) < node.rank(other):
        shape = (1,) * (node.rank(other) - node.rank(index)) + node.shape(index)
        return lambda tensor: tensor.reshape(shape)
    return lambda tensor: tensor


def _constant_index(node: Node) -> int | None:
    found = [index for index in (0, 1) if node.array(index) is not None]
    return found[0] if len(found) == 1 else None


def _channel_axis(node: Node) -> int | None:
    """The axis of a constant that holds one number for each of a few channels of an image; else ``None``."""
    index = _constant_index(node)
    if index is None or node.rank(1 - index) != 4 or node.rank(index) > 4:
        return None
    if node.value(1 - index).maker in _ABSORB_CONSTANTS:
        return None
    image = node.shape(1 - index)
    constant = (1,) * (4 - node.rank(index)) + node.shape(index)
    for axis in (3, 1):
        alone = all(size == 1 for other, size in enumerate(constant) if other != axis)
        if alone and 1 < constant[axis] == image[axis] < _MAX_UNROLLED_CHANNELS:
            return axis
    return None


def _by_rows(node: Node, function: Callable[[Any, Any], Tensor], axis: int) -> Function:
    """The operator on whole rows of pixels, with the constant repeated along them.

    XNNPACK broadcasts over a short innermost axis very slowly. The mean subtracted from a 512x896 RGB frame
    took 6.8 ms of a 10 ms int8 graph (cast, mean, first convolution; 2 threads), and 0.3 ms in this form.
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
