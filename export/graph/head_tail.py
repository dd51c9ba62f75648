"""The operators that a segmentation network ends in, and which of them may be cut off.

Upsampling, softmax, sigmoid, argmax and a threshold at one half do not change which class wins at the resolution of the
logits, if they work along the class axis and come in an order that commutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import onnx

from edge_vseg.export.graph.class_axis import possible_axes
from edge_vseg.export.graph.index import GraphIndex, attribute
from edge_vseg.export.graph.nearest_resize import device_reads_the_same

Align = Literal["half_pixel", "align_corners", "asymmetric", "nearest"]

_PROBABILITIES = ("Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid")
THRESHOLDS = ("Greater", "GreaterOrEqual", "Round")
_DECIDING = ("ArgMax", *THRESHOLDS)
_ANYWHERE = ("Transpose", "Cast", "Identity", *_PROBABILITIES, *THRESHOLDS, "Resize", "ArgMax")
_AFTER_DECISION = ("Squeeze", "Unsqueeze", "Reshape", "Flatten")
_MOVES = ("Slice", "Pad", "Clip", "Resize", "Transpose", "Cast", "Identity", "Gather", "Split", "Squeeze", "Unsqueeze")
"""What moves or limits values, and makes no others but between them."""
_LINEAR_ALIGN = {"half_pixel": "half_pixel", "align_corners": "align_corners", "asymmetric": "asymmetric"}
_LINEAR_ALIGN["pytorch_half_pixel"] = "half_pixel"
_GONE = 0
"""Instead of a class axis that a decision has taken away."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadTail:
    """The longest run of operators that a head may end in.

    Attributes:
        body: The tensor before it.
        nodes: The operators, in the order in which they run.
        axes: The axes of the body, of 1 and 3, for which the operators do nothing else than make the winning class of
            the scores along that axis; empty if there is none.
    """

    body: str
    nodes: tuple[onnx.NodeProto, ...]
    axes: tuple[int, ...]


def find_tail(index: GraphIndex, output: str) -> HeadTail:
    """The run of operators that ends in an output."""
    body, walked = _walk_back(index, output)
    if decision_before(index, body) == "ArgMax":  # a finished map, in a Resize that stays
        return HeadTail(body=body, nodes=tuple(walked), axes=())
    axes = tuple(axis for axis in possible_axes(index, body) if axis_behind(index, walked, axis) in (_GONE, 1, 3))
    return HeadTail(body=body, nodes=tuple(walked), axes=axes)


def is_probability(index: GraphIndex, name: str) -> bool:
    """Whether a tensor is what a sigmoid, softmax or threshold gave, cropped, padded, resized or put beside others."""
    node = index.producer.get(name)
    if node is None:
        return False
    if node.op_type in ("Sigmoid", "HardSigmoid", "Softmax", "Greater", "GreaterOrEqual"):
        return True
    if node.op_type == "Concat":
        return all(is_probability(index, each) for each in node.input)
    return node.op_type in (*_MOVES, "Round") and is_probability(index, node.input[0])


def makes_probabilities(tail: Sequence[onnx.NodeProto]) -> bool:
    """Whether an operator of a tail makes probabilities, of whatever comes in."""
    return any(node.op_type in _PROBABILITIES for node in tail)


def split_interpolated(
    index: GraphIndex, tail: Sequence[onnx.NodeProto]
) -> tuple[Sequence[onnx.NodeProto], Sequence[onnx.NodeProto]]:
    """What makes probabilities that are interpolated afterwards, and the rest of the tail."""
    last = 0
    for at, node in enumerate(tail):
        later = tail[at + 1 :]
        if node.op_type in _PROBABILITIES and any(align_of(index, each) not in (None, "nearest") for each in later):
            last = at + 1
    return tail[:last], tail[last:]


def _walk_back(index: GraphIndex, name: str) -> tuple[str, list[onnx.NodeProto]]:
    """The tensor before the longest run of operators that a head may end in, and that run in order."""
    tail: list[onnx.NodeProto] = []
    node = index.producer.get(name)
    while node is not None and node.op_type in (*_ANYWHERE, *(_AFTER_DECISION if decision_before(index, name) else ())):
        if node.op_type == "Resize" and align_of(index, node) is None:
            break
        tail.insert(0, node)
        name = node.input[0]
        node = index.producer.get(name)
    return name, tail


def decision_before(index: GraphIndex, name: str) -> str:
    """The last operator that made classes of scores, before one tensor; empty if that holds scores."""
    node = index.producer.get(name)
    while node is not None and node.op_type in _ANYWHERE + _AFTER_DECISION:
        if node.op_type in _DECIDING:
            return str(node.op_type)
        node = index.producer.get(node.input[0])
    return ""


def axis_behind(index: GraphIndex, tail: Sequence[onnx.NodeProto], axis: int) -> int | None:
    """Where the tail leaves the class axis; 0 once a decision has taken it, ``None`` if it works along another."""
    decided = False
    for node in tail:
        if decided and node.op_type not in ("Cast", "Identity", "Transpose", *_AFTER_DECISION):
            return None
        match node.op_type:
            case "Transpose" if not decided:
                perm = list(cast(list[int], attribute(node, "perm")))
                if axis not in perm:
                    return None
                axis = perm.index(axis)
            case "Softmax" | "LogSoftmax" | "ArgMax":
                default = 0 if node.op_type == "ArgMax" else -1
                if cast(int, attribute(node, "axis", default)) % 4 != axis:
                    return None
                decided = node.op_type == "ArgMax"
            case "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten":
                decided = True  # the class axis is gone
            case "Greater" | "GreaterOrEqual" | "Round" if not _is_even(index, node, sigmoid=_squashed(tail, node)):
                return None
            case "Resize" if not _keeps(index, node, axis):
                return None
    return _GONE if decided else axis


def planes_behind(tail: Sequence[onnx.NodeProto], axis: int) -> list[int]:
    """The axes of height and width beside a class axis, in the order in which the tail gives them."""
    order = [0, 1, 2, 3]
    for node in tail:
        if node.op_type == "ArgMax" or node.op_type in _AFTER_DECISION:
            break
        if node.op_type == "Transpose":
            order = [order[at] for at in cast(list[int], attribute(node, "perm"))]
    return [at for at in order if at not in (0, axis)]


def _keeps(index: GraphIndex, node: onnx.NodeProto, axis: int) -> bool:
    """Whether a Resize leaves the batch and the class axis as they are."""
    before, after = index.shape(node.input[0]), index.shape(node.output[0])
    if before is None or after is None or axis >= len(before):
        return False
    return before[axis] == after[axis] and before[0] == after[0]


def _squashed(tail: Sequence[onnx.NodeProto], node: onnx.NodeProto) -> bool:
    """Whether a sigmoid comes before the node in the tail."""
    before = tail[: next(at for at, each in enumerate(tail) if each is node)]
    return any("Sigmoid" in each.op_type for each in before)


def _is_even(index: GraphIndex, node: onnx.NodeProto, *, sigmoid: bool) -> bool:
    """Whether a threshold lies where both classes are equally likely, as the device sets it."""
    if node.op_type == "Round":
        return sigmoid
    limit = index.constant(node.input[1])
    return limit is not None and bool(np.all(limit == (0.5 if sigmoid else 0.0)))


def align_of(index: GraphIndex, node: onnx.NodeProto) -> Align | None:
    """How a Resize places samples; ``None`` for other operators and for ways the device cannot repeat."""
    if node.op_type != "Resize":
        return None
    mode = attribute(node, "mode", "nearest")
    if mode == "linear" and not attribute(node, "antialias", 0):
        where = cast(str, attribute(node, "coordinate_transformation_mode", "half_pixel"))
        return cast("Align | None", _LINEAR_ALIGN.get(where))
    return "nearest" if mode == "nearest" and device_reads_the_same(index, node) else None
