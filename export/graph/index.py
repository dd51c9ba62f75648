"""Look up and change parts of an ONNX graph in place."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


class GraphIndex:
    """Producers, consumers, constants and shapes of a graph by tensor name; stale once the graph changes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.producer = {name: node for node in self.graph.node for name in node.output if name}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self.initializer = {t.name: t for t in self.graph.initializer}
        values = [*self.graph.input, *self.graph.value_info, *self.graph.output]
        self._values = {v.name: v for v in values}

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Shape of a tensor, ``None`` for an unknown dimension, ``None`` alone for an unknown rank."""
        if name in self.initializer:
            return tuple(self.initializer[name].dims)
        value = self._values.get(name)
        if value is None or not value.type.tensor_type.HasField("shape"):
            return None
        return tuple(
            d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
            for d in value.type.tensor_type.shape.dim
        )

    def dtype(self, name: str) -> int:
        """ONNX element type of a tensor; 0 if unknown."""
        if name in self.initializer:
            return int(self.initializer[name].data_type)
        value = self._values.get(name)
        return int(value.type.tensor_type.elem_type) if value is not None else 0

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """Value of a constant tensor, ``None`` if it is not constant."""
        if name in self.initializer:
            return np.asarray(numpy_helper.to_array(self.initializer[name]))
        node = self.producer.get(name)
        if node is not None and node.op_type == "Constant":
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
            return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))
        return None


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Value of a node's attribute, strings as ``str``."""
    for item in node.attribute:
        if item.name == name:
            value = onnx.helper.get_attribute_value(item)
            return value.decode() if isinstance(value, bytes) else value
    return default


def set_initializer(graph: onnx.GraphProto, name: str, value: NDArray[np.generic]) -> str:
    """Add a constant, or replace the one of that name; returns the name."""
    tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
    for existing in graph.initializer:
        if existing.name == name:
            existing.CopyFrom(tensor)
            return name
    graph.initializer.append(tensor)
    return name


def described_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of the tensors whose shapes are recorded."""
    return {value.name for value in model.graph.value_info}


def rewire(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Make every consumer of tensor ``old`` read ``new``, those in branches and loops too."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
        for inner in subgraphs(node):
            rewire(inner, old, new)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs inside an If, a Loop or a Scan."""
    return [each for a in node.attribute for each in ([a.g] if a.HasField("g") else a.graphs)]


def prepend(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Put nodes before all others, in the given order."""
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put nodes after those whose results they read, in the given order otherwise; a circle stays as it is."""
    made = {name for node in graph.node for name in node.output if name}
    done: set[str] = set()
    waiting, order = list(graph.node), list[onnx.NodeProto]()
    while waiting:
        late = []
        for node in waiting:
            if (_reads(node) & made) - done:
                late.append(node)
            else:
                order.append(node)
                done.update(node.output)
        if len(late) == len(waiting):
            return
        waiting = late
    if any(a is not b for a, b in zip(order, graph.node, strict=True)):
        del graph.node[:]
        graph.node.extend(order)


def _reads(node: onnx.NodeProto) -> set[str]:
    """What a node reads, in the graphs inside it too."""
    return set(node.input).union(*(_reads(each) for graph in subgraphs(node) for each in graph.node))


def prune(model: onnx.ModelProto, described: Collection[str] = ()) -> None:
    """Remove nodes and initializers that no output needs, and recorded shapes of all but the ``described`` tensors."""
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    pending = [o.name for o in graph.output]
    alive: set[str] = set()
    while pending:
        name = pending.pop()
        if name in alive:
            continue
        alive.add(name)
        if name in producer:
            pending.extend(n for n in (*_reads(producer[name]), *producer[name].output) if n)
    nodes = [n for n in graph.node if any(o in alive for o in n.output)]
    del graph.node[:]
    graph.node.extend(nodes)
    kept = [t for t in graph.initializer if t.name in alive]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    shapes = [value for value in graph.value_info if value.name in described]
    del graph.value_info[:]
    graph.value_info.extend(shapes)
