"""Pixels that are read as one change no bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from networks import SIZE_HW, Net, frames, fused, scores

from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.head import cut_head
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.input_stage import Normalization, add_input_stage
from edge_vseg.export.partition.chain import Part
from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.partition.onnx_slices import cut_onnx
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import measure_ranges
from edge_vseg.export.quantization.whole_input import with_whole_mean

ONE_MEAN = Normalization(mean=(127.0,) * 3, scale=(64.0,) * 3)
IMAGENET = Normalization(mean=(123.7, 116.3, 103.5), scale=(58.4, 57.1, 57.4))
PLAIN = replace(recipe_for("x86_64"), merges_columns=False)
MERGED = recipe_for("x86_64")


def prepared(net: Net, output: str, norm: Normalization, size_hw: tuple[int, int] = SIZE_HW) -> onnx.ModelProto:
    canonical, image = canonicalize(net.model(output, shape=(1, 3, *size_hw)), None)
    return with_whole_mean(add_input_stage(cut_head(canonical)[0], image, norm))


def stem(
    norm: Normalization, kernel: int, *, size_hw: tuple[int, int] = SIZE_HW, **geometry: object
) -> onnx.ModelProto:
    net = Net(seed=5)
    x = net.node("Relu", net.conv("image", 3, 10, kernel, **geometry))
    return prepared(net, net.conv(x, 10, 4, 1), norm, size_hw)


def both(model: onnx.ModelProto, size_hw: tuple[int, int] = SIZE_HW) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The graph as it is, and with merged pixels, after it was seen that they agree."""
    images = frames(3, size_hw=size_hw)
    ranges = measure_ranges(model, images)
    before, after = (quantize_onnxruntime(model, ranges, recipe) for recipe in (PLAIN, MERGED))
    onnx.checker.check_model(after, full_check=True)
    in_7_bits = replace(recipe_for("x86_64-avx2"), depthwise_multiple=1)  # which no CPU adds up wrongly
    plain, merged = (
        quantize_onnxruntime(model, ranges, replace(in_7_bits, merges_columns=merges)) for merges in (False, True)
    )
    np.testing.assert_array_equal(fused(merged, images[0]), fused(plain, images[0]))
    for a, b in zip(scores(before, images), scores(after, images), strict=True):
        np.testing.assert_array_equal(a, b)
    return before, after


def channels_read(model: onnx.ModelProto) -> list[int]:
    """Of the convolutions, in order."""
    index = GraphIndex(onnx.shape_inference.infer_shapes(model))
    shapes = [index.shape(node.input[0]) for node in model.graph.node if node.op_type == "Conv"]
    return [int(shape[1] or 0) for shape in shapes if shape is not None]


GEOMETRIES = [
    pytest.param(3, {"strides": [2, 2]}, 12, id="3x3 of stride 2"),
    pytest.param(3, {}, 12, id="3x3"),
    pytest.param(3, {"strides": [2, 2], "pads": [0, 0, 1, 1]}, 12, id="padded as TensorFlow does"),
    pytest.param(7, {"strides": [2, 2]}, 24, id="7x7 of stride 2"),
    pytest.param(7, {"strides": [4, 4]}, 24, id="7x7 of stride 4"),
    pytest.param(4, {"strides": [4, 4], "pads": [0] * 4}, 12, id="patches"),
    pytest.param(1, {}, 12, id="1x1"),
]


@pytest.mark.parametrize(("kernel", "geometry", "channels"), GEOMETRIES)
@pytest.mark.parametrize("norm", [ONE_MEAN, IMAGENET], ids=["one mean", "means of channels"])
def test_results_keep_every_bit(kernel: int, geometry: dict, channels: int, norm: Normalization) -> None:
    before, after = both(stem(norm, kernel, **geometry))
    assert channels_read(before) == [3, 10]
    assert channels_read(after) == [channels, 10]


def test_two_layers_that_read_the_frame_are_both_rewritten() -> None:
    net = Net(seed=5)
    detail = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    context = net.node("Relu", net.conv("image", 3, 12, strides=[2, 2]))
    model = prepared(net, net.conv(net.node("Concat", detail, context, axis=1), 20, 4, 1), IMAGENET)
    assert channels_read(both(model)[1]) == [12, 12, 20]


UNEVEN = [
    pytest.param(3, {"strides": [2, 2]}, (24, 30), id="a width of 30"),
    pytest.param(3, {"strides": [3, 3]}, (24, 36), id="stride 3"),
    pytest.param(3, {"pads": [0] * 4}, SIZE_HW, id="30 pixels left"),
    pytest.param(3, {"dilations": [2, 2], "pads": [2] * 4}, SIZE_HW, id="dilated"),
]


@pytest.mark.parametrize(("kernel", "geometry", "size_hw"), UNEVEN)
def test_uneven_sizes_stay(kernel: int, geometry: dict, size_hw: tuple[int, int]) -> None:
    before, after = both(stem(ONE_MEAN, kernel, size_hw=size_hw, **geometry), size_hw)
    assert before == after


def test_a_frame_that_another_layer_reads_stays() -> None:
    net = Net(seed=5)
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    small = net.node("AveragePool", "image", kernel_shape=[2, 2], strides=[2, 2])
    before, after = both(prepared(net, net.conv(net.node("Concat", x, small, axis=1), 11, 4, 1), ONE_MEAN))
    assert before == after


def test_a_slice_may_end_behind_the_rewritten_layer() -> None:
    model = stem(IMAGENET, 3, strides=[2, 2])
    _, after = both(model)
    flow = DataFlow(model)
    (cut,) = (node.output[0] for node in model.graph.node if node.op_type == "Relu")
    parts = [Part(inputs=(flow.image,), outputs=(cut,)), Part(inputs=(cut,), outputs=(flow.output,))]
    first, second = cut_onnx(after, flow, parts)
    assert [value.name for value in first.graph.output] == [value.name for value in second.graph.input]
    for image, expected in zip(frames(2), scores(after, frames(2)), strict=True):
        handed = scores(first, [image])[0]
        assert handed.shape == (1, 12, 16, 10)
        np.testing.assert_array_equal(scores(second, [handed[0]])[0], expected)
