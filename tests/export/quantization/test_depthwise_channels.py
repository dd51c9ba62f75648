"""Channels that are added for the sake of a fast kernel change no bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from networks import Net, frames, fused, scores, staged

from edge_vseg.export.graph.index import GraphIndex, attribute
from edge_vseg.export.partition.chain import Part
from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.partition.onnx_slices import NHWC, cut_onnx
from edge_vseg.export.quantization.onnxruntime_qdq import QdqRecipe, quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import measure_ranges

IMAGES = frames(4)
PLAIN = replace(recipe_for("x86_64"), depthwise_multiple=1, merges_columns=False)
WIDER = replace(PLAIN, depthwise_multiple=16)


def mobile(kind: str) -> onnx.ModelProto:
    """An inverted residual of 20 channels, with what stands in such blocks."""
    net = Net(seed=3)
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    wide = net.conv(x, 8, 20, 1)
    if kind == "hard-swish and attention":
        wide = net.node("HardSwish", wide)
        deep = net.node("HardSwish", net.conv(wide, 20, 20, group=20))
        mean = net.node("GlobalAveragePool", deep)
        gate = net.node("Relu", net.conv(mean, 20, 4, 1))
        deep = net.node("Mul", deep, net.node("HardSigmoid", net.conv(gate, 4, 20, 1), alpha=1 / 6, beta=0.5))
    elif kind == "a slope for each channel":
        deep = net.conv(wide, 20, 20, group=20)
        deep = net.node("PRelu", deep, net.const(np.linspace(0.1, 0.5, 20).reshape(20, 1, 1)))
    elif kind == "a residual of wide tensors":
        wide = net.node("Relu", wide)
        deep = net.node("Add", wide, net.conv(wide, 20, 20, group=20))
        deep = net.node("Add", deep, net.conv(deep, 20, 20))
    elif kind == "an attention map":
        deep = net.node("Relu", net.conv(wide, 20, 20, 5, group=20))
        deep = net.node("Mul", deep, net.node("Sigmoid", net.conv(deep, 20, 1)))
    elif kind == "two in a row and a pool":
        deep = net.node("Relu", net.conv(wide, 20, 20, group=20))
        deep = net.node("MaxPool", deep, kernel_shape=[3, 3], pads=[1] * 4)
        deep = net.node("Relu", net.conv(deep, 20, 20, group=20, dilations=[2, 2], pads=[2] * 4))
    elif kind == "a concatenation":
        deep = net.node("Concat", net.conv(wide, 20, 20, group=20), x, axis=1)
    else:
        deep = net.conv(net.node("Softmax", wide, axis=1), 20, 20, group=20)
    return staged(net.model(net.conv(deep, 28 if kind == "a concatenation" else 20, 4, 1)))


def quantized(model: onnx.ModelProto, recipe: QdqRecipe) -> onnx.ModelProto:
    return quantize_onnxruntime(model, measure_ranges(model, IMAGES), recipe)


def depthwise(model: onnx.ModelProto) -> set[int]:
    """The numbers of channels of its depthwise convolutions."""
    return {int(str(attribute(node, "group", 1))) for node in model.graph.node if node.op_type == "Conv"} - {1}


KINDS = [
    "hard-swish and attention",
    "a slope for each channel",
    "a residual of wide tensors",
    "an attention map",
    "two in a row and a pool",
]


@pytest.mark.parametrize("kind", KINDS)
def test_results_keep_every_bit(kind: str) -> None:
    model = mobile(kind)
    before, after = quantized(model, PLAIN), quantized(model, WIDER)
    assert (depthwise(before), depthwise(after)) == ({20}, {32})
    onnx.checker.check_model(after, full_check=True)
    for a, b in zip(scores(before, IMAGES), scores(after, IMAGES), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_the_integer_kernels_agree(kind: str) -> None:
    """With weights of 7 bits, which no CPU adds up wrongly."""
    model, recipe = mobile(kind), recipe_for("x86_64-avx2")
    before, after = quantized(model, replace(recipe, depthwise_multiple=1)), quantized(model, recipe)
    for image in IMAGES:
        np.testing.assert_array_equal(fused(after, image), fused(before, image))


def test_a_border_in_float_has_the_channels_that_were_added() -> None:
    model = mobile("a slope for each channel")
    after, flow = quantized(model, WIDER), DataFlow(model)
    (convolved,) = (node.input[0] for node in after.graph.node if node.op_type == "Max")
    assert GraphIndex(onnx.shape_inference.infer_shapes(after)).shape(convolved) == (1, 32, 12, 16)
    (sloped,) = (node.output[0] for node in model.graph.node if node.op_type == "PRelu")
    rounding = next(node for node in after.graph.node if sloped in node.input)
    rounding.input[0] = "kept"  # and another reader, so that the tensor is handed over in float
    after.graph.node.insert(
        list(after.graph.node).index(rounding), onnx.helper.make_node("Identity", [sloped], ["kept"], name="kept")
    )
    parts = [Part(inputs=(flow.image,), outputs=(sloped,)), Part(inputs=(sloped,), outputs=(flow.output,))]
    first, second = cut_onnx(after, flow, parts)
    assert GraphIndex(first).shape(sloped) == GraphIndex(second).shape(sloped) == (1, 32, 12, 16)


@pytest.mark.parametrize("kind", ["a concatenation", "a softmax over them"])
def test_channels_that_others_read_stay(kind: str) -> None:
    model = mobile(kind)
    assert quantized(model, WIDER) == quantized(model, PLAIN)


def test_weights_that_are_shared_stay() -> None:
    net = Net(seed=3)
    weights = net.const(net.rng.normal(0, 0.4, (20, 1, 3, 3)))

    def filtered(x: str) -> str:
        return net.node("Conv", x, weights, kernel_shape=[3, 3], group=20, pads=[1] * 4)

    x = net.node("Relu", net.conv("image", 3, 20))
    model = staged(net.model(net.conv(filtered(net.node("Relu", filtered(x))), 20, 4, 1)))
    assert quantized(model, WIDER) == quantized(model, PLAIN)


def test_the_targets_take_the_multiples_of_their_kernels() -> None:
    model = mobile("two in a row and a pool")
    widths = {
        name: depthwise(quantized(model, recipe_for(name))) for name in ("x86_64", "x86_64-avx2", "arm64", "jetson")
    }
    assert widths == {"x86_64": {32}, "x86_64-avx2": {32}, "arm64": {24}, "jetson": {20}}


def test_a_slice_hands_over_the_channels_that_were_added() -> None:
    model = mobile("two in a row and a pool")
    after, flow = quantized(model, WIDER), DataFlow(model)
    (pool,) = (node for node in model.graph.node if node.op_type == "MaxPool")
    cut = pool.output[0]
    parts = [Part(inputs=(flow.image,), outputs=(cut,)), Part(inputs=(cut,), outputs=(flow.output,))]
    _, second = cut_onnx(after, flow, parts)
    (border,) = second.graph.input
    assert border.name.endswith(NHWC)
    assert GraphIndex(second).shape(border.name) == (1, 12, 16, 32)
