"""Equalized channels: the same function, even ranges."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks import Net, frames, scores, staged

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.quantization.activations import class_agreement, run_frames, watch_activations
from edge_vseg.export.quantization.equalization import equalize, find_groups
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.openvino_qdq import quantize_openvino, start_openvino
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.export.quantization.tflite_litert import quantize_tflite, start_tflite, to_tflite

IMAGES = frames(3)


def reach_of(model: onnx.ModelProto, names: list[str]) -> dict[str, np.ndarray]:
    reach: dict[str, np.ndarray] = {}

    def see(name: str, value: np.ndarray) -> None:
        reach[name] = np.maximum(reach.get(name, 0.0), np.abs(value[0]).max((1, 2)).astype(np.float64))

    watch_activations(model, IMAGES, names, see)
    return reach


def even_out(model: onnx.ModelProto, **more: float) -> onnx.ModelProto:
    names = sorted({t for group in find_groups(model) for t in group.tensors})
    return equalize(model, reach_of(model, names), **more)


def uneven_conv(net: Net, x: str, inputs: int, outputs: int, **more: object) -> str:
    """A convolution whose channels differ in strength by a factor of up to 30."""
    name = net.conv(x, inputs, outputs, **more)
    net.weights[-1].CopyFrom(onnx.numpy_helper.from_array(np.full(outputs, 0.05, np.float32), net.weights[-1].name))
    weight = onnx.numpy_helper.to_array(net.weights[-2]) * np.geomspace(1, 1 / 30, outputs)[:, None, None, None]
    net.weights[-2].CopyFrom(onnx.numpy_helper.from_array(weight.astype(np.float32), net.weights[-2].name))
    return name


def chain(between: str) -> onnx.ModelProto:
    net = Net(seed=2)
    x = uneven_conv(net, "image", 3, 8)
    match between:
        case "Relu":
            x = net.node("Relu", x)
        case "LeakyRelu":
            x = net.node("LeakyRelu", x, alpha=0.2)
        case "MaxPool":
            x = net.node("MaxPool", net.node("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
        case "Pad":
            x = net.node("Pad", net.node("Relu", x), net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        case "Pad with ones":
            x = net.node("Pad", x, net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64), net.const(1.0))
        case "Clip":
            x = net.node("Clip", x, net.const(0.0), net.const(6.0))
        case "Sigmoid":
            x = net.node("Sigmoid", x)
        case "depthwise":
            x = net.node("Relu", net.conv(net.node("Relu", x), 8, 8, group=8))
        case "grouped":
            x = net.node("Relu", net.conv(net.node("Relu", x), 8, 8, group=2))
    return staged(net.model(net.conv(x, 8, 4)))


def weights(model: onnx.ModelProto) -> list[np.ndarray]:
    index = GraphIndex(model)
    return [np.asarray(index.constant(n.input[1])) for n in model.graph.node if n.op_type == "Conv"]


def assert_same(model: onnx.ModelProto, other: onnx.ModelProto) -> None:
    onnx.checker.check_model(other, full_check=True)
    for a, b in zip(scores(model, IMAGES), scores(other, IMAGES), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * np.abs(a).max())


def changed(model: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    return any(not np.array_equal(a, b) for a, b in zip(weights(model), weights(other), strict=True))


@pytest.mark.parametrize("between", ["nothing", "Relu", "LeakyRelu", "MaxPool", "Pad", "depthwise", "grouped"])
def test_the_function_stays_though_weights_change(between):
    model = chain(between)
    even = even_out(model)
    assert changed(model, even)
    assert_same(model, even)


@pytest.mark.parametrize("between", ["Clip", "Sigmoid", "Pad with ones"])
def test_what_is_not_homogeneous_is_left_alone(between):
    model = chain(between)
    assert not changed(model, even_out(model))


def spread(model: onnx.ModelProto) -> float:
    """Strongest over weakest channel behind the first ReLU."""
    name = next(n.output[0] for n in model.graph.node if n.op_type == "Relu")
    reach = reach_of(model, [name])[name]
    return float(reach.max() / reach.min())


def test_ranges_become_even():
    model = chain("Relu")
    before = spread(model)
    assert before > 10
    assert spread(even_out(model, balance=1.0)) < 1.1
    assert spread(even_out(model)) == pytest.approx(before**0.5, rel=0.05)
    assert spread(even_out(model, balance=0.0)) == pytest.approx(before, rel=0.01)


def test_depthwise_readers_bear_everything():
    """Their weights are per channel, so even ranges cost nothing."""
    assert spread(chain("depthwise")) > 10
    assert spread(even_out(chain("depthwise"))) < 1.1


def test_a_dead_channel_stays_finite():
    net = Net(seed=2)
    x = net.conv("image", 3, 8)
    weight = onnx.numpy_helper.to_array(net.weights[-2]).copy()
    weight[3] = 0
    bias = onnx.numpy_helper.to_array(net.weights[-1]).copy()
    bias[3] = 0
    net.weights[-2].CopyFrom(onnx.numpy_helper.from_array(weight, net.weights[-2].name))
    net.weights[-1].CopyFrom(onnx.numpy_helper.from_array(bias, net.weights[-1].name))
    model = staged(net.model(net.conv(net.node("Relu", x), 8, 4)))
    even = even_out(model)
    assert all(np.isfinite(w).all() for w in weights(even))
    assert_same(model, even)


def test_a_weight_shared_by_two_convolutions_is_not_shared_any_more():
    net = Net(seed=3)
    x = net.node("Relu", uneven_conv(net, "image", 3, 8))
    first = net.node("Relu", uneven_conv(net, x, 8, 8))
    weight, bias = (t.name for t in net.weights[-2:])
    again = net.node("Relu", net.node("Conv", first, weight, bias, kernel_shape=[3, 3], pads=[1] * 4))
    model = staged(net.model(net.conv(again, 8, 4)))
    assert_same(model, even_out(model))


def residual(other_channels: int) -> onnx.ModelProto:
    """A sum of 8 channels with 8 or, by broadcasting, 1."""
    net = Net(seed=4)
    x = net.node("Relu", uneven_conv(net, "image", 3, 8))
    total = net.node("Add", uneven_conv(net, x, 8, 8), net.conv(x, 8, other_channels))
    return staged(net.model(net.conv(net.node("Relu", total), 8, 4)))


def test_residual_sums():
    model = residual(8)
    assert_same(model, even_out(model))


def test_broadcast_sums():
    model = residual(1)
    assert_same(model, even_out(model))


def test_a_sum_with_a_constant_is_left_alone():
    net = Net(seed=4)
    x = net.node("Add", uneven_conv(net, "image", 3, 8), net.const(np.ones((1, 8, 12, 16))[:, :, :1, :1]))
    model = staged(net.model(net.conv(net.node("Relu", net.node("Abs", x)), 8, 4)))
    assert_same(model, even_out(model))


@pytest.mark.parametrize("other", ["Sigmoid", "Concat", "GlobalMaxPool"])
def test_a_branch_to_another_operator_keeps_the_channels(other):
    net = Net(seed=5)
    x = net.node("Relu", uneven_conv(net, "image", 3, 8))
    y = net.conv(x, 8, 8)
    side = net.node(other, x, x, axis=1) if other == "Concat" else net.node(other, x)
    if other == "Concat":
        side = net.conv(side, 16, 8)
    model = staged(net.model(net.conv(net.node("Mul", y, side), 8, 4)))
    even = even_out(model)
    first = np.abs(weights(even)[0] - weights(model)[0]).max()
    assert first == 0
    assert_same(model, even)


def test_outputs_keep_their_channels():
    net = Net(seed=6)
    model = staged(net.model(uneven_conv(net, net.node("Relu", uneven_conv(net, "image", 3, 8)), 8, 4)))
    even = even_out(model)
    assert len(find_groups(model)) == 1
    assert_same(model, even)


def test_a_tensor_that_is_also_an_output_belongs_to_no_group():
    net = Net()
    middle = net.node("Relu", net.conv("image", 3, 8))
    last = net.conv(middle, 8, 4)
    assert len(find_groups(net.model(last))) == 1
    assert find_groups(net.model([last, middle])) == []


def padded_shortcut(pads: list[int]) -> onnx.ModelProto:
    """A block that doubles its channels, with a shortcut of zeros for those that are new: ResNet's option A."""
    net = Net(seed=7)
    x = net.node("Relu", uneven_conv(net, "image", 3, 8))
    short = net.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    short = net.node("Pad", short, net.const(pads, np.int64))
    main = uneven_conv(net, x, 8, 8 + pads[1] + pads[5], strides=[2, 2])
    x = net.node("Relu", net.node("Add", main, short))
    return staged(net.model(net.conv(x, 8 + pads[1] + pads[5], 4)))


@pytest.mark.parametrize(
    "pads",
    [
        pytest.param([0, 4, 0, 0, 0, 4, 0, 0], id="more channels"),
        pytest.param([0, 1, 0, 0, 0, -1, 0, 0], id="moved by one"),
    ],
)
def test_padded_channels(pads: list[int]):
    model = padded_shortcut(pads)
    assert_same(model, even_out(model))


def test_padding_of_named_axes_is_no_padding_of_channels():
    net = Net(seed=2)
    x = net.node("Relu", uneven_conv(net, "image", 3, 8))
    x = net.node("Pad", x, net.const([1, 1, 1, 1], np.int64), "", net.const([-1, 2], np.int64))
    model = staged(net.model(net.conv(x, 8, 4)))
    even = even_out(model)
    assert changed(model, even)
    assert_same(model, even)


def excitation() -> onnx.ModelProto:
    """Channels weighed by two convolutions over a row of one value."""
    net = Net(seed=8)
    x = net.node("Relu", uneven_conv(net, "image", 3, 8, strides=[2, 2]))
    row = net.node("Reshape", net.node("GlobalAveragePool", x), net.const([1, 8, 1], np.int64))
    for inputs, outputs, gate in ((8, 4, "Relu"), (4, 8, "Sigmoid")):
        row = net.node("Conv", row, net.const(net.rng.normal(0, 0.5, (outputs, inputs, 1))), kernel_shape=[1])
        row = net.node(gate, row)
    x = net.node("Mul", x, net.node("Reshape", row, net.const([1, 8, 1, 1], np.int64)))
    return staged(net.model(net.conv(x, 8, 4)))


def test_convolutions_in_one_dimension_are_left_alone():
    model = excitation()
    assert find_groups(model) == []
    assert_same(model, even_out(model))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "tflite"])
def test_a_network_with_them_in_int8(runtime: str, tmp_path):
    prepared = Int8Preparation(excitation(), IMAGES, 0)
    weights = prepared.weights(())
    match runtime:
        case "onnxruntime":
            found = run_frames(quantize_onnxruntime(weights, prepared.ranges, recipe_for("arm64")), IMAGES)
        case "openvino":
            infer = start_openvino(quantize_openvino(prepared.weights((), levels=64), prepared.ranges, tmp_path))
            found = [infer(image) for image in IMAGES]
        case "tflite":
            infer = start_tflite(quantize_tflite(to_tflite(weights), weights, IMAGES))
            found = [infer(image) for image in IMAGES]
    assert class_agreement(run_frames(prepared.model, IMAGES), found) > 0.95
