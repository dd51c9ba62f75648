"""Max and average pools over windows and whole images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from edge_vseg.export.onnx_to_torch.module import Bound
from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorSpec
from edge_vseg.export.onnx_to_torch.padding import repeat_border
from edge_vseg.export.onnx_to_torch.windows import Ints, Windows, read_windows, spatial_size, torch_padding

_MAX_DENSE_KERNEL_AREA = 16
"""Average pools with a larger kernel are split into one convolution per axis."""


def _max_pool(node: Node) -> Function:
    spatial_size(node)
    if node.uses_output(1):
        raise node.unsupported(
            "output Indices, but for an unpooling of square windows that do not overlap; let it have the stride of its"
            " kernel"
        )
    windows = read_windows(node, node.integers("kernel_shape") or ())
    dtype = node.value(0).dtype
    pool = F.max_pool1d if len(windows.size) == 1 else F.max_pool2d
    native = _native_max_pool(windows)
    pad = _max_pool_padding(node, windows) if native is None else None
    padding, ceil = ((0,) * len(windows.size), False) if native is None else (windows.begin, native)

    def max_pool(x: Tensor) -> Tensor:
        x = x if dtype is not None and dtype.is_floating_point else x.float()
        x = x if pad is None else pad(x)
        y = pool(x, windows.kernel, windows.strides, padding, windows.dilations, ceil_mode=ceil)
        return y.to(dtype)

    return max_pool


def _max_pool_padding(node: Node, windows: Windows) -> Callable[[Tensor], Tensor]:
    """Padding that wins in no window, in a form that int8 has.

    Minus infinity has no int8 value. Behind a ReLU a zero never wins; else the border is repeated, which adds nothing
    that an undilated window does not hold. A 3x3 pool at stride 2 over 128x256x64 in int8: 0.7 ms of a 3.3 ms graph
    in both forms, 1.2 ms as PADV2, which runs outside XNNPACK.
    """
    end = tuple(max(reach, 0) for reach in windows.reach)
    if _every_window_holds_input(windows):
        if node.value(0).nonnegative:
            return lambda x: F.pad(x, torch_padding(windows.begin, end))
        if set(windows.dilations) == {1}:
            return lambda x: repeat_border(x, windows.begin, end)
    return lambda x: F.pad(x, torch_padding(windows.begin, end), value=-math.inf)


def _every_window_holds_input(windows: Windows) -> bool:
    return all(bool(taps.any(axis=-1).all()) for taps in _taps(windows, count_padding=False))


def _native_max_pool(windows: Windows) -> bool | None:
    """The ``ceil_mode`` with which torch's pool has these windows and TFLite's, too; ``None`` if neither has.

    TFLite pads with SAME or not at all. With ceil_mode, 3x3 at stride 2 over an even size becomes one MAX_POOL_2D with
    SAME. Padding never wins, so only the number of windows matters, not the padding after the input.
    """
    if not (windows.same or (not any(windows.begin) and max(windows.reach) <= 0)):
        return None
    if any(2 * b > k for b, k in zip(windows.begin, windows.kernel, strict=True)):
        return None
    parts = list(zip(windows.size, windows.begin, windows.spans, windows.strides, windows.count, strict=True))
    if all((n + 2 * b - span) // s + 1 == count for n, b, span, s, count in parts):
        return False
    if any(2 * b + n < span for n, b, span, _, _ in parts):
        return None
    counts = [-(-(n + 2 * b - span) // s) + 1 for n, b, span, s, _ in parts]
    counts = [c - 1 if (c - 1) * s >= n + b else c for c, (n, b, _, s, _) in zip(counts, parts, strict=True)]
    return True if counts == list(windows.count) else None


def _average_pool(node: Node) -> Function:
    """Average pooling as depthwise convolutions with constant kernels.

    int8 AVERAGE_POOL_2D keeps the scale of its input, although averages are smaller, and runs outside XNNPACK.
    On random 128x128x32 input, 2x2 took 0.65 ms with 29.9 dB of SQNR, a convolution 0.18 ms with 32.5 dB; 16x16 took
    0.17 ms with 14 dB, a convolution 0.13 ms with 33 dB. In float both are equally fast.
    """
    spatial_size(node)
    windows = read_windows(node, node.integers("kernel_shape") or ())
    factors = _area_factors(windows, count_padding=node.integer("count_include_pad", 0) == 1)
    uniform = bool(np.all(factors == 1))
    if windows.kernel == windows.size and windows.count == (1,) * len(windows.size) and not any(windows.begin):
        return _global_average_pool(node)
    channels = node.shape()[1]
    convolve = F.conv1d if len(windows.size) == 1 else F.conv2d
    symmetric = _has_symmetric_padding(windows)
    padding = windows.begin if symmetric else (0,) * len(windows.size)
    pads = [] if symmetric else torch_padding(windows.begin, [max(reach, 0) for reach in windows.reach])
    parts = _split_pool(windows, padding)
    kernels = [np.full((channels, 1, *part.kernel), 1 / math.prod(part.kernel), np.float32) for part in parts]

    def average_pool(*arguments: Tensor) -> Tensor:
        *weights, factor, x = arguments
        x = F.pad(x, pads) if pads else x
        for part, weight in zip(parts, weights, strict=True):
            x = convolve(x, weight.to(x.dtype), None, part.strides, part.begin, part.dilations, channels)
        return x if uniform else x * factor.to(x.dtype)

    return Bound(average_pool, *kernels, factors)


def _has_symmetric_padding(windows: Windows) -> bool:
    """Whether equal padding before and after the input gives these windows."""
    parts = zip(windows.size, windows.begin, windows.spans, windows.strides, windows.count, strict=True)
    return all((n + 2 * b - span) // s + 1 == count for n, b, span, s, count in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _PoolConvolution:
    """One convolution of an average pool."""

    kernel: Ints
    strides: Ints
    dilations: Ints
    begin: Ints


def _split_pool(windows: Windows, padding: Ints) -> list[_PoolConvolution]:
    """One convolution, or one per axis for large windows: fewer weights, and 16x16 takes half the time."""
    whole = _PoolConvolution(kernel=windows.kernel, strides=windows.strides, dilations=windows.dilations, begin=padding)
    if len(windows.size) == 1 or math.prod(windows.kernel) <= _MAX_DENSE_KERNEL_AREA:
        return [whole]
    (kh, kw), (sh, sw), (dh, dw), (bh, bw) = whole.kernel, whole.strides, whole.dilations, whole.begin
    return [
        _PoolConvolution(kernel=(kh, 1), strides=(sh, 1), dilations=(dh, 1), begin=(bh, 0)),
        _PoolConvolution(kernel=(1, kw), strides=(1, sw), dilations=(1, dw), begin=(0, bw)),
    ]


def _area_factors(windows: Windows, *, count_padding: bool) -> NDArray[np.float32]:
    """Kernel area over the number of cells to average, ``(1, 1, *count)``."""
    taps = _taps(windows, count_padding=count_padding)
    per_axis = [kernel / cells.sum(axis=-1) for kernel, cells in zip(windows.kernel, taps, strict=True)]
    grid = per_axis[0] if len(per_axis) == 1 else np.outer(per_axis[0], per_axis[1])
    return grid[None, None].astype(np.float32)


def _taps(windows: Windows, *, count_padding: bool) -> list[NDArray[np.float64]]:
    """For each axis ``(count, kernel)``: 1 where a tap of a window lies on the input, or on padding that counts."""
    per_axis: list[NDArray[np.float64]] = []
    for axis, n in enumerate(windows.size):
        begin, end = windows.begin[axis], windows.end[axis]
        cells = np.zeros(begin + n + max(windows.reach[axis], end, 0))
        cells[begin : begin + n] = 1
        if count_padding:
            cells[: begin + n + end] = 1
        taps = sliding_window_view(cells, windows.spans[axis])[:: windows.strides[axis], :: windows.dilations[axis]]
        per_axis.append(taps[: windows.count[axis]])
    return per_axis


def _global_average_pool(node: Node) -> Function:
    axes = tuple(range(2, node.rank()))
    return lambda x: x.mean(axes, keepdim=True)


def _global_max_pool(node: Node) -> Function:
    axes = tuple(range(2, node.rank()))
    return lambda x: torch.amax(x, axes, keepdim=True)


OPERATORS = (
    OperatorSpec(
        name="MaxPool",
        versions=(1, 8, 10, 11, 12, 22),
        build=_max_pool,
        covers="1-D and 2-D, any padding, auto_pad, dilations, ceil_mode",
        refuses="3-D, output Indices other than for an unpooling",
    ),
    OperatorSpec(
        name="AveragePool",
        versions=(7, 10, 11, 19, 22),
        build=_average_pool,
        covers="1-D and 2-D, any padding, auto_pad, dilations, count_include_pad, ceil_mode; as depthwise convolutions",
        refuses="3-D",
    ),
    OperatorSpec(name="GlobalAveragePool", versions=(1, 22), build=_global_average_pool, covers="any number of axes"),
    OperatorSpec(name="GlobalMaxPool", versions=(1, 22), build=_global_max_pool, covers="any number of axes"),
)
