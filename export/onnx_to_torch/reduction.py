"""Reductions along axes, ArgMax and ArgMin."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from edge_vseg.export.onnx_to_torch.module import Bound
from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorBuilder, OperatorSpec

Axes = tuple[int, ...]


def _reduction(function: Callable[[Tensor, Axes], Tensor], *, input_since: int = 18) -> OperatorBuilder:
    """A builder for a reduction.

    Args:
        function: Reduces a tensor along axes and keeps them with size 1.
        input_since: First version in which the axes are an input, not an attribute.
    """

    def build(node: Node) -> Function:
        axes = node.input_ints(1) if node.version >= input_since else node.integers("axes")
        if not axes:
            if node.integer("noop_with_empty_axes", 0):
                return _without_axes(node, function)
            axes = tuple(range(node.rank()))
        axes = tuple(sorted({node.axis(axis) for axis in axes}))
        if node.integer("keepdims", 1):
            return lambda x: function(x, axes)
        # Reduce with kept axes, then reshape: this leaves the reduction in NHWC.
        shape = tuple(size for axis, size in enumerate(node.shape()) if axis not in axes)
        return lambda x: function(x, axes).reshape(shape)

    return build


def _without_axes(node: Node, function: Callable[[Tensor, Axes], Tensor]) -> Function:
    """``noop_with_empty_axes``: reduce no axis, but still square or take absolute values."""
    shape = node.shape()
    return lambda x: function(x.reshape((*shape, 1)), (len(shape),)).reshape(shape)


def _sum(x: Tensor, axes: Axes) -> Tensor:
    return x.sum(axes, keepdim=True, dtype=x.dtype)


def _mean(x: Tensor, axes: Axes) -> Tensor:
    return x.mean(axes, keepdim=True)


def _largest(x: Tensor, axes: Axes) -> Tensor:
    return torch.amax(x, axes, keepdim=True)


def _smallest(x: Tensor, axes: Axes) -> Tensor:
    return torch.amin(x, axes, keepdim=True)


def _product(x: Tensor, axes: Axes) -> Tensor:
    return reduce(lambda y, axis: y.prod(axis, keepdim=True, dtype=x.dtype), axes, x)


def _l1(x: Tensor, axes: Axes) -> Tensor:
    return _sum(x.abs(), axes)


def _sum_square(x: Tensor, axes: Axes) -> Tensor:
    return _sum(x * x, axes)


def _l2(x: Tensor, axes: Axes) -> Tensor:
    return torch.sqrt(_sum_square(x, axes))


def _log_sum(x: Tensor, axes: Axes) -> Tensor:
    return torch.log(_sum(x, axes))


def _log_sum_exp(x: Tensor, axes: Axes) -> Tensor:
    # torch.logsumexp asks for infinity, which is four operators of TFLite more.
    largest = torch.amax(x, axes, keepdim=True)
    return largest + torch.log(_sum(torch.exp(x - largest), axes))


def _running_sum(node: Node) -> Function:
    """CumSum, as a product with a triangle of ones: TFLite's own is not computed in integers."""
    (place,) = node.input_ints(1) or (0,)
    axis = node.axis(place)
    size = node.shape()[axis]
    if size > MAX_RUNNING:
        raise node.unsupported(f"a running sum over {size} values; {MAX_RUNNING} are as many as fit into a product")
    triangle = np.triu(np.ones((size, size), np.float32), 1 if node.integer("exclusive", 0) else 0)
    if node.integer("reverse", 0):
        triangle = triangle.T
    return Bound(lambda ones, x: (x.movedim(axis, -1) @ ones.to(x.dtype)).movedim(-1, axis), triangle)


def _arg(function: Callable[..., Tensor]) -> OperatorBuilder:
    """A builder for ArgMax or ArgMin."""

    def build(node: Node) -> Function:
        axis, keep = node.axis(node.integer("axis", 0)), bool(node.integer("keepdims", 1))
        last, size = bool(node.integer("select_last_index", 0)), node.shape()[node.axis(node.integer("axis", 0))]

        def find(x: Tensor) -> Tensor:
            # Move the axis to the end: over the channels of NCHW this cancels against litert-torch's own permutation,
            # while argmax(1) costs a TRANSPOSE.
            x = x.movedim(axis, -1)
            index = size - 1 - function(x.flip(-1), -1) if last else function(x, -1)
            return index.unsqueeze(axis) if keep else index

        return find

    return build


def _row(name: str, versions: Axes, build: OperatorBuilder, covers: str = "any axes, keepdims") -> OperatorSpec:
    constants = () if name.startswith("Arg") else (1,)
    return OperatorSpec(name=name, versions=versions, build=build, constants=constants, covers=covers)


MAX_RUNNING = 2048
"""Values of a running sum: its triangle of ones is stored in the file."""
_SINCE = (1, 11, 13, 18)
_SINCE_MAX = (1, 11, 12, 13, 18, 20)
_ARG = "any axis, keepdims, select_last_index"

OPERATORS = (
    _row("ReduceMean", _SINCE, _reduction(_mean)),
    _row("ReduceSum", (1, 11, 13), _reduction(_sum, input_since=13)),
    _row("ReduceMax", _SINCE_MAX, _reduction(_largest)),
    _row("ReduceMin", _SINCE_MAX, _reduction(_smallest)),
    _row("ReduceProd", _SINCE, _reduction(_product)),
    _row("ReduceL1", _SINCE, _reduction(_l1)),
    _row("ReduceL2", _SINCE, _reduction(_l2)),
    _row("ReduceSumSquare", _SINCE, _reduction(_sum_square)),
    _row("ReduceLogSum", (*_SINCE, 28), _reduction(_log_sum)),
    _row("ReduceLogSumExp", (*_SINCE, 28), _reduction(_log_sum_exp)),
    _row("CumSum", (11, 14), _running_sum, "any axis, exclusive, reverse; as a matrix product"),
    _row("ArgMax", (1, 11, 12, 13), _arg(torch.argmax), _ARG),
    _row("ArgMin", (1, 11, 12, 13), _arg(torch.argmin), _ARG),
)
