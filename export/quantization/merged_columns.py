"""Let the first convolution read several neighbouring pixels as one, for which ONNX Runtime has a fast integer kernel.

That kernel wants multiples of 4 channels, and a frame has 3: such a convolution goes through a copy of its patches
instead, which is 28 % of a Fast-SCNN's time. In a row of a frame lie 4 pixels as 12 numbers, so that
nothing is moved to read them as 12 channels of one pixel, nor to read what is computed for 2 neighbours in one place
as two pixels again. There are more multiplications, those by zero, and results keep every bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx
from onnx import helper

from edge_vseg.export.graph.index import GraphIndex, attribute, described_tensors, prune, set_initializer, sort_nodes

_TO_NCHW, _TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
_LARGE_KERNEL = 4
"""From this many columns on, 8 pixels are read as one; of smaller kernels too many products would be by zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How a convolution is rewritten.

    Attributes:
        merged: Pixels that are read as one.
        outputs: Pixels that are written as one.
        left: Merged pixels before the first one of the frame.
        right: Merged pixels after the last one.
        offset: Columns from where the kernel begins now to where it began before.
        width: Of the kernel, in merged pixels.
    """

    merged: int
    outputs: int
    left: int
    right: int
    offset: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """Constants around a frame.

    Attributes:
        node: The Concat.
        data: What it puts them around.
        before: The constant before, if there is one.
        after: The one behind.
    """

    node: onnx.NodeProto
    data: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """How the bytes of the frame come to convolutions.

    Attributes:
        columns: Puts columns of a colour beside the frame, if the network pads with one.
        rows: Puts rows of it above and below.
        turn: Gives the frame in NCHW.
        pixels: Dequantizes it.
    """

    columns: _Sides | None
    rows: _Sides | None
    turn: onnx.NodeProto
    pixels: onnx.NodeProto


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stem:
    """A convolution that reads the frame.

    Attributes:
        conv: The convolution.
        weights: Dequantizes its weights.
        bias: Dequantizes its bias, if it has one.
        rounding: Quantizes the result, or that of the activation behind.
    """

    conv: onnx.NodeProto
    weights: onnx.NodeProto
    bias: onnx.NodeProto | None
    rounding: onnx.NodeProto


def merge_columns(model: onnx.ModelProto) -> None:
    """Rewrite the convolutions that read the bytes of the frame, in place.

    Nothing is done where something else reads them too, or where sizes do not come out even.

    Args:
        model: A QDQ graph.
    """
    changed = onnx.shape_inference.infer_shapes(model)
    index = GraphIndex(changed)
    frame = _find_frame(index)
    if frame is None:
        return
    stems: list[tuple[_Stem, _Plan]] = []
    for node in index.consumers[frame.pixels.output[0]]:
        stem = _find_stem(node, index)
        plan = None if stem is None else _plan(stem, frame, index)
        if stem is None or plan is None:
            return
        stems.append((stem, plan))
    shared = stems[0][1]
    if any((plan.merged, plan.left, plan.right) != (shared.merged, shared.left, shared.right) for _, plan in stems):
        return
    stale = {frame.turn.output[0], frame.pixels.output[0]}
    stale |= {sides.node.output[0] for sides in (frame.columns, frame.rows) if sides is not None}
    for stem, plan in stems:
        stale |= {stem.conv.output[0], stem.rounding.input[0]}
        _write(stem, index)
        _convolve(stem, plan, frame.columns is not None, index)
    _surround(frame, shared, index)
    _read(frame, shared, index)
    sort_nodes(changed.graph)
    prune(changed, described_tensors(model) - stale)
    model.CopyFrom(changed)


def _find_frame(index: GraphIndex) -> _Frame | None:
    for turn in index.graph.node:
        if turn.op_type != "Transpose" or attribute(turn, "perm") != _TO_NCHW:
            continue
        rows = _sides(turn.input[0], 1, index)
        columns = _sides(turn.input[0] if rows is None else rows.data, 2, index)
        around = rows if columns is None else columns
        frame = turn.input[0] if around is None else around.data
        passed = [frame, turn.output[0], *(each.node.output[0] for each in (columns, rows) if each is not None)]
        if frame != index.graph.input[0].name or any(len(index.consumers.get(name, [])) != 1 for name in passed):
            continue
        pixels = index.consumers[turn.output[0]][0]
        if pixels.op_type == "DequantizeLinear":
            return _Frame(columns=columns, rows=rows, turn=turn, pixels=pixels)
    return None


def _find_stem(conv: onnx.NodeProto, index: GraphIndex) -> _Stem | None:
    if conv.op_type != "Conv" or attribute(conv, "group", 1) != 1 or set(_ints(conv, "dilations", [1])) != {1}:
        return None
    weights, *biases = (index.producer.get(name) for name in conv.input[1:])
    rounding = _rounding(conv, index)
    constants = (weights, *biases)
    known = all(node is not None and _is_own(node, index) for node in constants)
    if rounding is None or weights is None or not known:
        return None
    return _Stem(conv=conv, weights=weights, bias=biases[0] if biases else None, rounding=rounding)


def _is_own(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a node dequantizes a constant for one reader."""
    stored = node.op_type == "DequantizeLinear" and all(name in index.initializer for name in node.input)
    return stored and len(index.consumers[node.output[0]]) == 1


def _sides(name: str, axis: int, index: GraphIndex) -> _Sides | None:
    """What puts constants around a tensor, along an axis."""
    node = index.producer.get(name)
    if node is None or node.op_type != "Concat" or attribute(node, "axis") != axis:
        return None
    parts = list(node.input)
    before = parts.pop(0) if parts[0] in index.initializer else ""
    after = parts.pop() if parts[-1] in index.initializer else ""
    return _Sides(node=node, data=parts[0], before=before, after=after) if len(parts) == 1 else None


def _rounding(conv: onnx.NodeProto, index: GraphIndex) -> onnx.NodeProto | None:
    readers = index.consumers.get(conv.output[0], [])
    if len(readers) == 1 and readers[0].op_type in ("Relu", "Clip"):
        readers = index.consumers.get(readers[0].output[0], [])
    return readers[0] if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" else None


def _plan(stem: _Stem, frame: _Frame, index: GraphIndex) -> _Plan | None:
    before, after = index.shape(frame.turn.input[0]), index.shape(stem.conv.output[0])
    kernel = np.asarray(index.constant(stem.weights.input[0])).shape[3]
    stride = _ints(stem.conv, "strides", [1, 1])[1]
    left, right = _ints(stem.conv, "pads", [0, 0, 0, 0])[1::2]
    merged = 8 if kernel > _LARGE_KERNEL else 4
    if before is None or after is None or None in (*before, *after) or merged % stride:
        return None
    wide, outputs = cast(int, before[2]), merged // stride
    if frame.columns is not None:
        if left or right:
            return None
        left, right = (_width(name, index) for name in (frame.columns.before, frame.columns.after))
        wide -= left + right
    places, rest = divmod(cast(int, after[3]), outputs)
    whole = -(-left // merged)
    offset = whole * merged - left
    width = -(-(offset + (outputs - 1) * stride + kernel) // merged)
    behind = places - 1 + width - whole - wide // merged
    if rest or wide % merged or behind < 0:
        return None
    return _Plan(merged=merged, outputs=outputs, left=whole, right=behind, offset=offset, width=width)


def _surround(frame: _Frame, plan: _Plan, index: GraphIndex) -> None:
    """Put as many columns beside the frame as merged pixels need; the kernel reads those of before, or by zeros."""
    graph, columns, rows = index.graph, frame.columns, frame.rows
    if columns is None:
        return
    column = np.asarray(index.constant(columns.before or columns.after))[:, :, :1]
    name, parts, wide = columns.node.output[0], list[str](), _width(columns.data, index)
    for end, merged in (("before", plan.left), ("", 0), ("after", plan.right)):
        count = merged * plan.merged
        if count:
            parts.append(set_initializer(graph, f"{name}.merged_{end}", np.repeat(column, count, axis=2)))
        elif not end:
            parts.append(columns.data)
        wide += count
    columns.node.input[:] = parts
    for at, part in enumerate(rows.node.input if rows is not None else ()):
        if rows is not None and part != rows.data:
            longer = np.repeat(np.asarray(index.constant(part))[:, :, :1], wide, axis=2)
            rows.node.input[at] = set_initializer(graph, f"{rows.node.output[0]}.merged{at}", longer)


def _read(frame: _Frame, plan: _Plan, index: GraphIndex) -> None:
    """Reshape the frame, which lies in memory pixel by pixel."""
    name = frame.turn.input[0]
    _, height, _, channels = cast("tuple[int, ...]", index.shape(name))
    shape = np.array([1, height, -1, channels * plan.merged])
    constant = set_initializer(index.graph, f"{name}.merged_shape", shape)
    index.graph.node.append(helper.make_node("Reshape", [name, constant], [f"{name}.merged"], name=f"{name}.merged"))
    frame.turn.input[0] = f"{name}.merged"


def _convolve(stem: _Stem, plan: _Plan, is_surrounded: bool, index: GraphIndex) -> None:
    """Write the kernel once for each pixel of a place, shifted, among zeros."""
    graph, conv = index.graph, stem.conv
    kernel = np.asarray(index.constant(stem.weights.input[0]))
    made, channels, height, columns = kernel.shape
    top, _, bottom, _ = _ints(conv, "pads", [0, 0, 0, 0])
    down, along = _ints(conv, "strides", [1, 1])
    wide = np.zeros((plan.outputs, made, height, plan.width * plan.merged, channels), kernel.dtype)
    for at in range(plan.outputs):
        first = plan.offset + at * along
        wide[at, :, :, first : first + columns] = kernel.transpose(0, 2, 3, 1)
    wide = wide.reshape(plan.outputs * made, height, plan.width, plan.merged * channels).transpose(0, 3, 1, 2)
    stem.weights.input[0] = set_initializer(graph, f"{conv.output[0]}.merged_weights", wide)
    parameters = [(stem.weights, 1), (stem.weights, 2)]
    if stem.bias is not None:
        parameters += [(stem.bias, position) for position in range(len(stem.bias.input))]
    for node, position in parameters:
        value = np.asarray(index.constant(node.input[position]))
        if value.shape == (made,):
            name = f"{node.output[0]}.merged{position}"
            node.input[position] = set_initializer(graph, name, np.tile(value.reshape(-1), plan.outputs))
    left, right = (0, 0) if is_surrounded else (plan.left, plan.right)
    new = {
        "kernel_shape": [height, plan.width],
        "strides": [down, 1],
        "pads": [top, left, bottom, right],
    }
    kept = [item for item in conv.attribute if item.name not in new]
    del conv.attribute[:]
    conv.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in new.items())])


def _write(stem: _Stem, index: GraphIndex) -> None:
    """Turn the merged pixels of the result into pixels, under the name that the result had."""
    graph, name = index.graph, stem.rounding.output[0]
    parts = [f"{name}.{part}" for part in ("merged", "merged_nhwc", "apart")]
    _, channels, height, width = cast("tuple[int, ...]", index.shape(stem.conv.output[0]))
    constant = set_initializer(graph, f"{name}.shape", np.array([1, height, width, channels]))
    stem.rounding.output[0] = parts[0]
    graph.node.extend(
        [
            helper.make_node("Transpose", [parts[0]], [parts[1]], name=parts[1], perm=_TO_NHWC),
            helper.make_node("Reshape", [parts[1], constant], [parts[2]], name=parts[2]),
            helper.make_node("Transpose", [parts[2]], [name], name=f"{name}.nchw", perm=_TO_NCHW),
        ]
    )


def _width(name: str, index: GraphIndex) -> int:
    """Of a tensor in NHWC; 0 of none."""
    return cast("tuple[int, ...]", index.shape(name))[2] if name else 0


def _ints(node: onnx.NodeProto, name: str, default: Sequence[int]) -> list[int]:
    return [int(each) for each in cast("Sequence[int]", attribute(node, name, default))]
