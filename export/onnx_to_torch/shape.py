"""Operators that change only shape or element type."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from onnx import TensorProto
from torch import Tensor

from edge_vseg.export.onnx_to_torch.module import Bound
from edge_vseg.export.onnx_to_torch.node import TORCH_DTYPES, Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorSpec

Shape = tuple[int, ...]


def _reshape(node: Node) -> Function:
    before, target = node.shape(), node.input_ints(1) or ()
    if not node.integer("allowzero", 0):
        if any(size == 0 and axis >= len(before) for axis, size in enumerate(target)):
            raise node.unsupported(f"shape {target} copies an axis that the input does not have")
        target = tuple(before[axis] if size == 0 else size for axis, size in enumerate(target))
    return lambda x: x.reshape(target)


def _flatten(node: Node) -> Function:
    shape, axis = node.shape(), node.integer("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    rows = math.prod(shape[:axis])
    return lambda x: x.reshape(rows, math.prod(shape[axis:]))


def _squeeze(node: Node) -> Function:
    shape, axes = node.shape(), _axes(node)
    dropped = {node.axis(axis) for axis in axes} if axes else {i for i, n in enumerate(shape) if n == 1}
    kept = tuple(size for axis, size in enumerate(shape) if axis not in dropped)
    return lambda x: x.reshape(kept)


def _unsqueeze(node: Node) -> Function:
    axes = _axes(node) or ()
    rank = node.rank() + len(axes)
    new = {node.axis(axis, rank) for axis in axes}
    rest = iter(node.shape())
    shape = tuple(1 if axis in new else next(rest) for axis in range(rank))
    return lambda x: x.reshape(shape)


def _axes(node: Node) -> Shape | None:
    return node.integers("axes") if node.version < 13 else node.input_ints(1)


def _transpose(node: Node) -> Function:
    order = node.integers("perm") or tuple(reversed(range(node.rank())))
    return lambda x: x.permute(order)


def _expand(node: Node) -> Function:
    shape = tuple(np.broadcast_shapes(node.shape(), node.input_ints(1) or ()))
    return _expansion(node, shape)


def _expansion(node: Node, shape: Shape) -> Function:
    """Axes of size 1 repeated.

    litert-converter 0.5 folds BROADCAST_TO into whatever reads it and forgets the NHWC layout. Images avoid it:
    channels come from a 1x1 convolution with ones, pixels from a resize of one pixel, both exact and in XNNPACK.
    """
    before, dtype = (1,) * (len(shape) - node.rank()) + node.shape(), node.value(0).dtype
    if dtype is None or not dtype.is_floating_point or len(shape) != 4 or shape[0] != before[0]:
        return lambda x: x.broadcast_to(shape)
    if shape[1] != before[1]:
        ones = np.ones((shape[1], 1, 1, 1), np.float32)
        return Bound(lambda weight, x: _to_size(F.conv2d(x.reshape(before), weight.to(x.dtype)), shape), ones)
    return lambda x: _to_size(x.reshape(before), shape)


def _to_size(x: Tensor, shape: Shape) -> Tensor:
    return x if tuple(x.shape) == shape else F.interpolate(x, shape[2:], mode="bilinear")


def _tile(node: Node) -> Function:
    repeats = node.input_ints(1) or ()
    if all(count == 1 or size == 1 for count, size in zip(repeats, node.shape(), strict=True)):
        return _expansion(node, tuple(count * size for count, size in zip(repeats, node.shape(), strict=True)))

    # Tensor.repeat is lowered to a BROADCAST_TO of five axes, with the same fault.
    def tile(x: Tensor) -> Tensor:
        for axis, count in enumerate(repeats):
            x = torch.cat([x] * count, axis) if count > 1 else x
        return x

    return tile


def _identity(node: Node) -> Function:
    return lambda x: x


def _dropout(node: Node) -> Function:
    training = node.array(2)
    if training is not None and bool(training):
        raise node.unsupported("training_mode")
    if not node.uses_output(1):
        return lambda x: x
    dtype = torch.bool if node.version >= 10 else node.value(0).dtype
    return lambda x: (x, torch.ones_like(x, dtype=dtype))


def _cast(node: Node) -> Function:
    target = TORCH_DTYPES.get(node.integer("to", 0))
    if target is None:
        raise node.unsupported(f"to element type {TensorProto.DataType.Name(node.integer('to', 0))}")
    return _to(target)


def _cast_like(node: Node) -> Function:
    target = node.value(1).dtype
    if target is None:
        raise node.unsupported("to an unsupported element type")
    convert = _to(target)
    return lambda x, like: convert(x)


def _to(target: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda x: x.to(target)


_COPIES = (13, 21, 23, 24, 25)

OPERATORS = (
    OperatorSpec(
        name="Reshape",
        versions=(5, *_COPIES[:1], 14, 19, *_COPIES[1:]),
        build=_reshape,
        constants=(1,),
        covers="constant shape with 0, -1 and allowzero",
        refuses="computed shape",
    ),
    OperatorSpec(name="Flatten", versions=(1, 9, 11, *_COPIES), build=_flatten, covers="any axis"),
    OperatorSpec(
        name="Squeeze",
        versions=(1, 11, *_COPIES),
        build=_squeeze,
        constants=(1,),
        covers="any axes",
        refuses="computed axes",
    ),
    OperatorSpec(
        name="Unsqueeze",
        versions=(1, 11, *_COPIES),
        build=_unsqueeze,
        constants=(1,),
        covers="any axes",
        refuses="computed axes",
    ),
    OperatorSpec(name="Transpose", versions=(1, *_COPIES), build=_transpose, covers="any order"),
    OperatorSpec(name="Expand", versions=(8, 13), build=_expand, constants=(1,), refuses="computed shape"),
    OperatorSpec(name="Tile", versions=(6, 13), build=_tile, constants=(1,), refuses="computed repeats"),
    OperatorSpec(name="Identity", versions=(1, 13, 14, 16, 19, 21, 23, 24, 25), build=_identity),
    OperatorSpec(
        name="Dropout",
        versions=(7, 10, 12, 13, 22),
        build=_dropout,
        constants=(1, 2),
        covers="inference: the input, and a mask of ones",
        refuses="training_mode",
    ),
    OperatorSpec(
        name="Cast",
        versions=(6, 9, 13, 19, 21, 23, 24, 25, 28),
        build=_cast,
        covers="between float16, float32, float64, int8, int16, int32, int64, uint8 and bool",
        refuses="strings, bfloat16, 8-bit floats, 4-bit and other unsigned integers",
    ),
    OperatorSpec(
        name="CastLike", versions=(15, 19, 21, 23, 24, 25), build=_cast_like, covers="as Cast", refuses="as Cast"
    ),
)
