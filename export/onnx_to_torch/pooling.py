"""Max and average pools, over windows and over whole images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_vseg.export.onnx_to_torch.module import Bound
from edge_vseg.export.onnx_to_torch.node import Node, Tensor
from edge_vseg.export.onnx_to_torch.operator_spec import Function, Operator
from edge_vseg.export.onnx_to_torch.windows import Ints, Windows, read_windows, spatial_size, torch_padding

_ONE_KERNEL_AREA = 16


def _max_pool(node: Node) -> Function:
    spatial_size(node)
    if node.uses_output(1):
        raise node.unsupported("output Indices")
    windows = read_windows(node, node.integers("kernel_shape") or ())
    dtype = node.value(0).dtype
    pool = F.max_pool1d if len(windows.size) == 1 else F.max_pool2d
    native = _native_max_pool(windows)
    if native is None:
        end = tuple(max(reach, 0) for reach in windows.reach)
        pads, padding, ceil = torch_padding(windows.begin, end), (0,) * len(windows.size), False
    else:
        pads, padding, ceil = [], windows.begin, native

    def max_pool(x: Tensor) -> Tensor:
        x = x if dtype is not None and dtype.is_floating_point else x.float()
        x = F.pad(x, pads, value=-math.inf) if pads else x
        y = pool(x, windows.kernel, windows.strides, padding, windows.dilations, ceil_mode=ceil)
        return y.to(dtype)

    return max_pool


def _native_max_pool(windows: Windows) -> bool | None:
    """The ``ceil_mode`` with which torch makes these windows by itself; ``None`` where it cannot.

    Padding is minus infinity and never wins, so how much of it follows the input does not matter, only how
    many windows there are. With ceil_mode, 3x3 at stride 2 over an even size becomes one MAX_POOL_2D with SAME.
    Quantization was checked too: PADV2 of minus infinity takes the scale of its input, 41 dB of SQNR.
    """
    if any(2 * b > k for b, k in zip(windows.begin, windows.kernel, strict=True)):
        return None
    parts = list(zip(windows.size, windows.begin, windows.spans, windows.strides, windows.count, strict=True))
    if all((n + 2 * b - span) // s + 1 == count for n, b, span, s, count in parts):
        return False
    if any(2 * b + n < span for n, b, span, _, _ in parts):
        return None
    ceiled = [-(-(n + 2 * b - span) // s) + 1 for n, b, span, s, _ in parts]
    kept = [made - 1 if (made - 1) * s >= n + b else made for made, (n, b, _, s, _) in zip(ceiled, parts, strict=True)]
    return True if kept == list(windows.count) else None


def _average_pool(node: Node) -> Function:
    """Average pooling as depthwise convolutions with constant kernels.

    AVERAGE_POOL_2D in int8 keeps the scale of its input, although averages are smaller, and runs outside
    XNNPACK. Measured on random 128x128x32: 2x2 0.65 ms and 29.9 dB of SQNR against 0.18 ms and 32.5 dB for a
    convolution; 16x16 0.17 ms and 14 dB against 0.13 ms and 33 dB. In float they are equally fast.
    """
    spatial_size(node)
    windows = read_windows(node, node.integers("kernel_shape") or ())
    factors = _factors(windows, counted=node.integer("count_include_pad", 0) == 1)
    uniform = bool(np.all(factors == 1))
    if windows.kernel == windows.size and windows.count == (1,) * len(windows.size) and not any(windows.begin):
        return _global_average_pool(node)
    channels = node.shape()[1]
    convolve = F.conv1d if len(windows.size) == 1 else F.conv2d
    plain = _plain_padding(windows)
    padding = windows.begin if plain else (0,) * len(windows.size)
    pads = [] if plain else torch_padding(windows.begin, [max(reach, 0) for reach in windows.reach])
    parts = _parts(windows, padding)
    kernels = [np.full((channels, 1, *part.kernel), 1 / math.prod(part.kernel), np.float32) for part in parts]

    def average_pool(*arguments: Tensor) -> Tensor:
        *weights, factor, x = arguments
        x = F.pad(x, pads) if pads else x
        for part, weight in zip(parts, weights, strict=True):
            x = convolve(x, weight.to(x.dtype), None, part.strides, part.begin, part.dilations, channels)
        return x if uniform else x * factor.to(x.dtype)

    return Bound(average_pool, *kernels, factors)


def _plain_padding(windows: Windows) -> bool:
    """Whether the same padding before and after gives these windows."""
    parts = zip(windows.size, windows.begin, windows.spans, windows.strides, windows.count, strict=True)
    return all((n + 2 * b - span) // s + 1 == count for n, b, span, s, count in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One convolution of an average pool."""

    kernel: Ints
    strides: Ints
    dilations: Ints
    begin: Ints


def _parts(windows: Windows, padding: Ints) -> list[_Part]:
    """One convolution, or for large windows one per axis: fewer weights, and 16x16 runs in half the time."""
    whole = _Part(kernel=windows.kernel, strides=windows.strides, dilations=windows.dilations, begin=padding)
    if len(windows.size) == 1 or math.prod(windows.kernel) <= _ONE_KERNEL_AREA:
        return [whole]
    (kh, kw), (sh, sw), (dh, dw), (bh, bw) = whole.kernel, whole.strides, whole.dilations, whole.begin
    return [
        _Part(kernel=(kh, 1), strides=(sh, 1), dilations=(dh, 1), begin=(bh, 0)),
        _Part(kernel=(1, kw), strides=(1, sw), dilations=(1, dw), begin=(0, bw)),
    ]


def _factors(windows: Windows, *, counted: bool) -> NDArray[np.float32]:
    """Window area over the number of cells that count, ``(1, 1, *count)``."""
    per_axis: list[NDArray[np.float64]] = []
    for axis, n in enumerate(windows.size):
        begin, end = windows.begin[axis], windows.end[axis]
        cells = np.zeros(begin + n + max(windows.reach[axis], end, 0))
        cells[begin : begin + n] = 1
        if counted:
            cells[: begin + n + end] = 1
        seen = sliding_window_view(cells, windows.spans[axis])[:: windows.strides[axis], :: windows.dilations[axis]]
        per_axis.append(windows.kernel[axis] / seen.sum(axis=-1)[: windows.count[axis]])
    grid = per_axis[0] if len(per_axis) == 1 else np.outer(per_axis[0], per_axis[1])
    return grid[None, None].astype(np.float32)


def _global_average_pool(node: Node) -> Function:
    axes = tuple(range(2, node.rank()))
    return lambda x: x.mean(axes, keepdim=True)


def _global_max_pool(node: Node) -> Function:
    axes = tuple(range(2, node.rank()))
    return lambda x: torch.amax(x, axes, keepdim=True)


OPERATORS = (
    Operator(
        name="MaxPool",
        versions=(1, 8, 10, 11, 12, 22),
        build=_max_pool,
        covers="1-D and 2-D, any padding, auto_pad, dilations, ceil_mode",
        refuses="3-D, output Indices",
    ),
    Operator(
        name="AveragePool",
        versions=(7, 10, 11, 19, 22),
        build=_average_pool,
        covers="1-D and 2-D, any padding, auto_pad, dilations, count_include_pad, ceil_mode; as depthwise convolutions",
        refuses="3-D",
    ),
    Operator(name="GlobalAveragePool", versions=(1, 22), build=_global_average_pool, covers="any number of axes"),
    Operator(name="GlobalMaxPool", versions=(1, 22), build=_global_max_pool, covers="any number of axes"),
)
