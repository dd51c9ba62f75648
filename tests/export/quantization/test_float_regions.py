"""Parts of a graph that are faster in float, against all assignments one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx
import pytest
from networks import Net, staged

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.input_stage import is_input_node
from edge_vseg.export.quantization.float_regions import CONVERSION_NS, find_float_regions

INTEGER = frozenset({"Conv", "Relu", "Add", "Concat"})


def forked() -> onnx.ModelProto:
    """Two branches, a node without an integer kernel in one of them, and a sum."""
    net = Net(seed=3)
    stem = net.node("Relu", net.conv("image", 3, 4))
    left = net.node("HardSwish", net.conv(stem, 4, 4))
    right = net.node("Relu", net.conv(stem, 4, 4))
    both = net.node("Add", net.conv(left, 4, 4), right)
    return staged(net.model(net.conv(both, 4, 4)))


def cost_ns(model: onnx.ModelProto, lost_ms: dict[str, float], in_float: set[str]) -> int:
    """What an assignment takes beyond all nodes in int8 without conversions."""
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    nodes = [node for node in index.graph.node if not is_input_node(node)]
    names = {node.name for node in nodes}
    size = {name: round(math.prod(index.shape(name)) * CONVERSION_NS) for node in nodes for name in node.output}
    total = sum(round(lost_ms.get(name, 0.0) * 1e6) for name in in_float)
    for node in nodes:
        for tensor in node.input:
            writer = index.producer.get(tensor)
            if writer is not None and writer.name in names and (writer.name in in_float) != (node.name in in_float):
                total += size[tensor]
        if node.output[0] == index.graph.output[0].name and node.name not in in_float:
            total += size[node.output[0]]
    return total


@pytest.mark.parametrize("seed", range(12))
def test_no_assignment_takes_less(seed: int) -> None:
    model, rng = forked(), np.random.default_rng(seed)
    nodes = [node for node in model.graph.node if not is_input_node(node)]
    lost = {node.name: float(rng.normal(0, 3e-4)) for node in nodes if node.op_type in INTEGER}
    held = {node.name for node in nodes if node.op_type not in INTEGER}
    forced = {nodes[int(rng.integers(len(nodes)))].name} if seed % 2 else set()
    free = [node.name for node in nodes if node.name not in held | forced]
    costs = [
        cost_ns(model, lost, held | forced | {name for name, chosen in zip(free, choice, strict=True) if chosen})
        for choice in itertools.product((False, True), repeat=len(free))
    ]
    found = find_float_regions(model, lost, INTEGER, forced)
    assert cost_ns(model, lost, held | set(found.nodes)) == min(costs)
    assert found.saved_ms == pytest.approx((cost_ns(model, lost, held | forced) - min(costs)) / 1e6)
    assert forced - held <= set(found.nodes)


def test_a_node_alone_is_not_worth_its_conversions() -> None:
    model = forked()
    stem = next(node for node in model.graph.node if node.op_type == "Relu")
    values = math.prod(GraphIndex(onnx.shape_inference.infer_shapes(model)).shape(stem.output[0]))
    lost = {node.name: 1.0 for node in model.graph.node}
    assert find_float_regions(model, lost | {stem.name: -0.5 * CONVERSION_NS * values / 1e6}, INTEGER).nodes == ()
    assert find_float_regions(model, lost | {stem.name: -3.5 * CONVERSION_NS * values / 1e6}, INTEGER).nodes == (
        stem.name,
    )
