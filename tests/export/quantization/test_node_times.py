"""Times of a runtime's operators are given to the nodes that they are named after."""

from __future__ import annotations

import numpy as np
import pytest
from networks import Net, frames, staged

from edge_vseg.export.export_options import native_targets
from edge_vseg.export.quantization.graph_runners import onnx_lost_ms
from edge_vseg.export.quantization.node_times import MIN_SHARE, lost_by_node, profile_onnx, times_by_node
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.operator_times.measurement import OperatorTime

IMAGES = frames(3, size_hw=(48, 64))


def operator(name: str, ms: float, kind: str = "Add") -> OperatorTime:
    return OperatorTime(name=name, kind=kind, ms=9 * ms, median_ms=ms, share=0.0, calls=1)


def network():
    net = Net(seed=4)
    x = net.node("Relu", net.conv("image", 3, 16))
    y = net.node("Relu", net.conv(x, 16, 16))
    z = net.node("Add", x, y)
    return staged(net.model(net.conv(net.node("MaxPool", z, kernel_shape=[2, 2], strides=[2, 2]), 16, 4),
                            shape=(1, 3, 48, 64)))  # fmt: skip


def test_names_that_runtimes_make() -> None:
    nodes = network().graph.node
    conv, add = (next(n.name for n in nodes if n.op_type == kind) for kind in ("Conv", "Add"))
    found = times_by_node([operator(conv, 1.0), operator(f"{add}_quant", 2.0), operator("Reorder_7", 1.0)], nodes)
    assert found.ms == {conv: 1.0, add: 2.0}
    assert found.share == pytest.approx(0.75)


def test_a_convolution_named_after_what_was_fused_into_it() -> None:
    nodes = network().graph.node
    relu = next(n for n in nodes if n.op_type == "Relu")
    conv = next(n for n in nodes if n.output[0] == relu.input[0])
    fused, alone = operator(f"{relu.name}_nchwc", 1.0, "Conv"), operator(relu.name, 2.0, "Relu")
    assert times_by_node([fused, alone], nodes).ms == {conv.name: 1.0, relu.name: 2.0}
    add, last = (next(n.name for n in nodes if n.op_type == kind) for kind in ("Add", "MaxPool"))
    second = [n.name for n in nodes if n.op_type == "Conv"][1]
    assert times_by_node([operator(f"{add}_nchwc", 1.0, "Conv")], nodes).ms == {second: 1.0}, "the later of the two"
    assert times_by_node([operator(last, 1.0, "MaxPool")], nodes).ms == {last: 1.0}


def test_what_float_loses() -> None:
    nodes = network().graph.node
    conv, add = (next(n.name for n in nodes if n.op_type == kind) for kind in ("Conv", "Add"))
    lost = lost_by_node([operator(conv, 3.0), operator(add, 1.0)], [operator(conv, 1.0), operator(add, 2.0)], nodes)
    assert lost[conv] == pytest.approx(2.0)
    assert lost[add] == pytest.approx(-1.0)
    assert sum(abs(ms) for name, ms in lost.items() if name not in (conv, add)) == 0


def test_too_few_names_give_nothing(caplog: pytest.LogCaptureFixture) -> None:
    nodes = network().graph.node
    conv = next(n.name for n in nodes if n.op_type == "Conv")
    known, other = [operator(conv, 1.0)], [operator(conv, 1.0), operator("fused", 1 / MIN_SHARE)]
    caplog.set_level("INFO")
    assert lost_by_node(known, other, nodes) is None
    assert "products stand in" in caplog.text
    assert lost_by_node(known, known, nodes) is not None


def test_onnxruntime_names_most_of_what_it_runs() -> None:
    """In float and in int8, convolutions above all."""
    model = network()
    prepared = Int8Preparation(model, IMAGES, 0)
    recipe = recipe_for(native_targets(cpu_features().has_vnni)[0])
    int8 = quantize_onnxruntime(prepared.weights((), levels=recipe.levels), prepared.ranges, recipe)
    convs = {n.name for n in model.graph.node if n.op_type == "Conv"}
    for graph in (model, int8):
        found = times_by_node(profile_onnx(graph, IMAGES[0], 1), model.graph.node)
        assert convs <= found.ms.keys()
        assert found.share > MIN_SHARE
    lost = onnx_lost_ms(prepared, None, 1)
    assert convs <= lost.keys()
    assert all(np.isfinite(ms) for ms in lost.values())
