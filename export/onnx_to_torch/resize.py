"""Resize and Upsample, in torch forms that lower to one TFLite resize operator if there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edge_vseg.export.onnx_to_torch.module import Bound
from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorSpec
from edge_vseg.export.onnx_to_torch.resize_geometry import (
    TOLERANCE_PX,
    AxisResize,
    Coordinates,
    coordinates,
    moves,
    nearest_indices,
    read_axes,
)
from edge_vseg.export.onnx_to_torch.resize_kernels import kernel_matrices


def _resize(node: Node) -> Function:
    mode = node.text("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear", "cubic"):
        raise node.unsupported(f"mode '{mode}'; supported: nearest, linear, cubic")
    axes = read_axes(node)
    if mode == "nearest":
        return _nearest(node, axes)
    smooth = bool(node.integer("antialias", 0)) and any(axis.new_size < axis.size for axis in axes)
    return _multiplied(kernel_matrices(node, axes)) if smooth or mode == "cubic" else _linear(node, axes)


def _nearest(node: Node, axes: Sequence[AxisResize]) -> Function:
    resized = {axis.axis: (axis, nearest_indices(node, axis)) for axis in axes}
    resized = {key: pair for key, pair in resized.items() if pair[0].new_size != pair[0].size or moves(pair[1])}
    torch_like = all(
        np.array_equal(indices, np.arange(axis.new_size) * axis.size // axis.new_size)
        for axis, indices in resized.values()
    )
    size = _image_size(node, {key: axis.new_size for key, (axis, _) in resized.items()})
    if torch_like and size is not None:
        return _on_images(node, resized, lambda x: F.interpolate(x, size, mode="nearest"))
    # Any other rounding selects rows and columns with GATHER.
    order = sorted(resized)

    def gather(*arguments: Tensor) -> Tensor:
        *indices, x = arguments
        for axis, index in zip(order, indices, strict=True):
            x = x.index_select(axis, index)
        return x

    return Bound(gather, *(resized[axis][1] for axis in order))


def _linear(node: Node, axes: Sequence[AxisResize]) -> Function:
    resized = {axis.axis: (axis, np.clip(coordinates(node, axis), 0, axis.size - 1)) for axis in axes}
    resized = {key: pair for key, pair in resized.items() if pair[0].new_size != pair[0].size or moves(pair[1])}
    size = _image_size(node, {key: axis.new_size for key, (axis, _) in resized.items()})
    if size is not None:
        for formula, apply in _FORMS:
            differences = [np.abs(formula(axis) - where).max() for axis, where in resized.values()]
            if max(differences, default=0.0) < TOLERANCE_PX:
                return _on_images(node, resized, partial(_sized, apply, size))
    # The scale is not the ratio of the sizes, or other axes are resized: multiply by a dense matrix per axis.
    return _multiplied({key: _interpolation_matrix(*pair) for key, pair in resized.items()})


def _multiplied(by_axis: dict[int, NDArray[np.float32]]) -> Function:
    order = sorted(by_axis)
    matrices = [by_axis[axis] for axis in order]

    def multiply(*arguments: Tensor) -> Tensor:
        *weights, x = arguments
        for axis, weight in zip(order, weights, strict=True):
            x = (x.movedim(axis, -1) @ weight.to(x.dtype)).movedim(-1, axis)
        return x

    return Bound(multiply, *matrices)


def _image_size(node: Node, new_sizes: dict[int, int]) -> tuple[int, int] | None:
    """``(H, W)`` after resizing NCHW or NHWC images; ``None`` if other axes are resized."""
    shape = node.shape()
    first = _first_image_axis(new_sizes)
    if len(shape) != 4 or first is None:
        return None
    return new_sizes.get(first, shape[first]), new_sizes.get(first + 1, shape[first + 1])


def _first_image_axis(axes: Iterable[int]) -> int | None:
    if set(axes) <= {2, 3}:
        return 2
    return 1 if set(axes) <= {1, 2} else None


def _on_images(node: Node, axes: Iterable[int], apply: Callable[[Tensor], Tensor]) -> Function:
    """Apply a function of NCHW images in either layout; the permutations cancel against litert-torch's own."""
    if set(axes) <= {2, 3}:
        return apply
    return lambda x: apply(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _sized(apply: Callable[[Tensor, tuple[int, int]], Tensor], size: tuple[int, int], x: Tensor) -> Tensor:
    return apply(x, size)


def _half_pixel(axis: AxisResize) -> Coordinates:
    index = np.arange(axis.new_size, dtype=np.float64)
    return np.clip((index + 0.5) * axis.size / axis.new_size - 0.5, 0, axis.size - 1)


def _corners(axis: AxisResize) -> Coordinates:
    index: Coordinates = np.arange(axis.new_size).astype(np.float64)
    return index * ((axis.size - 1) / max(axis.new_size - 1, 1))


def _asymmetric(axis: AxisResize) -> Coordinates:
    index: Coordinates = np.arange(axis.new_size).astype(np.float64)
    clipped: Coordinates = np.clip(index * (axis.size / axis.new_size), 0, axis.size - 1)
    return clipped


def _interpolate_half_pixel(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _interpolate_corners(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def _interpolate_asymmetric(x: Tensor, size: tuple[int, int]) -> Tensor:
    """TensorFlow 1's resize, which torch lacks: output i of m reads input i * n / m.

    Repeating the last row and column and aligning corners reads the same coordinates; the surplus is cut off.
    Concatenate instead of padding: replicate padding lowers to MIRROR_PAD, which runs outside XNNPACK (128x128x32
    in int8: 4.4 ms instead of less than 0.1 ms).
    """
    height, width = size
    x = torch.cat([x, x[:, :, -1:]], 2)
    x = torch.cat([x, x[:, :, :, -1:]], 3)
    x = F.interpolate(x, (height + 1, width + 1), mode="bilinear", align_corners=True)
    return x[:, :, :height, :width]


_FORMS: tuple[tuple[Callable[[AxisResize], Coordinates], Callable[[Tensor, tuple[int, int]], Tensor]], ...] = (
    (_half_pixel, _interpolate_half_pixel),
    (_corners, _interpolate_corners),
    (_asymmetric, _interpolate_asymmetric),
)


def _interpolation_matrix(axis: AxisResize, where: Coordinates) -> NDArray[np.float32]:
    """``(size, new_size)`` weights of a linear resize along one axis."""
    low = np.floor(where).astype(np.int64)
    high = np.minimum(low + 1, axis.size - 1)
    weights = np.zeros((axis.size, axis.new_size))
    columns = np.arange(axis.new_size)
    np.add.at(weights, (low, columns), 1 - (where - low))
    np.add.at(weights, (high, columns), where - low)
    return weights.astype(np.float32)


OPERATORS = (
    OperatorSpec(
        name="Resize",
        versions=(10, 11, 13, 18, 19),
        build=_resize,
        constants=(1, 2, 3),
        covers="nearest with every nearest_mode, linear, cubic, antialias (the last two as matrix products); "
        "half_pixel, half_pixel_symmetric, pytorch_half_pixel, "
        "align_corners, asymmetric, tf_half_pixel_for_nn; axes, keep_aspect_ratio_policy",
        refuses="tf_crop_and_resize",
    ),
    OperatorSpec(
        name="Upsample",
        versions=(7, 9),
        build=_resize,
        constants=(1,),
        covers="nearest, linear (asymmetric, as the operator was defined)",
    ),
)
