"""Conv and ConvTranspose."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edge_vseg.export.onnx_to_torch.module import Bound
from edge_vseg.export.onnx_to_torch.node import Node
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorSpec
from edge_vseg.export.onnx_to_torch.windows import (
    Ints,
    crop_spatial,
    read_windows,
    spatial_size,
    torch_padding,
)


def _conv(node: Node) -> Function:
    spatial_size(node)
    windows = read_windows(node, node.integers("kernel_shape") or node.shape(1)[2:])
    groups = node.integer("group", 1)
    convolve = F.conv1d if len(windows.size) == 1 else F.conv2d
    padding = windows.begin if windows.symmetric else (0,) * len(windows.size)
    # Asymmetric padding (TensorFlow's SAME at stride 2) as pad and conv: litert-torch folds the two into one CONV_2D
    # with SAME padding.
    pads = [] if windows.symmetric else torch_padding(windows.begin, windows.end)

    def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = F.pad(x, pads) if pads else x
        return convolve(x, weight, bias, windows.strides, padding, windows.dilations, groups)

    return conv


def _conv_transpose(node: Node) -> Function:
    size = spatial_size(node)
    weight = node.array(1)
    if weight is None:
        raise node.unsupported("weights must be constant")
    ones, zeros = (1,) * len(size), (0,) * len(size)
    strides = node.integers("strides", ones) or ones
    dilations = node.integers("dilations", ones) or ones
    weight = _spread(weight, dilations)
    full = tuple((n - 1) * s + span for n, s, span in zip(size, strides, weight.shape[2:], strict=True))
    begin, end = _crops(node, size, strides, full)
    weight, begin, end = _extended(_ungrouped(weight, node.integer("group", 1)), begin, end)
    padding = begin if _is_same(size, strides, begin, end, full) else zeros
    begin = tuple(b - p for b, p in zip(begin, padding, strict=True))
    end = tuple(e - p for e, p in zip(end, padding, strict=True))
    convolve = F.conv_transpose1d if len(size) == 1 else F.conv_transpose2d

    # Do not use torch's output_padding: litert-torch 0.10 fails on it, and it fills the last rows with zeros.
    # Slice off what torch's padding cannot crop. Zero-padding the kernel until the crop is symmetric avoids the slice,
    # but is slower (int8, 32 channels, 64x64 -> 128x128: 0.76 ms instead of 0.61 ms).
    def conv_transpose(kernel: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
        y = convolve(x, kernel, bias, strides, padding)
        return crop_spatial(y, begin, end)

    return Bound(conv_transpose, weight)


def _columns_to_image(node: Node) -> Function:
    """Col2Im, as ``fold`` makes it: a transposed convolution that puts every column's values where they belong."""
    size, block = node.input_ints(1) or (), node.input_ints(2) or ()
    if len(size) != 2:
        raise node.unsupported(f"{len(size)} spatial axes; 2 are supported")
    strides, dilations = (node.integers(name) or (1, 1) for name in ("strides", "dilations"))
    pads = node.integers("pads") or (0,) * 4
    spans = [(k - 1) * d + 1 for k, d in zip(block, dilations, strict=True)]
    padded = [n + before + after for n, before, after in zip(size, pads[:2], pads[2:], strict=True)]
    steps = [(n - span) // s + 1 for n, span, s in zip(padded, spans, strides, strict=True)]
    area = block[0] * block[1]
    channels = node.shape()[1] // area
    whole = [count * k for count, k in zip(steps, block, strict=True)]
    if block == tuple(strides) and block[0] == block[1] and set(dilations) == {1} and whole == padded == list(size):
        return lambda x: F.pixel_shuffle(x.reshape(x.shape[0], channels * area, *steps), block[0])
    tap = np.zeros((area, 1, *block), np.float32)
    tap.reshape(area, area)[np.arange(area), np.arange(area)] = 1
    taps = _spread(tap, dilations)
    missing = [n - ((count - 1) * s + span) for n, count, s, span in zip(padded, steps, strides, spans, strict=True)]

    def fold(kernel: Tensor, x: Tensor) -> Tensor:
        # Channels take turns as images: a grouped kernel would be dense, with zeros between them.
        x = x.reshape(x.shape[0] * channels, area, *steps)
        y = F.conv_transpose2d(x, kernel.to(x.dtype), stride=strides)
        y = y.reshape(-1, channels, *y.shape[2:])
        y = F.pad(y, (0, missing[1], 0, missing[0])) if any(missing) else y
        return crop_spatial(y, pads[:2], pads[2:])

    return Bound(fold, taps)


def _crops(node: Node, size: Ints, strides: Ints, full: Ints) -> tuple[Ints, Ints]:
    """What to crop from the full result before and after; negative if rows have to be added."""
    zeros = (0,) * len(size)
    extra = node.integers("output_padding", zeros) or zeros
    auto = node.text("auto_pad", "NOTSET")
    shape = node.integers("output_shape")
    if shape is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        shape = tuple(n * s for n, s in zip(size, strides, strict=True))
    if shape is None:
        pads = node.integers("pads", zeros * 2) or zeros * 2
        pads = zeros * 2 if auto == "VALID" else pads
        end = tuple(p - e for p, e in zip(pads[len(size) :], extra, strict=True))
        return pads[: len(size)], end
    shape = shape[-len(size) :]
    # ONNX: total = full + output_padding - output_shape; an odd row is cropped after the output for SAME_UPPER, before
    # it otherwise. output_padding adds rows after the output.
    totals = [f + e - n for f, e, n in zip(full, extra, shape, strict=True)]
    halves = [total // 2 for total in totals]
    if auto == "SAME_UPPER":
        begin = tuple(halves)
    else:
        begin = tuple(total - half for total, half in zip(totals, halves, strict=True))
    end = tuple(f - n - b for f, n, b in zip(full, shape, begin, strict=True))
    return begin, end


def _ungrouped(weight: NDArray[np.generic], groups: int) -> NDArray[np.generic]:
    """``(C, M/g, ...)`` as a dense ``(C, M, ...)`` with zeros between groups: TFLite has no grouped TRANSPOSE_CONV."""
    if groups == 1:
        return weight
    channels, outputs = weight.shape[:2]
    per_group = channels // groups
    dense = np.zeros((channels, outputs * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * per_group, (group + 1) * per_group)
        dense[rows, group * outputs : (group + 1) * outputs] = weight[rows]
    return dense


def _spread(weight: NDArray[np.generic], dilations: Ints) -> NDArray[np.generic]:
    """The kernel with zeros between its taps instead of dilations, which TFLite's TRANSPOSE_CONV does not have."""
    if set(dilations) == {1}:
        return weight
    spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    spread = np.zeros((*weight.shape[:2], *spans), weight.dtype)
    cut: tuple[slice, ...] = (slice(None), slice(None), *(slice(None, None, d) for d in dilations))
    spread[cut] = weight
    return spread


def _extended(weight: NDArray[np.generic], begin: Ints, end: Ints) -> tuple[NDArray[np.generic], Ints, Ints]:
    """Add zero taps to the kernel until the output only needs cropping, not padding."""
    widths: list[tuple[int, int]] = [(0, 0), (0, 0)]
    for b, e in zip(begin, end, strict=True):
        widths.append((-min(b, 0), -min(e, 0)))
    taps = widths[2:]
    begin = tuple(b + before for b, (before, _) in zip(begin, taps, strict=True))
    end = tuple(e + after for e, (_, after) in zip(end, taps, strict=True))
    return np.pad(weight, widths), begin, end


def _is_same(size: Ints, strides: Ints, begin: Ints, end: Ints, full: Ints) -> bool:
    """Whether the crop is SAME padding of TFLite's TRANSPOSE_CONV; litert-torch fails on any other padding."""
    parts = zip(size, strides, begin, end, full, strict=True)
    return all(b == e and -(-(f - b - e) // s) == n for n, s, b, e, f in parts)


OPERATORS = (
    OperatorSpec(
        name="Conv",
        versions=(1, 11, 22),
        build=_conv,
        covers="1-D and 2-D, groups, dilations, any padding, auto_pad",
        refuses="3-D",
    ),
    OperatorSpec(
        name="ConvTranspose",
        versions=(1, 11, 22),
        build=_conv_transpose,
        constants=(1,),
        covers="1-D and 2-D, groups (as a dense kernel), dilations, any padding, output_padding, output_shape, "
        "auto_pad",
        refuses="3-D, computed weights",
    ),
    OperatorSpec(
        name="Col2Im",
        versions=(18,),
        build=_columns_to_image,
        constants=(1, 2),
        covers="2-D; overlaps, strides, dilations and padding; as a transposed convolution",
        refuses="1-D and 3-D, computed sizes",
    ),
)
