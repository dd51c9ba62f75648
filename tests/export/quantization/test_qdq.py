"""Each target's recipe in the graph that ONNX Runtime's quantizer made."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import Net, body, frames, ops, ranges_of_all, scores, segmenter_onnx, staged, upsample

from edge_vseg.errors import OptionError, QuantizationError
from edge_vseg.export.export_options import TARGETS
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.quantization.onnxruntime_qdq import RECIPES, quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.rounding import round_weights

IMAGES = frames(4)


def quantized(target: str, model: onnx.ModelProto | None = None, **more) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    recipe = recipe_for(target)
    model = staged(segmenter_onnx()) if model is None else model
    made = round_weights(model, IMAGES, np.random.default_rng(0), (recipe.levels,))[recipe.levels]
    return made, quantize_onnxruntime(made, ranges_of_all(made, IMAGES), recipe, **more)


def constants_of(graph: onnx.ModelProto, op: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Tensor read, scale and zero point of each node of a kind."""
    index = GraphIndex(graph)
    return [
        (n.input[0], np.asarray(index.constant(n.input[1])), np.asarray(index.constant(n.input[2])))
        for n in graph.graph.node
        if n.op_type == op
    ]


@pytest.mark.parametrize(
    ("target", "dtype", "symmetric"),
    [
        ("x86_64", np.uint8, False),
        ("x86_64-avx2", np.uint8, False),
        ("arm64", np.int8, False),
        ("jetson", np.int8, True),
    ],
)
def test_activations(target, dtype, symmetric):
    _, graph = quantized(target)
    activations = constants_of(graph, "QuantizeLinear")
    assert len(activations) >= 3
    assert {zero.dtype for _, _, zero in activations} == {np.dtype(dtype)}
    assert all(scale.size == 1 and scale > 0 for _, scale, _ in activations)
    assert all(int(zero) == 0 for _, _, zero in activations) == symmetric


@pytest.mark.parametrize("infinity", [-np.inf, np.finfo(np.float32).min, -1e9], ids=["inf", "float32's least", "1e9"])
@pytest.mark.parametrize("moved", [False, True], ids=["added", "added and moved"])
def test_infinite_mask_stays_in_float(infinity, moved):
    """A range that reaches to the mask would leave one level for all that the softmax tells apart."""
    net = Net()
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    mask = np.zeros((1, 8, 1, 16))  # one number for each channel would go into the convolution's bias
    mask[:, ::3, :, ::2] = infinity
    masked = net.node("Add", net.node("Mul", net.conv(x, 8, 8), x), net.const(mask))
    if moved:
        masked = net.node("Transpose", net.node("Transpose", masked, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    weighed = net.node("Mul", net.node("Softmax", masked, axis=1), x)
    model = staged(net.model(upsample(net, net.conv(weighed, 8, 4), 2)))
    _, graph = quantized("x86_64-avx2", model)
    floats, rounded = scores(model, IMAGES), scores(graph, IMAGES)
    noise = np.mean([np.square(a - b).mean() for a, b in zip(floats, rounded, strict=True)])
    assert noise < 1e-2 * np.var(floats)
    # What holds no infinity is still int8.
    assert sum(n.op_type == "QuantizeLinear" for n in graph.graph.node) >= 3


def test_transposed_convolution_in_groups_stays_in_float():
    """The quantizer would take a scale for each of 2 channels, and the bias one for each of 8."""
    net = Net()
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    kernel, bias = net.const(net.rng.normal(0, 0.3, (8, 2, 2, 2))), net.const(np.ones(8))
    larger = net.node("ConvTranspose", x, kernel, bias, strides=[2, 2], group=4)
    model = staged(net.model(net.conv(larger, 8, 4)))
    _, graph = quantized("x86_64-avx2", model)
    floats, rounded = scores(model, IMAGES), scores(graph, IMAGES)
    noise = np.mean([np.square(a - b).mean() for a, b in zip(floats, rounded, strict=True)])
    assert noise < 1e-2 * np.var(floats)


@pytest.mark.parametrize("bounds", [(0.5, 2.0), (-2.0, -0.5), (0.3, None)], ids=str)
@pytest.mark.parametrize("target", ["x86_64-avx2", "arm64", "jetson"])
def test_a_clip_that_cuts_off_zero_is_not_left_to_rounding(target, bounds):
    """Every range holds 0, so that rounding does not clip at 0.5."""
    net = Net()
    x = net.conv("image", 3, 8, strides=[2, 2])
    x = net.node("Clip", x, *("" if each is None else net.const(each) for each in bounds))
    model = staged(net.model(upsample(net, net.conv(x, 8, 4), 2)))
    made, graph = quantized(target, model)
    floats, rounded = scores(made, IMAGES), scores(graph, IMAGES)
    noise = np.mean([np.square(a - b).mean() for a, b in zip(floats, rounded, strict=True)])
    assert noise < 1e-2 * np.var(floats)


@pytest.mark.parametrize(("heads", "left"), [(1, True), (1, False), (2, True)], ids=["bases", "first", "heads"])
def test_products_with_a_stack_of_constants_run(heads, left):
    """ONNX Runtime fuses a rounded product with a constant ``(heads, K, N)`` and then refuses to run it."""
    net = Net(seed=3)
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    rows = net.node("Reshape", x, net.const([heads, 8 // heads, 192], np.int64))
    rows = net.node("Transpose", rows, perm=[0, 2, 1]) if left else rows
    bases = net.const(net.rng.normal(0, 0.5, (heads, 8 // heads, 8 // heads)))
    found = net.node("MatMul", *((rows, bases) if left else (bases, rows)))
    found = net.node("Softmax", found, axis=-1)  # in float, and so the product's result is
    found = net.node("Transpose", found, perm=[0, 2, 1]) if left else found
    x = net.node("Reshape", found, net.const([1, 8, 12, 16], np.int64))
    made, graph = quantized("x86_64", staged(net.model(net.conv(x, 8, 4))))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for image, expected in zip(IMAGES, scores(made, IMAGES), strict=True):
        apart = np.abs(session.run(None, {"frame": image[None]})[0] - expected).mean()
        assert apart < 0.1 * np.abs(expected).mean()


def test_a_clip_at_zero_is_left_to_rounding():
    net = Net()
    x = net.node("Clip", net.conv("image", 3, 8, strides=[2, 2]), net.const(0), net.const(6))
    model = staged(net.model(net.conv(x, 8, 4)))
    assert "Clip" in ops(model)
    assert "Clip" not in ops(quantized("x86_64-avx2", model)[1])


@pytest.mark.parametrize("target", TARGETS)
def test_weights(target):
    _, graph = quantized(target)
    index = GraphIndex(graph)
    largest = []
    for node in (n for n in graph.graph.node if n.op_type == "Conv"):
        stored, scale, zero = (np.asarray(index.constant(n)) for n in index.producer[node.input[1]].input)
        assert stored.dtype == np.int8
        assert scale.shape == (len(stored),)
        assert not zero.any()
        largest.append(np.abs(stored.astype(int)).max())
    assert largest == [64 if target == "x86_64-avx2" else 127] * 2


@pytest.mark.parametrize("target", TARGETS)
def test_close_to_float(target):
    made, graph = quantized(target)
    for a, b in zip(scores(made, IMAGES), scores(graph, IMAGES), strict=True):
        assert np.square(a - b).mean() < 1e-2 * np.square(a - a.mean()).mean()


def test_only_vnni_is_required():
    assert {name: recipe.requires for name, recipe in RECIPES.items()} == {
        "x86_64": ("vnni",), "x86_64-avx2": (), "arm64": (), "jetson": (),
    }  # fmt: skip
    assert set(RECIPES) == set(TARGETS)


def test_the_input_stage_stays_in_float():
    _, graph = quantized("x86_64")
    index = GraphIndex(graph)
    for node in (n for n in graph.graph.node if n.name.startswith("frame.")):
        assert all(name not in index.producer or index.producer[name].name.startswith("frame.") for name in node.input)


def test_nodes_that_stay_in_float():
    model = staged(segmenter_onnx())
    last = next(n.name for n in reversed(model.graph.node) if n.op_type == "Conv")
    _, whole = quantized("x86_64", model)
    made, spared = quantized("x86_64", model, float_nodes=(last,))
    weights = {n.output[0]: n.input[1] for n in spared.graph.node if n.op_type == "Conv"}
    index = GraphIndex(spared)
    kept = [name for name in weights.values() if name in index.initializer]
    assert len(kept) == 1
    assert index.initializer[kept[0]].data_type == onnx.TensorProto.FLOAT
    assert sum(n.op_type == "QuantizeLinear" for n in spared.graph.node) < sum(
        n.op_type == "QuantizeLinear" for n in whole.graph.node
    )
    assert len(scores(made, IMAGES)) == 4


def test_unknown_target():
    with pytest.raises(OptionError, match="unknown target 'riscv'; known: x86_64, x86_64-avx2, arm64, jetson"):
        recipe_for("riscv")


def test_failures_are_named():
    model = staged(segmenter_onnx())
    with pytest.raises(QuantizationError, match=r"quantizer failed \(U8S8 per channel\)") as found:
        quantize_onnxruntime(model, {}, recipe_for("x86_64"))
    assert str(found.value).endswith("; leave the runtime out of --runtimes, or leave int8 out with --precision float")


def test_the_model_given_is_not_changed():
    net = Net()
    model = staged(net.model(body(net)))
    ranges, before = ranges_of_all(model, IMAGES), model.SerializeToString()
    quantize_onnxruntime(model, ranges, recipe_for("x86_64"))
    assert model.SerializeToString() == before
