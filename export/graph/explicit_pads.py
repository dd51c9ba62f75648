"""Write out the pads that ``auto_pad`` leaves to the runtime, as networks from TensorFlow have them.

Rounding, bias correction, training and the cutting of useless taps read the pads of a convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import onnx
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute

_POOLS = ("MaxPool", "AveragePool", "LpPool")


def write_out_pads(model: onnx.ModelProto) -> None:
    """Give convolutions and pools with ``auto_pad`` the pads that it means, in place.

    One whose shapes are unknown, or that would give another size with explicit pads, stays as it is.

    Args:
        model: With static shapes.
    """
    index = GraphIndex(model)
    for node in model.graph.node:
        if attribute(node, "auto_pad", "NOTSET") == "NOTSET" or any(cast("list[int]", attribute(node, "pads", []))):
            continue
        pads = _pads(node, index)
        if pads is not None:
            kept = [item for item in node.attribute if item.name not in ("auto_pad", "pads", "output_shape")]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("pads", pads)])


def _pads(node: onnx.NodeProto, index: GraphIndex) -> list[int] | None:
    """Those before all axes, then those behind; ``None`` if they are not known."""
    before, after = index.shape(node.input[0]), index.shape(node.output[0])
    kernel = _kernel(node, index)
    if before is None or after is None or kernel is None or None in (*before, *after, *kernel):
        return None
    sizes, made = (cast("tuple[int, ...]", shape[2:]) for shape in (before, after))
    axes = len(sizes)
    strides, dilations = (_integers(node, name, [1] * axes) for name in ("strides", "dilations"))
    spans = [(k - 1) * d + 1 for k, d in zip(cast("Sequence[int]", kernel), dilations, strict=True)]
    if node.op_type == "ConvTranspose":
        # What is made of the input, less the output that is wanted.
        extra = _integers(node, "output_padding", [0] * axes)
        full = [(n - 1) * s + span + e for n, s, span, e in zip(sizes, strides, spans, extra, strict=True)]
        totals = [f - m for f, m in zip(full, made, strict=True)]
        exact = all(total >= 0 for total in totals)
    elif node.op_type == "Conv" or node.op_type in _POOLS:
        needed = [(m - 1) * s + span - n for n, m, s, span in zip(sizes, made, strides, spans, strict=True)]
        totals = [max(total, 0) for total in needed]
        exact = all(
            (n + t - span) // s + 1 == m and (not attribute(node, "ceil_mode", 0) or (n + t - span) % s == 0)
            for n, t, m, s, span in zip(sizes, totals, made, strides, spans, strict=True)
        )
    else:
        return None
    if not exact:
        return None
    return _shared_out(totals, str(attribute(node, "auto_pad")))


def _shared_out(totals: Sequence[int], mode: str) -> list[int] | None:
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    match mode:
        case "SAME_UPPER":
            return [*less, *more]
        case "SAME_LOWER":
            return [*more, *less]
        case "VALID" if not any(totals):
            return [0] * 2 * len(totals)
    return None


def _kernel(node: onnx.NodeProto, index: GraphIndex) -> Sequence[int | None] | None:
    shape = cast("list[int] | None", attribute(node, "kernel_shape"))
    if shape is not None:
        return shape
    weight = index.shape(node.input[1]) if len(node.input) > 1 else None
    return None if weight is None else weight[2:]


def _integers(node: onnx.NodeProto, name: str, default: list[int]) -> list[int]:
    return list(cast("list[int]", attribute(node, name, default)))
