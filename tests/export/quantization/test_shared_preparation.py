"""What a preparation takes over from that of the same network at another size, where a tile needs it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks import Net, frames, ops, scores, staged

from edge_vseg.export.quantization.activations import class_agreement, run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation

SIZES = ((24, 32), (48, 64))


def network(size_hw: tuple[int, int], *, computed: str = "weight", gain: float = 1.0) -> onnx.ModelProto:
    """A convolution whose weight, or bias, is made from the image itself, between two that have theirs."""
    net = Net(seed=3)
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    mean = net.node("GlobalAveragePool", net.node("Mul", x, net.const(gain)))
    weight = net.const(net.rng.normal(0, 0.2, (8, 8, 3, 3)))
    if computed == "weight":
        weight = net.node("Mul", weight, mean)
        x = net.node("Conv", x, weight, net.const(np.zeros(8)), kernel_shape=[3, 3], pads=[1] * 4)
    else:
        bias = net.node("Reshape", mean, net.const([8], np.int64))
        x = net.node("Conv", x, weight, bias, kernel_shape=[3, 3], pads=[1] * 4)
    return staged(net.model(net.conv(net.node("Relu", x), 8, 4), shape=(1, 3, *size_hw)))


def prepared_at(size_hw: tuple[int, int], like: Int8Preparation | None = None, **more) -> Int8Preparation:
    return Int8Preparation(network(size_hw, **more), frames(4, size_hw=size_hw), 0, like=like)


@pytest.mark.parametrize("computed", ["weight", "bias"])
def test_convolutions_with_computed_weights(computed: str) -> None:
    large = prepared_at(SIZES[1], computed=computed)
    small = prepared_at(SIZES[0], like=large, computed=computed)
    assert small.shares_weights
    for prepared in (large, small):
        names = [node.name for node in prepared.model.graph.node if node.op_type == "Conv"]
        expected = run_frames(prepared.model, prepared.frames)
        for kept in ((), tuple(names)):
            weights = prepared.weights(kept)
            onnx.checker.check_model(weights, full_check=True)
            assert ops(weights) == ops(prepared.equalized)
            assert class_agreement(expected, scores(weights, prepared.frames)) > 0.95
            graph = quantize_onnxruntime(weights, prepared.ranges, recipe_for("arm64"), float_nodes=kept)
            assert class_agreement(expected, run_frames(graph, prepared.frames)) > 0.9


def test_other_weights_are_not_taken_over() -> None:
    large = prepared_at(SIZES[1])
    other = network(SIZES[0])
    last = [node for node in other.graph.node if node.op_type == "Conv"][-1].input[2]
    tensor = next(each for each in other.graph.initializer if each.name == last)
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + 1, last))
    assert not Int8Preparation(other, frames(4), 0, like=large).shares_weights
