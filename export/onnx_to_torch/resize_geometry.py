"""Coordinate formulas of Resize: which input coordinate each output pixel reads, axis by axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_vseg.export.onnx_to_torch.node import Node

Coordinates = NDArray[np.floating[Any]]
_TRANSFORMATIONS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
)
_ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
TOLERANCE_PX = 1e-4
"""Coordinates closer than this are considered equal; ONNX stores scales as float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisResize:
    """How one axis is resized.

    Attributes:
        axis: Index of the axis.
        size: Input size.
        new_size: Output size.
        scale: The factor in the formulas; not always ``new_size / size``.
    """

    axis: int
    size: int
    new_size: int
    scale: float


def read_axes(node: Node) -> tuple[AxisResize, ...]:
    """The axes that a Resize or Upsample node resizes, with their scales.

    Raises:
        UnsupportedOperatorError: If sizes and scales are missing or do not match the axes.
    """
    shape = node.shape()
    axes = tuple(node.axis(axis) for axis in node.integers("axes") or range(len(shape)))
    sizes = list(node.input_ints(3) or ()) if node.version >= 11 else []
    if sizes:
        if len(sizes) != len(axes):
            raise node.unsupported(f"{len(sizes)} sizes for {len(axes)} axes")
        scales = [new / shape[axis] for axis, new in zip(axes, sizes, strict=True)]
        sizes, scales = _keep_aspect_ratio(node, [shape[axis] for axis in axes], sizes, scales)
    else:
        scales = _scales(node)
        if len(scales) != len(axes):
            raise node.unsupported(f"{len(scales)} scales for {len(axes)} axes")
        # Round first: a scale stored as float32 may be 7.9999995.
        sizes = [math.floor(round(shape[axis] * s, 4)) for axis, s in zip(axes, scales, strict=True)]
    return tuple(
        AxisResize(axis=axis, size=shape[axis], new_size=new, scale=scale)
        for axis, new, scale in zip(axes, sizes, scales, strict=True)
    )


def coordinates(node: Node, axis: AxisResize, dtype: type[np.float32] | type[np.float64] = np.float64) -> Coordinates:
    """Input coordinate of each output index along an axis, not yet clipped to the input.

    Args:
        node: The Resize or Upsample.
        axis: The axis.
        dtype: Precision of the arithmetic.

    Raises:
        UnsupportedOperatorError: If the coordinate transformation is not supported.
    """
    index: Coordinates = np.arange(axis.new_size).astype(dtype)
    match transformation(node):
        case "asymmetric":
            return index / axis.scale
        case "half_pixel":
            return (index + 0.5) / axis.scale - 0.5
        case "pytorch_half_pixel":
            return (index + 0.5) / axis.scale - 0.5 if axis.new_size > 1 else np.zeros(1)
        case "half_pixel_symmetric":
            adjustment = axis.new_size / (axis.size * axis.scale)
            return axis.size / 2 * (1 - adjustment) + (index + 0.5) / axis.scale - 0.5
        case "tf_half_pixel_for_nn":
            return (index + 0.5) / axis.scale
        case _:  # align_corners, of the rounded size as in torch and ONNX Runtime; the standard means the exact one
            return index * (axis.size - 1) / max(axis.new_size - 1, 1)


def nearest_indices(node: Node, axis: AxisResize) -> NDArray[np.int64]:
    """Input index of each output index along an axis, for mode nearest.

    Raises:
        UnsupportedOperatorError: If the rounding mode is not supported.
    """
    # float32 like ONNX Runtime: between two pixels the last bit of the coordinate decides, and variants should agree
    # with the float baseline.
    where = coordinates(node, axis, np.float32)
    match _rounding(node, axis):
        case "round_prefer_floor":
            rounded = np.ceil(where - 0.5)
        case "round_prefer_ceil":
            rounded = np.floor(where + 0.5)
        case "floor":
            rounded = np.floor(where)
        case _:
            rounded = np.ceil(where)
    indices: NDArray[np.int64] = np.clip(rounded, 0, axis.size - 1).astype(np.int64)
    return indices


def moves(where: NDArray[np.number]) -> bool:
    """Whether any output index reads another input coordinate than its own."""
    return bool(np.abs(where - np.arange(len(where))).max() >= TOLERANCE_PX)


def transformation(node: Node) -> str:
    """The coordinate transformation; always ``asymmetric`` before opset 11.

    Raises:
        UnsupportedOperatorError: If it is not supported.
    """
    if node.version < 11:
        return "asymmetric"
    name = node.text("coordinate_transformation_mode", "half_pixel")
    if name not in _TRANSFORMATIONS:
        raise node.unsupported(f"coordinate_transformation_mode '{name}'; supported: {', '.join(_TRANSFORMATIONS)}")
    return name


def _rounding(node: Node, axis: AxisResize) -> str:
    if node.version < 11:
        # Unspecified before opset 11; ONNX Runtime rounds down when enlarging and up when shrinking.
        return "floor" if axis.scale >= 1 else "ceil"
    name = node.text("nearest_mode", "round_prefer_floor")
    if name not in _ROUNDINGS:
        raise node.unsupported(f"nearest_mode '{name}'")
    return name


def _scales(node: Node) -> list[float]:
    if node.proto.op_type == "Upsample" and node.version < 9:
        return [float(scale) for scale in node.attribute("scales", ())]
    array = node.array(1 if node.version < 11 else 2)
    if array is None:
        raise node.unsupported("neither scales nor sizes")
    return [float(scale) for scale in array.reshape(-1)]


def _keep_aspect_ratio(
    node: Node, before: list[int], sizes: list[int], scales: list[float]
) -> tuple[list[int], list[float]]:
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return sizes, scales
    if policy not in ("not_larger", "not_smaller"):
        raise node.unsupported(f"keep_aspect_ratio_policy '{policy}'")
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [math.floor(scale * size + 0.5) for size in before], [scale] * len(before)
