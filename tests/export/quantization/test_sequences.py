"""Linear layers, normalizations and GELU of transformers: what runs in integers, and what is not rounded."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from networks import SIZE_HW, Net, frames, staged

from edge_vseg.export.export_options import native_targets
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import insert_qdq, quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import measure_ranges
from edge_vseg.runtimes.cpu import cpu_features

IMAGES = frames(6)
PATCHES = (SIZE_HW[0] // 4) * (SIZE_HW[1] // 4)


def linear(net: Net, x: str, inputs: int, outputs: int, *, bias: bool = True) -> str:
    product = net.node("MatMul", x, net.const(net.rng.normal(0, inputs**-0.5, (inputs, outputs))))
    return net.node("Add", product, net.const(net.rng.normal(0, 0.3, outputs))) if bias else product


def normalized(net: Net, x: str, width: int) -> str:
    scale, shift = (net.const(net.rng.normal(mean, 0.3, width)) for mean in (1, 0))
    return net.node("LayerNormalization", x, scale, shift, axis=-1)


def transformer(*, bias: bool = True) -> onnx.ModelProto:
    """Patches, one block of attention and one of two layers, and scores."""
    net = Net(seed=5)
    x = net.conv("image", 3, 16, strides=[4, 4])
    x = net.node("Transpose", net.node("Reshape", x, net.const([1, 16, PATCHES], np.int64)), perm=[0, 2, 1])
    x = normalized(net, x, 16)
    n = normalized(net, x, 16)
    query, key, value = (linear(net, n, 16, 16, bias=bias) for _ in range(3))
    alike = net.node("Softmax", net.node("MatMul", query, net.node("Transpose", key, perm=[0, 2, 1])), axis=-1)
    x = net.node("Add", x, linear(net, net.node("MatMul", alike, value), 16, 16, bias=bias))
    wide = net.node("Gelu", linear(net, normalized(net, x, 16), 16, 32, bias=bias))
    x = net.node("Add", x, linear(net, wide, 32, 16, bias=bias))
    x = net.node(
        "Reshape", net.node("Transpose", x, perm=[0, 2, 1]), net.const([1, 16, *(s // 4 for s in SIZE_HW)], np.int64)
    )
    return staged(net.model(net.conv(x, 16, 4)))


def kernels(model: onnx.ModelProto, path: str) -> list[str]:
    """Operators of the graph that ONNX Runtime makes of it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = path
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]


def noise(model: onnx.ModelProto, graph: onnx.ModelProto) -> float:
    pairs = zip(run_frames(model, IMAGES), run_frames(graph, IMAGES), strict=True)
    return float(np.mean([np.square(a - b).mean() for a, b in pairs]))


def test_linear_layers_are_one_integer_operator_each(tmp_path) -> None:
    model, recipe = transformer(), recipe_for(native_targets(cpu_features().has_vnni)[0])
    ranges = measure_ranges(model, IMAGES)
    before, after = insert_qdq(model, ranges, recipe), quantize_onnxruntime(model, ranges, recipe)
    assert noise(model, after) < noise(model, before)
    left = kernels(after, str(tmp_path / "after.onnx"))
    assert left.count("QGemm") == 6
    assert "Gemm" not in left
    assert "MatMul" not in left
    assert left.count("DequantizeLinear") < kernels(before, str(tmp_path / "before.onnx")).count("DequantizeLinear")


def test_nothing_is_rounded_between_operators_in_float() -> None:
    made = quantize_onnxruntime(transformer(), measure_ranges(transformer(), IMAGES), recipe_for("x86_64"))
    producer = {name: node for node in made.graph.node for name in node.output}
    (gelu,) = (node for node in made.graph.node if node.op_type == "Gelu")
    before = producer[gelu.input[0]]
    assert before.op_type == "Reshape"
    assert producer[before.input[0]].op_type == "Gemm"


def test_residuals_of_linear_layers_stay_in_float() -> None:
    model = transformer()
    made = quantize_onnxruntime(model, measure_ranges(model, IMAGES), recipe_for("x86_64"))
    producer = {name: node for node in made.graph.node for name in node.output}
    sums = [node for node in made.graph.node if node.op_type == "Add"]
    assert len(sums) == 2
    assert "DequantizeLinear" not in {producer[name].op_type for node in sums for name in node.input}


def test_sums_of_convolutions_are_integers() -> None:
    net = Net(seed=1)
    x = net.conv("image", 3, 8)
    model = staged(net.model(net.conv(net.node("Add", x, net.conv(x, 8, 8)), 8, 4)))
    made = quantize_onnxruntime(model, measure_ranges(model, IMAGES), recipe_for("x86_64"))
    producer = {name: node for node in made.graph.node for name in node.output}
    (add,) = (node for node in made.graph.node if node.op_type == "Add")
    assert {producer[name].op_type for name in add.input} == {"DequantizeLinear"}


@pytest.mark.parametrize("target", ["arm64", "jetson", "x86_64-avx2"])
def test_every_target(target: str) -> None:
    model, recipe = transformer(), recipe_for(target)
    ranges = measure_ranges(model, IMAGES)
    assert noise(model, quantize_onnxruntime(model, ranges, recipe)) < 1.1 * noise(
        model, insert_qdq(model, ranges, recipe)
    )


def test_layer_normalization_stays_in_float_in_tflite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its nine operators, and no other; in int8 they lose more than all the rest."""
    pytest.importorskip("litert_torch")
    from edge_vseg.export.quantization.tflite_activations import Activations
    from edge_vseg.export.quantization.tflite_litert import quantize_tflite, start_tflite, to_tflite

    model = transformer()
    made = to_tflite(model)
    names = Activations(made).normalizing_operators()
    assert len(names) == len(set(names)) == 3 * 9
    truth = run_frames(model, IMAGES)

    def loss() -> float:
        infer = start_tflite(quantize_tflite(made, model, IMAGES))
        return float(np.mean([np.square(a - infer(image)).mean() for a, image in zip(truth, IMAGES, strict=True)]))

    kept = loss()
    monkeypatch.setattr(Activations, "normalizing_operators", lambda self: [])
    assert kept < 0.9 * loss()


def test_attention_stays_in_float_in_tflite() -> None:
    """Its two products and the softmax between, for which XNNPACK has no integer kernel; linear layers are integers."""
    pytest.importorskip("litert_torch")
    from edge_vseg.export.quantization.tflite_litert import quantize_tflite, to_tflite

    made = Interpreter(model_content=quantize_tflite(to_tflite(model := transformer()), model, IMAGES))
    kinds = {detail["index"]: detail["dtype"] for detail in made.get_tensor_details()}
    operators = made._get_ops_details()
    computed = {int(t) for op in operators for t in op["outputs"]}
    attention, layers = [], []
    for op in operators:
        kind = kinds[int(op["outputs"][0])]
        if op["op_name"] == "FULLY_CONNECTED" and int(op["inputs"][1]) not in computed:
            layers.append(kind)
        elif op["op_name"] in ("BATCH_MATMUL", "SOFTMAX", "FULLY_CONNECTED"):
            attention.append(kind)
    assert attention == [np.float32] * 3
    assert layers == [np.int8] * 6


@pytest.mark.parametrize(
    ("activation", "behind", "most"),
    [("Relu", "LayerNormalization", 0.02), ("Clip", "LayerNormalization", 0.02), ("Relu", "Softmax", 0.001)],
    ids=["relu", "relu6", "attention"],
)
def test_an_activation_before_an_operator_in_float_is_not_lost(activation: str, behind: str, most: float) -> None:
    """The quantizer drops a Relu, since rounding clips at 0: then that rounding is not needless."""
    net = Net(seed=5)
    x = net.conv("image", 3, 16, strides=[4, 4])
    x = net.node("Transpose", net.node("Reshape", x, net.const([1, 16, PATCHES], np.int64)), perm=[0, 2, 1])
    x = linear(net, x, 16, 16)
    x = net.node("Relu", x) if activation == "Relu" else net.node("Clip", x, net.const(0.0), net.const(6.0))
    x = normalized(net, x, 16) if behind == "LayerNormalization" else net.node("Softmax", x, axis=-1)
    x = net.node("Transpose", linear(net, x, 16, 16), perm=[0, 2, 1])
    x = net.node("Reshape", x, net.const([1, 16, *(s // 4 for s in SIZE_HW)], np.int64))
    model = staged(net.model(net.conv(x, 16, 4)))
    made = quantize_onnxruntime(model, measure_ranges(model, IMAGES), recipe_for("x86_64"))
    assert noise(model, made) < most * np.var(run_frames(model, IMAGES))
