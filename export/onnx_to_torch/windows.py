"""Sliding windows of convolutions and pools: sizes, strides and padding from the attributes of a node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from edge_vseg.export.onnx_to_torch.node import Node

Ints = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Windows over the spatial axes; every tuple has one item per axis.

    Attributes:
        size: Spatial size of the input.
        kernel: Window size.
        strides: Distance between windows.
        dilations: Distance between the taps of a window.
        begin: Padding before the input.
        end: Padding after the input.
        count: Number of windows, the output size.
    """

    size: Ints
    kernel: Ints
    strides: Ints
    dilations: Ints
    begin: Ints
    end: Ints
    count: Ints

    @property
    def spans(self) -> Ints:
        """Size of a dilated window."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def symmetric(self) -> bool:
        """Whether torch's own ``padding`` argument can express the padding."""
        return self.begin == self.end

    @property
    def same(self) -> bool:
        """Whether TFLite's SAME padding gives these windows."""
        parts = zip(self.size, self.spans, self.strides, self.begin, self.count, strict=True)
        totals = [(-(-n // s), max((-(-n // s) - 1) * s + span - n, 0), b, count) for n, span, s, b, count in parts]
        return all(count == outputs and b == total // 2 for outputs, total, b, count in totals)

    @property
    def reach(self) -> Ints:
        """Padding after the input that the last window needs; negative if it ends before the input does."""
        parts = zip(self.count, self.strides, self.spans, self.size, self.begin, strict=True)
        return tuple((count - 1) * s + span - n - b for count, s, span, n, b in parts)


def read_windows(node: Node, kernel: Ints) -> Windows:
    """Read the window attributes of a Conv, MaxPool or AveragePool node.

    Args:
        node: The node; input 0 is ``(N, C, L)`` or ``(N, C, H, W)``.
        kernel: Window size per spatial axis.

    Raises:
        UnsupportedOperatorError: For other ranks, or padding that leaves no output.
    """
    size = spatial_size(node)
    ones = (1,) * len(size)
    strides = node.integers("strides", ones) or ones
    dilations = node.integers("dilations", ones) or ones
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    begin, end = _padding(node, size, spans, strides)
    rounding = math.ceil if node.integer("ceil_mode", 0) else math.floor
    counts: list[int] = []
    for n, span, stride, b, e in zip(size, spans, strides, begin, end, strict=True):
        count = rounding((n + b + e - span) / stride) + 1
        # Like torch, drop a window that starts in the padding after the input.
        if rounding is math.ceil and (count - 1) * stride >= n + b:
            count -= 1
        counts.append(count)
    if min(counts) < 1:
        raise node.unsupported(f"a window of {spans} is larger than the input of {size}")
    return Windows(
        size=size,
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        begin=begin,
        end=end,
        count=tuple(counts),
    )


def spatial_size(node: Node) -> Ints:
    """``(L,)`` or ``(H, W)`` of input 0.

    Raises:
        UnsupportedOperatorError: If there are not 1 or 2 spatial axes.
    """
    size = node.shape()[2:]
    if len(size) not in (1, 2):
        raise node.unsupported(f"{len(size)} spatial axes; 1 and 2 are supported")
    return size


def torch_padding(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """Padding in the order of ``torch.nn.functional.pad``: last axis first."""
    pairs = list(zip(begin, end, strict=True))
    return [side for pair in reversed(pairs) for side in pair]


def crop_spatial(x: Tensor, begin: Ints, end: Ints) -> Tensor:
    """Crop the spatial axes by slicing: that lowers to SLICE in NHWC, a negative pad to SLICE between two TRANSPOSE."""
    for axis, (b, e) in enumerate(zip(begin, end, strict=True), start=2):
        if b or e:
            x = x.narrow(axis, b, x.shape[axis] - b - e)
    return x


def _padding(node: Node, size: Ints, spans: Ints, strides: Ints) -> tuple[Ints, Ints]:
    auto = node.text("auto_pad", "NOTSET")
    axes = len(size)
    if auto == "VALID":
        return (0,) * axes, (0,) * axes
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((math.ceil(n / stride) - 1) * stride + span - n, 0)
            for n, span, stride in zip(size, spans, strides, strict=True)
        ]
        less, more = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
        return (less, more) if auto == "SAME_UPPER" else (more, less)
    if auto != "NOTSET":
        raise node.unsupported(f"auto_pad '{auto}'")
    pads = node.integers("pads", (0,) * (2 * axes)) or (0,) * (2 * axes)
    if min(pads) < 0:
        raise node.unsupported(f"negative pads {pads}")
    return pads[:axes], pads[axes:]
