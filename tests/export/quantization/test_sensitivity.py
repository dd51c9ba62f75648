"""A network with one fragile activation says so."""

from __future__ import annotations

import numpy as np
import pytest
from networks import Net, frames, ops, ranges_of_all, staged
from onnx import numpy_helper

from edge_vseg.export.export_options import native_targets
from edge_vseg.export.quantization.activations import activation_names, rounded_names, run_frames
from edge_vseg.export.quantization.graph_runners import OnnxRunner
from edge_vseg.export.quantization.mixed_precision import choose_float_nodes
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.export.quantization.sensitivity import measure_noise, nodes_around, rank_by_noise
from edge_vseg.export.quantization.trial_choice import Wanted
from edge_vseg.runtimes.cpu import cpu_features

IMAGES = frames(4)


def fragile_network(layer: int):
    """Four layers; behind one of them a huge offset is added, and the next convolution takes it away again."""
    net = Net(seed=8)
    x, fragile = "image", ""
    for i in range(4):
        offset = 300.0 if i == layer else 0.0
        x = net.node("Relu", net.conv(x, 3 if i == 0 else 8, 8))
        net.weights[-1].CopyFrom(numpy_helper.from_array(np.full(8, offset, np.float32), net.weights[-1].name))
        fragile = x if offset else fragile
        x = net.conv(x, 8, 8, 1)
        weight = numpy_helper.to_array(net.weights[-2])
        bias = (-offset * weight.sum((1, 2, 3))).astype(np.float32)
        net.weights[-1].CopyFrom(numpy_helper.from_array(bias, net.weights[-1].name))
    return staged(net.model(net.conv(x, 8, 4))), fragile


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_the_fragile_activation_comes_first(layer):
    model, fragile = fragile_network(layer)
    steps = []
    noise = measure_noise(model, ranges_of_all(model, IMAGES), IMAGES[:1], lambda i, n: steps.append((i, n)))
    order = rank_by_noise(model, noise)
    assert order[0] == fragile
    assert sorted(order) == sorted(rounded_names(model))
    assert steps == [(i + 1, len(order)) for i in range(len(order))]


def test_sparing_it_brings_the_scores_back():
    model, fragile = fragile_network(2)
    ranges, truth = ranges_of_all(model, IMAGES), run_frames(model, IMAGES)
    nodes = nodes_around(model, [fragile])
    assert fragile in nodes

    def noise(keep: tuple[str, ...]) -> float:
        made = run_frames(quantize_onnxruntime(model, ranges, recipe_for("arm64"), float_nodes=keep), IMAGES)
        return float(np.mean([np.square(a - b).mean() for a, b in zip(truth, made, strict=True)]))

    assert noise(nodes) < 0.2 * noise(())


def test_the_search_spares_what_it_must():
    # Of this machine's own recipe: the sums of another's overflow without VNNI, which no sparing mends.
    recipe = recipe_for(native_targets(cpu_features().has_vnni)[0])
    model, fragile = fragile_network(1)
    prepared = Int8Preparation(model, IMAGES, 0)
    found = choose_float_nodes(
        prepared,
        lambda keep: quantize_onnxruntime(prepared.weights(keep), prepared.ranges, recipe, float_nodes=keep),
        OnnxRunner(prepared, 1, native=True),
        lambda: prepared.model,
        Wanted(),
    )
    assert fragile in found.taken.float_nodes
    assert found.taken.agreement >= 0.97
    assert [trial.taken for trial in found.trials].count(True) == 1
    assert [trial.float_nodes for trial in found.trials] == sorted(trial.float_nodes for trial in found.trials)
    assert found.trials[0].agreement < found.taken.agreement
    for each in found.trials:
        assert each.speedup > 0
        assert each.quartiles_ms[0] <= each.latency_ms <= each.quartiles_ms[1]


def test_of_two_equally_harmful_activations_the_one_with_less_work_is_spared_first() -> None:
    """Two branches of nearly the same weights; one is also read by a large convolution of no weight."""
    net = Net(seed=3)

    def like(earlier: int) -> str:
        return net.const(1.001 * numpy_helper.to_array(net.weights[earlier]))

    x = net.node("Relu", net.conv("image", 3, 8))
    cheap = net.node("Relu", net.conv(x, 8, 8, 1))
    dear = net.node("Relu", net.node("Conv", x, like(-2), like(-2)))
    narrow = net.conv(cheap, 8, 4, 1)
    wide = net.node("Conv", dear, like(-2), like(-2))
    more = net.node("Mul", net.conv(dear, 8, 4, 7), net.const(np.float32(1e-6)))
    model = staged(net.model(net.node("Add", net.node("Add", narrow, wide), more)))
    noise = measure_noise(model, ranges_of_all(model, IMAGES), IMAGES[:1])
    assert [name for name in rank_by_noise(model, noise) if name in (cheap, dear)] == [cheap, dear]
    around = {name: set(nodes_around(model, [name])) for name in (cheap, dear)}
    lost = dict.fromkeys(around[cheap] - around[dear], 1.0) | dict.fromkeys(around[dear] - around[cheap], 0.1)
    measured = rank_by_noise(model, noise, lost)
    assert [name for name in measured if name in (cheap, dear)] == [dear, cheap], "measured times count, not products"


def test_what_is_faster_in_float_is_not_spared_for_that_alone() -> None:
    """A loss below nothing counts as none: the noise decides between the two."""
    net = Net(seed=3)
    first = net.node("Relu", net.conv("image", 3, 8))
    second = net.node("Relu", net.conv(first, 8, 8))
    model = staged(net.model(net.conv(second, 8, 4)))
    lost = {node: -5.0 for node in nodes_around(model, [first])} | dict.fromkeys(nodes_around(model, [second]), 0.0)
    assert rank_by_noise(model, {first: 1.0, second: 2.0}, lost) == [second, first]


def test_neighbours_of_an_activation():
    net = Net()
    conv = net.conv("image", 3, 8)
    relu = net.node("Relu", conv)
    first, second = net.conv(relu, 8, 4), net.conv(relu, 8, 4)
    model = staged(net.model(net.node("Add", first, second)))
    names = {n.op_type: n.name for n in model.graph.node}
    relu_name = names["Relu"]
    around = nodes_around(model, [relu_name])
    assert sorted(ops_of(model, around)) == ["Conv", "Conv", "Conv", "Relu"]


def ops_of(model, names) -> list[str]:
    return [n.op_type for n in model.graph.node if n.name in names]


def test_only_where_int8_rounds():
    net = Net()
    x = net.node("Relu", net.conv("image", 3, 8))
    model = staged(net.model(net.conv(net.node("MaxPool", x, kernel_shape=[2, 2]), 8, 4)))
    assert ops(model)[-4:] == ["Conv", "Relu", "MaxPool", "Conv"]
    names = {n.output[0]: n.op_type for n in model.graph.node}
    assert [names[n] for n in rounded_names(model)] == ["Relu"]
    assert len(activation_names(model)) > 4
