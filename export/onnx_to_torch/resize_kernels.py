"""Matrices of resizes that no operator of TFLite does: cubic ones, and those that smooth before they shrink."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.resize_geometry import AxisResize, Coordinates, coordinates, moves

Kernel = Literal["linear", "cubic"]
_REACH_PX = {"linear": 1.0, "cubic": 2.0}


def kernel_matrices(node: Node, axes: Sequence[AxisResize]) -> dict[int, NDArray[np.float32]]:
    """``(size, new_size)`` weights of each axis that a linear or cubic Resize changes, by axis.

    Args:
        node: The Resize.
        axes: Its axes.
    """
    kernel: Kernel = "cubic" if node.text("mode", "nearest") == "cubic" else "linear"
    smooth, leave_out = bool(node.integer("antialias", 0)), bool(node.integer("exclude_outside", 0))
    resized = ((axis, coordinates(node, axis)) for axis in axes)
    return {
        axis.axis: kernel_matrix(
            axis, where, kernel, smooth=smooth, leave_out=leave_out, cubic_a=node.real("cubic_coeff_a", -0.75)
        )
        for axis, where in resized
        if axis.new_size != axis.size or moves(where)
    }


def kernel_matrix(
    axis: AxisResize, where: Coordinates, kernel: Kernel, *, smooth: bool, leave_out: bool, cubic_a: float
) -> NDArray[np.float32]:
    """``(size, new_size)`` weights of a resize along one axis.

    Args:
        axis: Its sizes.
        where: The input coordinate that each output element lies at.
        kernel: What neighbours are weighed by.
        smooth: Widen the kernel where the axis shrinks, as ``antialias`` asks for.
        leave_out: Leave out what lies outside; else the first and last element are repeated there.
        cubic_a: The parameter of the cubic kernel.

    Reference: Keys, Cubic convolution interpolation for digital image processing, 1981, eq. 4.
    """
    widened = max(1 / axis.scale, 1.0) if smooth else 1.0
    first = np.floor(where - _REACH_PX[kernel] * widened).astype(np.int64)
    taps = first[:, None] + np.arange(int(np.ceil(2 * _REACH_PX[kernel] * widened)) + 2)
    distance = np.abs(taps - where[:, None]) / widened
    weights = np.maximum(1 - distance, 0) if kernel == "linear" else _cubic(distance, cubic_a)
    if leave_out:
        weights = np.where((taps >= 0) & (taps < axis.size), weights, 0)
    weights = weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((axis.size, axis.new_size))
    columns = np.broadcast_to(np.arange(axis.new_size)[:, None], taps.shape)
    np.add.at(matrix, (np.clip(taps, 0, axis.size - 1), columns), weights)
    return matrix.astype(np.float32)


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * a * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))
