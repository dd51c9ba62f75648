"""Data dependencies and costs of a float graph, and an order of its nodes that keeps few tensors alive."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import cast

import onnx

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.macs import node_macs


class DataFlow:
    """A canonical graph as nodes that feed each other; constants do not count as data.

    Attributes:
        model: The graph, with the shape of every tensor inferred.
        order: All nodes in an order that finishes the costliest branch before it begins another, so that
            few tensors are alive between two of them.
        macs: Multiply-accumulates of each node, by name.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.shape_inference.infer_shapes(model)
        self.index = GraphIndex(self.model)
        self.image = self.model.graph.input[0].name
        self.output = self.model.graph.output[0].name
        self._fed = self._find_fed()
        self.macs = {node.name: node_macs(self.index, node) for node in self.model.graph.node}
        self.order = self._order()

    def reads(self, node: onnx.NodeProto) -> list[str]:
        """The tensors, constants apart, that a node reads."""
        return [name for name in dict.fromkeys(node.input) if name in self._fed]

    def ancestors(self, tensors: Iterable[str], known: Collection[str] = ()) -> set[str]:
        """Names of the nodes that must run to compute some tensors when others are known."""
        found: set[str] = set()
        stack = list(tensors)
        while stack:
            name = stack.pop()
            node = self.index.producer.get(name)
            if name in known or node is None or node.name in found:
                continue
            found.add(node.name)
            stack.extend(self.reads(node))
        return found

    def cost(self, nodes: Collection[str]) -> int:
        """Multiply-accumulates of some nodes."""
        return sum(self.macs[name] for name in nodes)

    def elements(self, tensor: str) -> int:
        """Number of values of a tensor."""
        return math.prod(cast("tuple[int, ...]", self.index.shape(tensor)))

    def boundary(self, nodes: Sequence[onnx.NodeProto]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Tensors that a group of nodes reads from outside, and those of its own that others need."""
        inside = {node.name for node in nodes}
        inputs = dict.fromkeys(
            name
            for node in nodes
            for name in self.reads(node)
            if name not in self.index.producer or self.index.producer[name].name not in inside
        )
        outputs = [
            name
            for node in nodes
            for name in node.output
            if name == self.output or any(reader.name not in inside for reader in self.index.consumers.get(name, ()))
        ]
        return tuple(inputs), tuple(outputs)

    def _find_fed(self) -> set[str]:
        """Every tensor that depends on the image."""
        fed = {self.image}
        for node in self.model.graph.node:
            if any(name in fed for name in node.input):
                fed.update(node.output)
        return fed

    def _order(self) -> list[onnx.NodeProto]:
        weight: dict[str, int] = {}
        for node in self.model.graph.node:
            # Counts shared ancestors more than once, which only makes a heavy branch look heavier.
            weight[node.name] = self.macs[node.name] + sum(weight[n.name] for n in self._feeders(node))
        done: dict[str, onnx.NodeProto] = {}
        stack = [(self.index.producer[self.output], False)]
        while stack:
            node, ready = stack.pop()
            if node.name in done:
                continue
            if ready:
                done[node.name] = node
                continue
            stack.append((node, True))
            stack.extend((n, False) for n in sorted(self._feeders(node), key=lambda n: weight[n.name]))
        return list(done.values())

    def _feeders(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        return [self.index.producer[name] for name in self.reads(node) if name in self.index.producer]
