"""Give the output of a network the four axes back that it leaves out or joins.

Networks of Keras often end in a Reshape to ``(H * W, C)`` and a softmax, as Keras 1 had none of maps; others flatten
for a softmax and reshape again, or drop the axis of the batch, or that of a single channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import onnx

from edge_vseg.export.graph.head_tail import decision_before, is_probability
from edge_vseg.export.graph.index import GraphIndex, attribute, rewire

_ALIKE = ("Identity", "Cast", "Dropout", "Sigmoid")
_ALONG = ("Softmax", "LogSoftmax", "ArgMax")
_FLATTENS = ("Reshape", "Flatten", "Squeeze", "Gather")
Groups = list[list[int]]
"""For each axis of the flat tensor the lengths of those that it was made of."""


def unflatten_output(model: onnx.ModelProto) -> tuple[int, ...] | None:
    """Make the operators behind one that joins or drops axes of scores work on what it reads instead, in place.

    A single channel that is no probability stays without its axis: it may be a depth as well as a foreground.

    Args:
        model: A canonical model with one output.

    Returns:
        The shape that the output now has, as whose values in a row the network gives its own; ``None`` where nothing
        was changed.
    """
    index = GraphIndex(model)
    chain = _behind_flattening(index, model.graph.output[0].name)
    if chain is None:
        return None
    flatten, *rest = chain
    shape = _lengths(index, flatten.input[0])
    groups = _joined(shape, _lengths(index, flatten.output[0]))
    probable = is_probability(index, flatten.input[0]) or any(node.op_type == "Sigmoid" for node in rest)
    if groups is None or (1 in shape[1::2] and not probable):
        return None
    batch = len(shape) - sum(map(len, groups))
    nodes = []
    for node in rest:
        changed = _unflat(node, groups, batch, _lengths(index, node.output[0]))
        if changed is None:
            return None
        groups, node = changed
        nodes.append(node)
    _write(model, flatten, rest, nodes)
    return (1,) * batch + tuple(length for group in groups for length in group)


def _behind_flattening(index: GraphIndex, name: str) -> list[onnx.NodeProto] | None:
    """The run of operators that ends in a tensor, from the one on that takes away an axis of four of scores."""
    chain: list[onnx.NodeProto] = []
    node = index.producer.get(name)
    while node is not None and node.op_type in (*_ALIKE, *_ALONG, *_FLATTENS, "Transpose"):
        chain.insert(0, node)
        source = node.input[0]
        if node.op_type in _FLATTENS and len(_lengths(index, source)) == 4 > len(_lengths(index, node.output[0])):
            return None if decision_before(index, source) else chain
        if node.op_type == "Gather" or len(index.consumers[source]) != 1:
            return None  # another Gather changes the order of classes
        node = index.producer.get(source)
    return None


def _lengths(index: GraphIndex, name: str) -> tuple[int, ...]:
    return cast(tuple[int, ...], index.shape(name) or ())


def _joined(before: Sequence[int], after: Sequence[int]) -> Groups | None:
    """Which axes of four are joined, a dropped one with its neighbour, an added one with none.

    Without a first group the batch is dropped.
    """
    batch, first, middle, last = before
    if batch != 1:
        return None
    every = [first, middle, last]
    ways: list[Groups] = [[[first, middle], [last]], [[first], [middle, last]], [every], [every, []]]
    for groups in [*([[1], *way] for way in ways), *ways, [[first], [middle], [last]]]:
        if list(after) == [math.prod(group) for group in groups]:
            return groups
    return None


def _unflat(
    node: onnx.NodeProto, groups: Groups, batch: int, after: Sequence[int]
) -> tuple[Groups, onnx.NodeProto] | None:
    """The operator for the axes that there were; ``None`` if it has no such form."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    starts = [batch + sum(map(len, groups[:at])) for at in range(len(groups))]
    match node.op_type:
        case "Transpose":
            perm = cast(list[int], attribute(node, "perm"))
            wide = [starts[at] + n for at in perm for n in range(len(groups[at]))]
            _set(made, "perm", [*range(batch), *wide])
            groups = [groups[at] for at in perm]
        case "Softmax" | "LogSoftmax" | "ArgMax":
            at = cast(int, attribute(node, "axis", 0 if node.op_type == "ArgMax" else -1)) % len(groups)
            if len(groups[at]) != 1:
                return None
            _set(made, "axis", starts[at])
            if node.op_type == "ArgMax":
                one = [[1]] if attribute(node, "keepdims", 1) else []
                groups = [*groups[:at], *one, *groups[at + 1 :]]
        case "Reshape" | "Flatten" | "Squeeze":
            if [1] * batch + [length for group in groups for length in group] != list(after):
                return None
            del made.input[1:], made.attribute[:]
            made.op_type = "Identity"
            groups = [[length] for length in after[batch:]]
    return groups, made


def _set(node: onnx.NodeProto, name: str, value: int | list[int]) -> None:
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def _write(
    model: onnx.ModelProto, flatten: onnx.NodeProto, old: Sequence[onnx.NodeProto], new: Sequence[onnx.NodeProto]
) -> None:
    """Put the changed operators in place of the old ones, and infer the shapes behind them again."""
    graph = model.graph
    for before, after in zip(old, new, strict=True):
        before.CopyFrom(after)
    gone = {name for node in (flatten, *old) for name in node.output}
    if flatten.output[0] == graph.output[0].name:
        flatten.op_type = "Identity"
        del flatten.input[1:], flatten.attribute[:]
    else:
        rewire(graph, flatten.output[0], flatten.input[0])
        graph.node.remove(flatten)
    kept = [value for value in graph.value_info if value.name not in gone]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    graph.output[0].type.tensor_type.ClearField("shape")
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True))
