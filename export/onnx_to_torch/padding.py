"""Pad, in forms that need no TRANSPOSE and stay int8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorSpec

_MAX_UNROLLED_ROWS = 8


def _pad(node: Node) -> Function:
    mode, rank = node.text("mode", "constant"), node.rank()
    pads = (node.integers("pads") if node.version < 11 else node.input_ints(1)) or ()
    axes = node.input_ints(3) if node.version >= 18 else None
    padded = [node.axis(axis) for axis in axes] if axes else list(range(rank))
    begin, end = [0] * rank, [0] * rank
    for position, axis in enumerate(padded):
        begin[axis], end[axis] = pads[position], pads[len(padded) + position]
    match mode:
        case "constant":
            return _constant_pad(_pad_value(node), begin, end)
        case "edge" | "reflect" | "wrap":
            return _copying_pad(node, mode, begin, end)
        case _:
            raise node.unsupported(f"mode '{mode}'; supported: constant, edge, reflect, wrap")


def _pad_value(node: Node) -> float:
    if node.version < 11:
        return node.real("value", 0.0)
    value = node.array(2)
    return 0.0 if value is None or value.size == 0 else float(value.item())


def _constant_pad(value: float, begin: Sequence[int], end: Sequence[int]) -> Function:
    def pad(x: Tensor) -> Tensor:
        for axis in range(x.ndim):
            b, e = begin[axis], end[axis]
            if min(b, e) < 0:
                x = x.narrow(axis, max(-b, 0), x.shape[axis] - max(-b, 0) - max(-e, 0))
            # Pad the last two axes of an image with one F.pad: litert-torch moves it to NHWC and folds it into a
            # convolution. On the channels F.pad costs two TRANSPOSE, a concatenation none.
            if axis < x.ndim - 2 or x.ndim < 3:
                x = _concat_padding(x, axis, value, b, e)
        if x.ndim < 3:
            return x
        sides = [max(side, 0) for axis in (-1, -2) for side in (begin[axis], end[axis])]
        return F.pad(x, sides, value=value) if any(sides) else x

    return pad


def _concat_padding(x: Tensor, axis: int, value: float, begin: int, end: int) -> Tensor:
    parts = [x]
    for position, length in ((0, begin), (len(parts), end)):
        if length > 0:
            shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
            block = torch.full(shape, value, dtype=x.dtype, device=x.device)
            parts.insert(len(parts) if position else 0, block)
    return torch.cat(parts, axis) if len(parts) > 1 else x


def repeat_border(x: Tensor, begin: Sequence[int], end: Sequence[int]) -> Tensor:
    """Repeat the first and the last rows of the spatial axes ``begin`` and ``end`` times."""
    first = x.ndim - len(begin)
    sizes = [np.pad(np.arange(n), sides, mode="edge") for n, *sides in zip(x.shape[first:], begin, end, strict=True)]
    return _select(x, [(axis, index) for axis, index in enumerate(sizes, first) if len(index) > x.shape[axis]])


def _copying_pad(
    node: Node, mode: Literal["edge", "reflect", "wrap"], begin: Sequence[int], end: Sequence[int]
) -> Function:
    shape = node.shape()
    on_image = len(shape) == 4 and not any((*begin[:2], *end[:2])) and min(*begin, *end) >= 0
    if mode == "reflect" and on_image and max(*begin, *end) > _MAX_UNROLLED_ROWS:
        # One MIRROR_PAD: slow, but concatenation would need an operator per row.
        sides = (begin[3], end[3], begin[2], end[2])
        return lambda x: F.pad(x, sides, mode="reflect")
    indices: list[tuple[int, NDArray[np.int64]]] = []
    for axis, (size, b, e) in enumerate(zip(shape, begin, end, strict=True)):
        if b or e:
            positions = np.arange(size)[max(-b, 0) : size - max(-e, 0)]
            widths = (max(b, 0), max(e, 0))
            indices.append((axis, np.pad(positions, widths, mode=mode)))
    return lambda x: _select(x, indices)


def _select(x: Tensor, indices: Sequence[tuple[int, NDArray[np.int64]]]) -> Tensor:
    """Select rows by index with SLICE and CONCATENATION.

    F.pad lowers to MIRROR_PAD, which runs outside XNNPACK (128x128x32, one row and column on each side: 4.6 ms in int8
    instead of less than 0.1 ms), and for more rows to GATHER_ND.
    """
    for axis, index in indices:
        breaks = np.flatnonzero(np.diff(index) != 1) + 1
        runs = np.split(index, breaks)
        x = torch.cat([x.narrow(axis, int(run[0]), len(run)) for run in runs], axis)
    return x


OPERATORS = (
    OperatorSpec(
        name="Pad",
        versions=(2, 11, 13, 18, 19, 21, 23, 24, 25),
        build=_pad,
        constants=(1, 2, 3),
        covers="constant, edge, reflect, wrap; any axes; negative padding crops",
        refuses="computed padding",
    ),
)
