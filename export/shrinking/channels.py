"""Which channels of a graph can be cut, and what goes with each.

A channel is cut together with everything that holds or reads it: the filter that makes it, the bias, the depthwise
filters behind it, the inputs of the layers that read it, and the channels that it is added to. Where an operator mixes
channels in a way that is not known here, they stay.

References: Fang et al., DepGraph: Towards Any Structural Pruning, 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from edge_vseg.export.graph.index import GraphIndex, attribute

Ids = tuple[int, ...]
GROUP = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Channels that can only be cut together.

    Attributes:
        made: Tensors that hold it as an output of a layer, and where: name of the activation, index.
        held: Constants that have a slice of it: name, axis, index.
        counted: Integers that count it: name of a node, which of its inputs is the constant with the integer, and the
            position there; input ``GROUP`` is the node's attribute ``group``.
    """

    made: tuple[tuple[str, int], ...]
    held: tuple[tuple[str, int, int], ...]
    counted: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningGroup:
    """Channels that the same layers make; any of them may be cut.

    Attributes:
        name: The first activation that holds them.
        channels: In the order of that activation.
    """

    name: str
    channels: tuple[Channel, ...]


def find_channels(model: onnx.ModelProto) -> tuple[PruningGroup, ...]:
    """Find all channels of a graph that can be cut, in the order of the graph.

    Args:
        model: A canonical graph with static shapes and named nodes.
    """
    return _Walk(onnx.shape_inference.infer_shapes(model)).run()


_POINTWISE = frozenset(
    {
        "Relu", "LeakyRelu", "PRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Clip", "Tanh", "Erf", "Elu",
        "Selu", "Celu", "Gelu", "Softplus", "Softsign", "Mish", "Sqrt", "Exp", "Log", "Neg", "Abs", "Identity",
        "Cast", "Dropout", "Reciprocal", "Floor", "Ceil", "Round", "Add", "Sub", "Mul", "Div", "Pow", "Min",
        "Max", "Sum", "Mean",
    }
)  # fmt: skip
_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"})
_REDUCTIONS = frozenset({"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2"})
_BY_CHANNEL = frozenset({"BatchNormalization", "InstanceNormalization"})


class _Walk:
    """One pass in topological order; every channel of every tensor gets a number, and numbers are joined."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._index = GraphIndex(model)
        self._joined: list[int] = []
        self._fixed: set[int] = set()
        self._layout: dict[str, tuple[int, Ids]] = {}
        self._held: dict[tuple[str, int], Ids] = {}
        self._made: dict[str, Ids] = {}
        self._counted: dict[tuple[str, int, int], Ids] = {}

    def run(self) -> tuple[PruningGroup, ...]:
        handlers: dict[str, Callable[[onnx.NodeProto], bool]] = {
            "Conv": self._conv,
            "ConvTranspose": self._conv_transpose,
            "MatMul": self._matmul,
            "Gemm": self._gemm,
            "Concat": self._concat,
            "Transpose": self._transpose,
            "Resize": self._resize,
            "Pad": self._pad,
            "Softmax": self._softmax,
        }
        handlers |= dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), self._vector)
        handlers |= dict.fromkeys(_POINTWISE, self._pointwise)
        handlers |= dict.fromkeys(_POOLS, self._pool)
        handlers |= dict.fromkeys(_REDUCTIONS, self._reduce)
        handlers |= dict.fromkeys(_BY_CHANNEL, self._normalize)
        for node in self._graph.node:
            handler = handlers.get(node.op_type)
            if handler is None or not handler(node):
                self._fix_inputs(node)
        for output in self._graph.output:
            self._fix(output.name)
        return self._groups()

    # Numbers.

    def _fresh(self, count: int) -> Ids:
        first = len(self._joined)
        self._joined.extend(range(first, first + count))
        return tuple(range(first, first + count))

    def _root(self, channel: int) -> int:
        while self._joined[channel] != channel:
            self._joined[channel] = self._joined[self._joined[channel]]
            channel = self._joined[channel]
        return channel

    def _join(self, first: Ids, second: Ids) -> None:
        for a, b in zip(first, second, strict=True):
            self._joined[self._root(b)] = self._root(a)

    def _hold(self, constant: str, axis: int, ids: Ids) -> None:
        """A constant has a slice of each channel along an axis."""
        known = self._held.setdefault((constant, axis), ids)
        if known is not ids:
            self._join(known, ids)

    def _fix(self, name: str) -> None:
        if name in self._layout:
            self._fixed.update(self._layout[name][1])

    def _fix_inputs(self, node: onnx.NodeProto) -> None:
        for name in node.input:
            self._fix(name)

    # Tensors.

    def _shape(self, name: str) -> tuple[int, ...] | None:
        shape = self._index.shape(name)
        return None if shape is None or None in shape else tuple(int(n) for n in shape if n is not None)

    def _is_constant(self, name: str) -> bool:
        return self._index.constant(name) is not None

    def _ints(self, name: str) -> list[int] | None:
        value = self._index.constant(name)
        return None if value is None else [int(n) for n in value.ravel()]

    def _channels(self, name: str, axis: int) -> Ids | None:
        """The channels of an activation along an axis; fixed ones if they are not known."""
        if name in self._layout:
            found, ids = self._layout[name]
            if found == axis:
                return ids
            self._fix(name)
        shape = self._shape(name)
        if shape is None or axis >= len(shape):
            return None
        ids = self._fresh(shape[axis])
        self._fixed.update(ids)
        return ids

    def _weighted(
        self, node: onnx.NodeProto, ids: Ids, reads: int, makes: int, out_axis: int, bias: str = ""
    ) -> bool:  # fmt: skip
        """A layer whose weight has the channels read and those made along two axes."""
        weight = node.input[1]
        shape = self._shape(weight)
        if shape is None or weight not in self._index.initializer:
            return False
        self._hold(weight, reads, ids)
        made = self._fresh(shape[makes])
        self._hold(weight, makes, made)
        if bias:
            self._hold(bias, 0, made)
        self._layout[node.output[0]] = (out_axis, made)
        self._made[node.output[0]] = made
        return True

    # Operators; each says whether it could follow the channels.

    def _conv(self, node: onnx.NodeProto) -> bool:
        return self._convolution(node, reads=1, makes=0)

    def _conv_transpose(self, node: onnx.NodeProto) -> bool:
        return self._convolution(node, reads=0, makes=1)

    def _convolution(self, node: onnx.NodeProto, *, reads: int, makes: int) -> bool:
        ids, bias = self._channels(node.input[0], 1), node.input[2] if len(node.input) > 2 else ""
        shape, groups = self._shape(node.input[1]), attribute(node, "group", 1)
        if ids is None or shape is None or not self._own_constants(node.input[1:]):
            return False
        if groups == 1:
            return self._weighted(node, ids, reads, makes, 1, bias)
        # Depthwise: one filter for each channel, along the first axis in both kinds.
        return groups == len(ids) == shape[0] and shape[1] == 1 and self._depthwise(node, ids, bias)

    def _depthwise(self, node: onnx.NodeProto, ids: Ids, bias: str) -> bool:
        self._hold(node.input[1], 0, ids)
        if bias:
            self._hold(bias, 0, ids)
        self._counted[node.name, GROUP, 0] = ids
        self._layout[node.output[0]] = (1, ids)
        return True

    def _own_constants(self, names: Sequence[str]) -> bool:
        return all(name in self._index.initializer for name in names if name)

    def _matmul(self, node: onnx.NodeProto) -> bool:
        shape, weight = self._shape(node.input[0]), self._shape(node.input[1])
        if shape is None or weight is None or len(weight) != 2 or not self._own_constants(node.input[1:]):
            return False
        ids = self._channels(node.input[0], len(shape) - 1)
        return ids is not None and self._weighted(node, ids, 0, 1, len(shape) - 1)

    def _gemm(self, node: onnx.NodeProto) -> bool:
        bias = node.input[2] if len(node.input) > 2 else ""
        bias_shape = self._shape(bias) if bias else (0,)
        if attribute(node, "transA", 0) or not self._own_constants(node.input[1:]) or len(bias_shape or ()) != 1:
            return False
        ids = self._channels(node.input[0], 1)
        reads = 1 if attribute(node, "transB", 0) else 0
        return ids is not None and self._weighted(node, ids, reads, 1 - reads, 1, bias)

    def _pointwise(self, node: onnx.NodeProto) -> bool:
        out = self._shape(node.output[0])
        names = [name for name in node.input if name]
        shapes = {name: self._shape(name) for name in names}
        found = [
            (len(out or ()) - len(shapes[name] or ()) + axis, ids)
            for name in names
            if name in self._layout
            for axis, ids in [self._layout[name]]
        ]
        if out is None or None in shapes.values() or not found or len({axis for axis, _ in found}) != 1:
            return False
        axis = found[0][0]
        ids = max((ids for _, ids in found), key=len)
        if len(ids) != out[axis]:
            return False
        for name in names:
            self._broadcast(name, shapes[name] or (), axis - len(out), ids)
        self._layout[node.output[0]] = (axis, ids)
        return True

    def _broadcast(self, name: str, shape: tuple[int, ...], from_end: int, ids: Ids) -> None:
        """An operand of a pointwise operator whose result has these channels at an axis counted from the end."""
        length = shape[from_end] if -from_end <= len(shape) else 1
        if self._is_constant(name):
            if length > 1 and name in self._index.initializer:
                self._hold(name, len(shape) + from_end, ids)
            elif length > 1:
                self._fixed.update(ids)
        elif length != len(ids):
            self._fix(name)
        elif name in self._layout:
            self._join(ids, self._layout[name][1])
        else:
            self._fixed.update(ids)

    def _pool(self, node: onnx.NodeProto) -> bool:
        return len(node.output) == 1 and self._pass(node, 1)

    def _pass(self, node: onnx.NodeProto, axis: int) -> bool:
        """The result has the same channels along the given axis."""
        ids = self._channels(node.input[0], axis)
        if ids is None:
            return False
        self._layout[node.output[0]] = (axis, ids)
        return True

    def _known_axis(self, node: onnx.NodeProto) -> int | None:
        return self._layout[node.input[0]][0] if node.input[0] in self._layout else None

    def _normalize(self, node: onnx.NodeProto) -> bool:
        if not self._own_constants(node.input[1:]) or not self._pass(node, 1):
            return False
        for name in node.input[1:]:
            self._hold(name, 0, self._layout[node.output[0]][1])
        return True

    def _reduce(self, node: onnx.NodeProto) -> bool:
        axis, shape = self._known_axis(node), self._shape(node.input[0])
        axes = self._ints(node.input[1]) if len(node.input) > 1 else attribute(node, "axes")
        if axis is None or shape is None or not isinstance(axes, list) or not attribute(node, "keepdims", 1):
            return False
        return axis not in {each % len(shape) for each in axes} and self._pass(node, axis)

    def _softmax(self, node: onnx.NodeProto) -> bool:
        axis, shape = self._known_axis(node), self._shape(node.input[0])
        over = attribute(node, "axis", -1)
        return (
            axis is not None and shape is not None and isinstance(over, int)
            and over % len(shape) != axis and self._pass(node, axis)
        )  # fmt: skip

    def _pad(self, node: onnx.NodeProto) -> bool:
        axis, shape = self._known_axis(node), self._shape(node.input[0])
        pads = self._ints(node.input[1])
        if axis is None or shape is None or pads is None or len(pads) != 2 * len(shape):
            return False
        return pads[axis] == pads[axis + len(shape)] == 0 and self._pass(node, axis)

    def _resize(self, node: onnx.NodeProto) -> bool:
        axis, before, after = self._known_axis(node), self._shape(node.input[0]), self._shape(node.output[0])
        if axis is None or before is None or after is None or before[axis] != after[axis]:
            return False
        if attribute(node, "axes") is not None or not self._pass(node, axis):
            return False
        if len(node.input) > 3 and node.input[3]:
            self._counted[node.name, 3, axis] = self._layout[node.output[0]][1]
        return True

    def _concat(self, node: onnx.NodeProto) -> bool:
        shapes = [self._shape(name) for name in node.input]
        axes = {self._layout[name][0] for name in node.input if name in self._layout}
        along = attribute(node, "axis")
        if len(axes) != 1 or None in shapes or not isinstance(along, int):
            return False
        axis = axes.pop()
        parts = [self._channels(name, axis) for name in node.input]
        known = [ids for ids in parts if ids is not None]
        if along % len(shapes[0] or ()) == axis:
            self._layout[node.output[0]] = (axis, tuple(each for ids in known for each in ids))
        else:
            for ids in known[1:]:
                self._join(known[0], ids)
            self._layout[node.output[0]] = (axis, known[0])
        return True

    def _transpose(self, node: onnx.NodeProto) -> bool:
        axis, order = self._known_axis(node), attribute(node, "perm")
        if axis is None or not isinstance(order, list):
            return False
        self._layout[node.output[0]] = (order.index(axis), self._layout[node.input[0]][1])
        return True

    def _vector(self, node: onnx.NodeProto) -> bool:
        """A change of shape of a tensor that has nothing but channels."""
        axis, before, after = self._known_axis(node), self._shape(node.input[0]), self._shape(node.output[0])
        if axis is None or before is None or after is None:
            return False
        count = before[axis]
        where = [at for at, length in enumerate(after) if length == count]
        others = [length for at, length in enumerate(before) if at != axis]
        if count == 1 or len(where) != 1 or any(length != 1 for length in others):
            return False
        self._layout[node.output[0]] = (where[0], self._layout[node.input[0]][1])
        if node.op_type == "Reshape" and (self._ints(node.input[1]) or [])[where[0]] == count:
            self._counted[node.name, 1, where[0]] = self._layout[node.input[0]][1]
        return True

    # The result.

    def _groups(self) -> tuple[PruningGroup, ...]:
        fixed = {self._root(channel) for channel in self._fixed}
        made = self._by_channel((name, at, root) for name, ids in self._made.items() for at, root in self._roots(ids))
        held = self._by_channel((*key, at, root) for key, ids in self._held.items() for at, root in self._roots(ids))
        counted = self._by_channel((*key, root) for key, ids in self._counted.items() for _, root in self._roots(ids))
        groups: dict[tuple[str, ...], list[Channel]] = {}
        for root, places in made.items():
            if root not in fixed:
                makers = tuple(dict.fromkeys(name for name, _ in places))
                channel = Channel(made=tuple(places), held=tuple(held[root]), counted=tuple(counted.get(root, ())))
                groups.setdefault(makers, []).append(channel)
        return tuple(PruningGroup(name=makers[0], channels=tuple(found)) for makers, found in groups.items())

    def _roots(self, ids: Ids) -> Iterator[tuple[int, int]]:
        return ((at, self._root(channel)) for at, channel in enumerate(ids))

    @staticmethod
    def _by_channel(places: Iterable[tuple[Any, ...]]) -> dict[int, list[Any]]:
        """What each channel is in; the channel stands last."""
        found: dict[int, list[Any]] = {}
        for *place, root in places:
            found.setdefault(root, []).append(tuple(place))
        return found
