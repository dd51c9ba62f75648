"""OpenVINO's int8 graph of layers that its kernels take in their own way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from networks import SIZE_HW, Net, frames, staged

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.errors import QuantizationError
from edge_vseg.export.graph.layer_names import note_layers
from edge_vseg.export.quantization.activations import class_agreement, run_frames
from edge_vseg.export.quantization.openvino_qdq import (
    RECIPE,
    quantize_openvino,
    read_openvino,
    start_openvino,
    to_openvino,
    write_openvino,
)
from edge_vseg.export.quantization.preparation import Int8Preparation, measure_ranges

IN_FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}


def decoder(activation: str) -> onnx.ModelProto:
    net = Net(seed=4)
    x = net.conv(net.node("Relu", net.conv("image", 3, 16, strides=[2, 2])), 16, 16)
    x = net.node(activation, x) if activation else x
    weight = net.const(net.rng.normal(0, 0.2, (16, 16, 2, 2)))
    x = net.node("Relu", net.node("ConvTranspose", x, weight, net.const(np.zeros(16)), strides=[2, 2]))
    return staged(net.model(net.conv(x, 16, 4), shape=(1, 3, *SIZE_HW)))


@pytest.mark.parametrize("activation", ["", "Relu"])
def test_a_transposed_convolution_is_right_and_in_int8(activation: str, tmp_path: Path) -> None:
    """The quantizer drops a Relu whose range begins at 0, so that range may not be widened below 0."""
    prepared = Int8Preparation(decoder(activation), frames(8), 0)
    model = quantize_openvino(prepared.weights((), levels=RECIPE.levels), prepared.ranges, tmp_path)
    run = start_openvino(model)
    found = [run(frame) for frame in frames(8)]
    # Noise for weights: without VNNI, where sums saturate, 94.6 % of the cells agree; a wrong kernel leaves a quarter.
    assert class_agreement(run_frames(prepared.model, frames(8)), found) > 0.93
    compiled = ov.Core().compile_model(model, "CPU", IN_FLOAT).get_runtime_model().get_ordered_ops()
    kernels = {str(node.get_rt_info()["layerType"].astype(str)): node for node in compiled}
    assert str(kernels["Deconvolution"].get_rt_info()["outputPrecisions"].astype(str)) in ("u8", "i8")


def test_scores_are_not_rounded_and_come_from_an_int8_kernel(tmp_path: Path) -> None:
    prepared = Int8Preparation(decoder("Relu"), frames(8), 0)
    model = quantize_openvino(prepared.weights((), levels=RECIPE.levels), prepared.ranges, tmp_path)
    assert len(np.unique(start_openvino(model)(frames(1)[0]))) > 256
    compiled = ov.Core().compile_model(model, "CPU", IN_FLOAT).get_runtime_model().get_ordered_ops()
    last = [node for node in compiled if str(node.get_rt_info()["layerType"].astype(str)) == "Convolution"][-1]
    assert last.get_input_element_type(0) in (ov.Type.u8, ov.Type.i8)


def test_a_relu_that_gives_the_scores_still_clips(tmp_path: Path) -> None:
    """The quantizer leaves it to their rounding, which stays then."""
    net = Net(seed=6)
    x = net.node("Relu", net.conv("image", 3, 16, strides=[2, 2]))
    model = staged(net.model(net.node("Relu", net.conv(x, 16, 4)), shape=(1, 3, *SIZE_HW)))
    prepared = Int8Preparation(model, frames(8), 0)
    assert min(float(scores.min()) for scores in run_frames(model, frames(8))) == 0
    infer = start_openvino(
        quantize_openvino(prepared.weights((), levels=RECIPE.levels), prepared.ranges, tmp_path)
    )  # fmt: skip
    assert min(float(infer(frame).min()) for frame in frames(8)) >= 0


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin"])
def test_the_extreme_of_floats_that_is_rounded_afterwards(operator: str, tmp_path: Path) -> None:
    """As in SINet, which blocks what a softmax is sure of; OpenVINO's kernel of both gave other numbers."""
    net = Net(seed=6)
    x = net.node("Relu", net.conv("image", 3, 16, strides=[2, 2]))
    sure = net.node(operator, net.node("Softmax", net.conv(x, 16, 8), axis=1), net.const([1], np.int64), keepdims=1)
    model = staged(net.model(net.conv(net.node("Mul", net.conv(x, 16, 8), sure), 8, 4), shape=(1, 3, *SIZE_HW)))
    images = frames(8)
    made = quantize_openvino(model, measure_ranges(model, images), tmp_path, float_nodes=_written_or_read(model, sure))
    infer = start_openvino(made)
    for frame, expected in zip(images, run_frames(model, images), strict=True):
        assert np.abs(infer(frame) - expected).mean() < 0.1 * np.abs(expected).mean()


def _written_or_read(model: onnx.ModelProto, tensor: str) -> list[str]:
    """The operator that writes a tensor, and what it reads: nodes that a search might leave in float."""
    nodes = {name: node for node in model.graph.node for name in node.output}
    return [nodes[tensor].name, nodes[nodes[tensor].input[0]].name]


def test_activations_that_fade_away_stay_in_float(tmp_path: Path) -> None:
    """As in a network with random weights: OpenVINO drops the zero point of a step below 1e-8."""
    net = Net(seed=6)
    x = net.conv("image", 3, 16, strides=[2, 2])
    faded = net.node("Mul", net.node("Relu", x), net.const(np.float32(1e-12)))
    faded = net.node("Conv", faded, net.const(net.rng.normal(0, 0.2, (16, 16, 1, 1))))
    x = net.node("Mul", faded, net.const(np.float32(1e12)))
    model = staged(net.model(net.conv(x, 16, 4), shape=(1, 3, *SIZE_HW)))
    images = frames(8)
    infer = start_openvino(quantize_openvino(model, measure_ranges(model, images), tmp_path))
    for frame, expected in zip(images, run_frames(model, images), strict=True):
        assert np.abs(infer(frame) - expected).mean() < 0.1 * np.abs(expected).mean()


@pytest.mark.parametrize(("kernel", "stride", "channels"), [(8, 8, 32), (4, 4, 48), (4, 2, 16), (2, 2, 32)])
def test_patches_are_embedded_right(kernel: int, stride: int, channels: int, tmp_path: Path) -> None:
    net = Net(seed=4)
    x = net.conv("image", 3, channels)
    weight = net.const(net.rng.normal(0, 1 / (kernel * np.sqrt(channels)), (32, channels, kernel, kernel)))
    x = net.node("Conv", x, weight, net.const(np.zeros(32)), strides=[stride, stride])
    model = staged(net.model(net.conv(x, 32, 4), shape=(1, 3, 64, 96)))
    images = frames(4, size_hw=(64, 96))
    infer = start_openvino(quantize_openvino(model, measure_ranges(model, images), tmp_path))
    for frame, expected in zip(images, run_frames(model, images), strict=True):
        assert np.abs(infer(frame) - expected).mean() < 0.1 * np.abs(expected).mean()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("copies", [1, 2], ids=["one tensor", "equal tensors"])
def test_weights_shared_with_a_transposed_convolution(stride: int, copies: int, tmp_path: Path) -> None:
    """As tied encoders and decoders have: 3.4 of 2.0 were wrong, with copies only after the file was read again."""
    net = Net(seed=4)
    x = net.node("Relu", net.conv("image", 3, 16, strides=[2, 2]))
    weight = net.rng.normal(0, 0.2, (16, 16, 3, 3))
    names = [net.const(weight) for _ in range(copies)]
    x = net.node("Relu", net.node("Conv", x, names[0], pads=[1] * 4))
    x = net.node("ConvTranspose", x, names[-1], pads=[1] * 4, strides=[stride] * 2)
    model = staged(net.model(net.conv(x, 16, 4), shape=(1, 3, *SIZE_HW)))
    write_openvino(model, numbered_labels(4), tmp_path / "net.xml")
    infer = start_openvino(read_openvino(tmp_path / "net.xml"))
    for frame, expected in zip(frames(2), run_frames(model, frames(2)), strict=True):
        np.testing.assert_allclose(infer(frame), expected, atol=1e-3)


def noise(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Mean square of the error, as a share of the variance."""
    return float(np.mean([np.square(a - b).mean() for a, b in zip(expected, found, strict=True)]) / np.var(expected))


def test_a_clip_that_cuts_off_zero_stays(tmp_path: Path) -> None:
    net = Net(seed=4)
    x = net.node("Clip", net.conv("image", 3, 8, strides=[2, 2]), net.const(0.5), net.const(2.0))
    model = staged(net.model(net.conv(x, 8, 4), shape=(1, 3, *SIZE_HW)))
    infer = start_openvino(quantize_openvino(model, measure_ranges(model, frames(4)), tmp_path))
    assert noise(run_frames(model, frames(4)), [infer(frame) for frame in frames(4)]) < 0.02


@pytest.mark.parametrize(
    ("how", "last"),
    [
        ({"mode": "linear", "antialias": 1}, False),
        ({"mode": "cubic", "antialias": 1}, False),
        ({"mode": "cubic", "exclude_outside": 1}, False),
        ({"mode": "linear", "antialias": 1}, True),
    ],
    ids=["linear", "cubic", "outside", "channels last"],
)
def test_a_smoothing_resize_is_the_one_of_onnx_runtime(how: dict, last: bool, tmp_path: Path) -> None:
    """OpenVINO reads the operator without ``antialias`` and ``exclude_outside``: 9 x 13 of 24 x 32 cells."""
    net = Net(seed=4)
    x = net.node("Relu", net.conv("image", 3, 8))
    if last:
        x = net.node("Transpose", x, perm=[0, 2, 3, 1])
    sizes = net.const([1, 9, 13, 8] if last else [1, 8, 9, 13], np.int64)
    x = net.node("Resize", x, "", "", sizes, **how)
    x = net.node("Transpose", x, perm=[0, 3, 1, 2]) if last else x
    model = staged(net.model(net.conv(x, 8, 4), shape=(1, 3, *SIZE_HW)))
    expected = run_frames(model, frames(2))
    write_openvino(model, numbered_labels(4), tmp_path / "net.xml")
    whole = start_openvino(read_openvino(tmp_path / "net.xml"))
    for frame, scores in zip(frames(2), expected, strict=True):
        np.testing.assert_allclose(whole(frame), scores, atol=1e-3)
    int8 = start_openvino(quantize_openvino(model, measure_ranges(model, frames(2)), tmp_path))
    assert noise(expected, [int8(frame) for frame in frames(2)]) < 0.02


def test_what_openvino_cannot_convert_is_one_line_with_its_layer_and_a_way_out(tmp_path: Path) -> None:
    net = Net()
    whole, sizes = net.const([0, 0, 0, 0, 1, 1, 1, 1]), net.const([1, 3, 12, 16], np.int64)
    x = net.node(
        "Resize", "image", whole, "", sizes, mode="linear", coordinate_transformation_mode="tf_crop_and_resize"
    )  # fmt: skip
    message = refusal(net.model(x), tmp_path)
    assert "tf_crop_and_resize - this type of coordinate transformation mode is not supported" in message
    assert "Summary" not in message


def test_an_operator_that_openvino_does_not_know_is_named_with_its_layer(tmp_path: Path) -> None:
    net = Net()
    assert "No conversion rule found for operations: Det-20;" in refusal(net.model(net.node("Det", "image")), tmp_path)


def refusal(model: onnx.ModelProto, scratch: Path) -> str:
    """What is said of a network of one node."""
    (node,) = model.graph.node
    node.name = node.output[0]
    note_layers(model, {node.name: "decoder.up"})
    with pytest.raises(QuantizationError, match="cannot convert the network at layer 'decoder.up': ") as found:
        to_openvino(model, scratch)
    message = str(found.value)
    assert "\n" not in message
    assert ".cpp" not in message
    assert message.endswith("; leave it out with --runtimes onnxruntime,tflite, or change the network there")
    return message


def attention(net: Net, x: str, width: int) -> str:
    """Scores ``(1, 4, 6, 8)`` from one head of attention with its residual; the rows are resized on the way."""
    query, key, value, mixed = (net.const(net.rng.normal(0, width**-0.5, (width, width))) for _ in range(4))
    keys = net.node("Transpose", net.node("MatMul", x, key), perm=[0, 2, 1])
    alike = net.node("Softmax", net.node("MatMul", net.node("MatMul", x, query), keys), axis=-1)
    seen = net.node("MatMul", net.node("MatMul", alike, net.node("MatMul", x, value)), mixed)
    x = net.node("Transpose", net.node("Add", x, seen), perm=[0, 2, 1])
    x = net.node("Reshape", x, net.const([1, width, *(s // 4 for s in SIZE_HW)], np.int64))
    return net.conv(net.node("Resize", x, "", net.const([1, 1, 2, 2]), mode="linear"), width, 4)


def test_attention_is_not_rounded_between_its_products(tmp_path: Path) -> None:
    """It is computed in float; linear layers and convolutions are integers."""
    net, patches = Net(seed=5), SIZE_HW[0] * SIZE_HW[1] // 16
    x = net.conv("image", 3, 16, strides=[4, 4])
    x = net.node("Transpose", net.node("Reshape", x, net.const([1, 16, patches], np.int64)), perm=[0, 2, 1])
    x = net.node("MatMul", x, net.const(net.rng.normal(0, 0.25, (16, 16))))
    model = staged(net.model(attention(net, x, 16), shape=(1, 3, *SIZE_HW)))
    prepared = Int8Preparation(model, frames(8), 0)
    made = quantize_openvino(prepared.weights((), levels=RECIPE.levels), prepared.ranges, tmp_path)
    rounded = {reader.get_node() for node in made.get_ops() if node.get_type_name() == "FakeQuantize"
               for reader in node.output(0).get_target_inputs()}  # fmt: skip
    kinds = [node.get_type_name() for node in rounded]
    assert "Softmax" not in kinds
    assert kinds.count("MatMul") == 5, "the linear layers, and not the two products of activations"
    infer = start_openvino(made)
    truth = run_frames(prepared.model, frames(8))
    noise = np.mean([np.square(a - infer(image)).mean() for a, image in zip(truth, frames(8), strict=True)])
    assert noise < 0.002 * np.var(truth)


@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 0, 0, 0]], ids=["padded", "not padded"])
def test_an_average_pool_that_rounds_up(pads: list[int], tmp_path: Path) -> None:
    """OpenVINO divides by the whole window at the end of a row, where a part of it lies outside the padding, too."""
    net = Net(seed=2)
    x = net.conv("image", 3, 8)
    x = net.node("AveragePool", x, kernel_shape=[4, 5], strides=[3, 3], pads=pads, ceil_mode=1, count_include_pad=1)
    model = staged(net.model(net.conv(x, 8, 4, 1, pads=[0] * 4), shape=(1, 3, *SIZE_HW)))
    infer = start_openvino(to_openvino(model, tmp_path))
    for frame, expected in zip(frames(2), run_frames(model, frames(2)), strict=True):
        np.testing.assert_allclose(infer(frame), expected, atol=1e-3 * np.abs(expected).max())


def test_an_average_pool_pads_with_the_number_zero_in_int8(tmp_path: Path) -> None:
    """OpenVINO pads with the byte 0, which is the lowest number of a range."""
    net = Net(seed=2)
    x = net.node("PRelu", net.conv("image", 3, 16), net.const(np.full((16, 1, 1), 0.8)))
    pooled = net.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1)
    x = net.node("Concat", pooled, net.conv(x, 16, 16, strides=[2, 2]), axis=1)
    prepared = Int8Preparation(staged(net.model(net.conv(x, 32, 4, 1, pads=[0] * 4))), frames(8), 0)
    infer = start_openvino(quantize_openvino(prepared.weights((), levels=RECIPE.levels), prepared.ranges, tmp_path))
    for frame, expected in zip(frames(4), run_frames(prepared.model, frames(4)), strict=True):
        apart = np.abs(infer(frame) - expected)
        assert apart[..., 0, :].mean() < 0.1 * np.abs(expected).mean()  # the first row; 0.8 with the byte
