"""Give depthwise convolutions a number of channels for which ONNX Runtime has its fast integer kernel.

That kernel (``MlasConvSym``) takes multiples of 16 channels on x86 and of 8 on arm64; any other number goes to one
that takes about twice as long, which MobileNetV3 with its 72, 120, 184 and 200 channels meets in every second block.
A channel that is added reads nothing and nobody reads it: the convolution before has weights of zero for it, and so
has the one behind, so that results keep every bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edge_vseg.export.graph.index import GraphIndex, attribute, described_tensors, prune, set_initializer, subgraphs

_ELEMENTWISE = frozenset({
    "Add", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Max", "Min", "Mul", "PRelu",
    "Relu", "Sigmoid", "Sub", "Tanh",
})  # fmt: skip
"""Finite for whatever they read: of what a channel holds, only NaN and infinity outlast a weight of zero."""
_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Constant:
    """One that has an entry for each channel of a tensor.

    Attributes:
        node: The operator that reads it, at once or dequantized.
        position: Among that operator's inputs.
        axis: Along which the channels lie.
        is_weight: Whether a channel that is added has zeros there, or what the last one has.
    """

    node: onnx.NodeProto
    position: int
    axis: int
    is_weight: bool = True


@dataclass(frozen=True, slots=True)
class _Channels:
    """Tensors whose channels are one for one the same, and the constants that go with them."""

    tensors: set[str]
    constants: list[_Constant]
    depthwise: list[onnx.NodeProto]


def widen_depthwise(model: onnx.ModelProto, multiple: int) -> None:
    """Add channels to depthwise int8 convolutions until their number is a multiple, in place.

    Those stay as they are whose channels reach an operator other than convolutions, pools and elementwise ones.

    Args:
        model: A QDQ graph.
        multiple: Of channels.
    """
    if not any(_lacking(node, multiple) for node in model.graph.node):
        return
    inferred = onnx.shape_inference.infer_shapes(model)
    if any(subgraphs(node) for node in inferred.graph.node):
        return  # they read tensors unseen
    index = GraphIndex(inferred)
    found: list[_Channels] = []
    for node in inferred.graph.node:
        if _lacking(node, multiple) and not any(node.input[0] in each.tensors for each in found):
            is_wanted = _is_depthwise(node, index) and _is_int8(node, index)
            channels = _follow(node.input[0], _groups(node), index) if is_wanted else None
            found += [channels] if channels is not None else []
    if not found:
        return
    for channels in found:
        _widen(channels, _lacking(channels.depthwise[0], multiple), index)
    prune(inferred, described_tensors(model))
    model.CopyFrom(inferred)


def _follow(name: str, count: int, index: GraphIndex) -> _Channels | None:
    """All that has the channels of a tensor; ``None`` if they reach something that is not understood."""
    found, pending = _Channels(set(), [], []), [name]
    ends = {value.name for value in index.graph.output}
    while pending:
        name = pending.pop()
        if name in found.tensors:
            continue
        shape = index.shape(name)
        if name not in index.producer or name in ends or shape is None or len(shape) != 4 or shape[1] != count:
            return None
        found.tensors.add(name)
        for node in (index.producer[name], *index.consumers.get(name, ())):
            tied = _tied(node, name, index, found)
            if tied is None:
                return None
            pending += tied
    return found if all(_is_own(constant, index) for constant in found.constants) else None


def _tied(node: onnx.NodeProto, name: str, index: GraphIndex, found: _Channels) -> Sequence[str] | None:
    """Tensors that have a tensor's channels because of a node; adds the constants that have."""
    if node.op_type == "Conv":
        return _tied_by_convolution(node, name, index, found)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        scale = index.constant(node.input[1])
        return (node.input[0], node.output[0]) if scale is not None and scale.size == 1 else None
    if node.op_type in _POOLS and len(node.output) == 1:
        return node.input[0], node.output[0]
    if node.op_type in _ELEMENTWISE:
        return _tied_by_elements(node, index, found)
    return None


def _tied_by_convolution(node: onnx.NodeProto, name: str, index: GraphIndex, found: _Channels) -> Sequence[str] | None:
    biases = [_Constant(node=node, position=2, axis=0)] if len(node.input) > 2 else []
    if _is_depthwise(node, index):
        if node not in found.depthwise:
            found.depthwise.append(node)
            found.constants.extend([_Constant(node=node, position=1, axis=0), *biases])
        return node.input[0], node.output[0]
    if _groups(node) != 1 or name not in (node.input[0], node.output[0]):
        return None  # computed weights
    if name == node.output[0]:
        found.constants.extend([_Constant(node=node, position=1, axis=0), *biases])
    if name == node.input[0]:
        found.constants.append(_Constant(node=node, position=1, axis=1))
    return ()


def _tied_by_elements(node: onnx.NodeProto, index: GraphIndex, found: _Channels) -> Sequence[str] | None:
    output = index.shape(node.output[0])
    if output is None:
        return None
    tied = [node.output[0]]
    for position, name in enumerate(node.input):
        value = _constant(name, index) if name else np.zeros(1)
        if value is None:
            shape = index.shape(name)
            if shape is None or len(shape) != 4:
                return None
            tied += [name] if shape[1] == output[1] else []
        elif value.ndim >= 3 and value.shape[-3] == output[1]:
            constant = _Constant(node=node, position=position, axis=value.ndim - 3, is_weight=False)
            found.constants.extend([constant] if constant not in found.constants else [])
        elif value.ndim >= 3 and value.shape[-3] != 1:
            return None
    return tied


def _constant(name: str, index: GraphIndex) -> NDArray[np.generic] | None:
    """An initializer, be it read at once or dequantized."""
    node = index.producer.get(name)
    stored = node.input[0] if node is not None and node.op_type == "DequantizeLinear" else name
    return index.constant(stored) if stored in index.initializer else None


def _is_own(constant: _Constant, index: GraphIndex) -> bool:
    """Whether it can be changed: nothing else reads what is dequantized of it."""
    name = constant.node.input[constant.position]
    node = index.producer.get(name)
    if node is None:
        return name in index.initializer
    return len(index.consumers[name]) == 1 and all(each in index.initializer for each in node.input)


def _widen(channels: _Channels, more: int, index: GraphIndex) -> None:
    for constant in channels.constants:
        node, position = constant.node, constant.position
        if node.input[position] in index.producer:
            node, position = index.producer[node.input[position]], 0
            per_channel = _latest(index.graph, node.input[1]).size > 1
            if per_channel and attribute(node, "axis", 1) == constant.axis:
                for parameter in range(1, len(node.input)):
                    _add(index.graph, node, parameter, 0, more, is_weight=False)
        _add(index.graph, node, position, constant.axis, more, is_weight=constant.is_weight)
    for node in channels.depthwise:
        next(item for item in node.attribute if item.name == "group").i += more
    for value in index.graph.value_info:
        if value.name in channels.tensors:
            value.type.tensor_type.shape.dim[1].dim_value += more


def _add(graph: onnx.GraphProto, node: onnx.NodeProto, position: int, axis: int, more: int, *, is_weight: bool) -> None:
    """Let a node read a constant that is longer along an axis; others that read it do not notice."""
    value = _latest(graph, node.input[position])
    widths = [(0, more if at == axis else 0) for at in range(value.ndim)]
    longer = np.pad(value, widths, mode="constant" if is_weight else "edge")
    node.input[position] = set_initializer(graph, f"{node.output[0]}.wider{position}", longer)


def _latest(graph: onnx.GraphProto, name: str) -> NDArray[np.generic]:
    return np.asarray(numpy_helper.to_array(next(tensor for tensor in graph.initializer if tensor.name == name)))


def _lacking(node: onnx.NodeProto, multiple: int) -> int:
    """Channels from a convolution's groups to the next multiple; 0 if it has but one group."""
    groups = _groups(node)
    return -groups % multiple if groups > 1 else 0


def _groups(node: onnx.NodeProto) -> int:
    """Groups of a convolution; 1 of anything else."""
    return int(str(attribute(node, "group", 1))) if node.op_type == "Conv" else 1


def _is_depthwise(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a convolution makes one channel of each."""
    shape = index.shape(node.output[0])
    weights = _constant(node.input[1], index)
    return (
        _groups(node) > 1
        and weights is not None
        and weights.shape[:2] == (_groups(node), 1)
        and shape is not None
        and shape[1] == _groups(node)
    )


def _is_int8(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a convolution reads integers, and may have an integer kernel."""
    before = [index.producer.get(name) for name in node.input[:2]]
    return all(each is not None and each.op_type == "DequantizeLinear" for each in before)
