"""Whole networks that nobody here made: through the importer, and on to TFLite and int8."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import run_onnxruntime, run_torch
from tflite_files import convert, operators, quiet, run

from edge_vseg.export.onnx_to_torch import to_torch

pytestmark = pytest.mark.data

DATA = Path(os.environ.get("EDGE_VSEG_DATA", Path(__file__).parents[4] / "shared" / "data"))
FILES = {
    "road": "models/road-segmentation-adas-0001/road-segmentation-adas-0001.onnx",
    "deeplab": "models/deeplabv3-voc/deeplabv3_257.onnx",
    "prisma": "models/prisma-person/prisma.onnx",
}


@cache
def network(name: str) -> onnx.ModelProto:
    path = DATA / FILES[name]
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {DATA} (set EDGE_VSEG_DATA)")
    model = onnx.load(path)
    if name == "prisma":  # IR 3 counts its weights among the inputs, and the batch has a name
        model.ir_version = 8
        for info in [*model.graph.input, *model.graph.output]:
            info.type.tensor_type.shape.dim[0].dim_value = 1
    return model


def frame(model: onnx.ModelProto, scale: float) -> np.ndarray:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return (np.random.default_rng(5).random(shape) * scale).astype(np.float32)


def scale_of(name: str) -> float:
    return 255.0 if name == "road" else 1.0


def assert_close(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < tolerance * theirs.std()


@pytest.mark.parametrize("name", FILES)
def test_module_agrees_with_onnxruntime(name):
    model = network(name)
    x = frame(model, scale_of(name))
    assert_close(run_torch(model, [x])[0], run_onnxruntime(model, [x])[0], 1e-3)


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("deeplab", {"CONV_2D": 38, "DEPTHWISE_CONV_2D": 17, "RESIZE_BILINEAR": 2}),
        ("prisma", {"CONV_2D": 52, "DEPTHWISE_CONV_2D": 46, "TRANSPOSE_CONV": 4, "TRANSPOSE": 1}),
    ],
)
def test_tflite_file_agrees_and_keeps_the_operators(name, plain):
    model = network(name)
    x = frame(model, scale_of(name))
    file = convert(to_torch(model), [x])
    assert_close(run(file, [x])[0], run_onnxruntime(model, [x])[0], 1e-3)
    used = Counter(operators(file))
    assert {operator: used[operator] for operator in plain} == plain
    rest = {"ADD", "CONCATENATION", "LOGISTIC", "MAX_POOL_2D", "MEAN", "RESHAPE", "SLICE"}
    assert set(used) <= plain.keys() | rest


def road_from_bytes() -> onnx.ModelProto:
    """The road network as it is exported: uint8 NHWC in, mean inside, low-resolution scores out."""
    model = onnx.ModelProto()
    model.CopyFrom(network("road"))
    graph = model.graph
    scores = [node for node in graph.node if node.op_type == "Resize"][-1].input[0]
    graph.node.insert(0, helper.make_node("Cast", ["frame"], ["as_float"], to=TensorProto.FLOAT))
    graph.node.insert(1, helper.make_node("Sub", ["as_float", "mean"], ["data"]))
    graph.initializer.append(numpy_helper.from_array(np.float32([1, 2, 3]), "mean"))
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, 512, 896, 3]))
    graph.output.append(helper.make_tensor_value_info(scores, TensorProto.FLOAT, [1, 4, 256, 448]))
    return onnx.utils.Extractor(model).extract_model(["frame"], [scores])


@pytest.mark.slow
@pytest.mark.release
def test_exported_network_is_int8_without_extra_transposes():
    model = road_from_bytes()
    frames = [np.random.default_rng(seed).integers(0, 256, (1, 512, 896, 3), np.uint8) for seed in range(2)]
    file = convert(to_torch(model), frames[:1])
    exact = run_onnxruntime(model, frames[:1])[0]
    assert_close(run(file, frames[:1])[0], exact, 1e-3)

    used = Counter(operators(file))
    assert used["CONV_2D"] == 97
    assert used["DEPTHWISE_CONV_2D"] == 42  # two of them average pools
    assert used["RESIZE_BILINEAR"] == 4
    assert used["TRANSPOSE"] == 1  # of the scores, at the very end
    assert used["PAD"] == 1  # 3x3 at stride 2 over an even size; all others fold into their convolutions
    assert operators(file)[:4] == ["CAST", "RESHAPE", "SUB", "RESHAPE"]

    with quiet():
        from ai_edge_quantizer import quantizer, recipe

        tool = quantizer.Quantizer(bytearray(file), recipe.static_wi8_ai8())
        ranges = tool.calibrate({"serving_default": [{"args_0": image} for image in frames]})
        int8 = bytes(tool.quantize(ranges).quantized_model)
    assert len(int8) < 0.6 * len(file)
    approximate = _dequantized(int8, frames[0])
    agreement = (approximate.argmax(axis=1) == exact.argmax(axis=1)).mean()
    assert agreement > 0.95


def _dequantized(file: bytes, image: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file, num_threads=2)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    output = interpreter.get_output_details()[0]
    scale, zero_point = output["quantization"]
    return (interpreter.get_tensor(output["index"]).astype(np.float32) - zero_point) * scale
