"""Operators as older opsets defined them, against ONNX Runtime; the standard's cases know the newest only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnx_graphs import assert_same, one_node, run_torch

from edge_vseg.errors import UnsupportedOperatorError
from edge_vseg.export.onnx_to_torch.table import TABLE

RNG = np.random.default_rng(7)


def image(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape or (1, 3, 6, 7)).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


X = image()
CASES: dict[str, tuple[str, int, Sequence[Any], dict[str, Any]]] = {
    "Slice-1": ("Slice", 9, [X], {"starts": [1, -4], "ends": [100, -1], "axes": [2, 3]}),
    "Slice-10 backwards": ("Slice", 10, [X, ints(5, 6), ints(-(2**63), 0), ints(2, 3), ints(-1, -2)], {}),
    "Pad-2 constant": ("Pad", 10, [X], {"pads": [0, 1, 2, 0, 0, 0, 1, 3], "value": 0.5}),
    "Pad-2 reflect": ("Pad", 10, [X], {"pads": [0, 0, 2, 1, 0, 0, 1, 3], "mode": "reflect"}),
    "Pad-2 edge": ("Pad", 10, [X], {"pads": [0, 1, 2, 1, 0, 0, 1, 3], "mode": "edge"}),
    "Pad-11 cuts": ("Pad", 11, [X, ints(0, -1, 2, -2, 0, 0, -3, 1)], {}),
    "Clip-6": ("Clip", 10, [X], {"min": -0.3, "max": 0.4}),
    "Clip-6 relu6": ("Clip", 10, [4 * X], {"min": 0.0, "max": 6.0}),
    "Clip-11 only min": ("Clip", 11, [X, np.float32(0.1)], {}),
    "Softmax-1 flattens": ("Softmax", 9, [X], {}),
    "Softmax-11 last axis": ("Softmax", 11, [X], {"axis": 3}),
    "Softmax-11 pixel": ("Softmax", 11, [image(2, 4, 1, 1)], {"axis": 1}),
    "LogSoftmax-1 flattens": ("LogSoftmax", 9, [X], {"axis": 2}),
    "Upsample-7 nearest": ("Upsample", 7, [X], {"scales": [1.0, 1.0, 2.0, 3.0]}),
    "Upsample-7 linear": ("Upsample", 7, [X], {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "linear"}),
    "Upsample-9 linear": ("Upsample", 9, [X, floats(1, 1, 2.5, 2)], {"mode": "linear"}),
    "Resize-10 linear": ("Resize", 10, [X, floats(1, 1, 2, 3)], {"mode": "linear"}),
    "Resize-10 smaller": ("Resize", 10, [image(1, 2, 8, 8), floats(1, 1, 0.5, 0.5)], {"mode": "nearest"}),
    "Resize-11 sizes": ("Resize", 11, [X, floats(), floats(), ints(1, 3, 9, 20)], {"mode": "linear"}),
    "Resize-13 nhwc": ("Resize", 13, [X, None, floats(1, 2, 2, 1)], {"mode": "linear"}),
    "Squeeze-1": ("Squeeze", 9, [image(1, 3, 1, 2)], {"axes": [0, 2]}),
    "Squeeze-11 all": ("Squeeze", 11, [image(1, 3, 1, 2)], {}),
    "Unsqueeze-1": ("Unsqueeze", 9, [X], {"axes": [0, 3]}),
    "ReduceMean-1": ("ReduceMean", 9, [X], {"axes": [2, 3]}),
    "ReduceSum-11 all": ("ReduceSum", 11, [X], {"keepdims": 0}),
    "ReduceSum-13 noop": ("ReduceSum", 13, [X], {"noop_with_empty_axes": 1}),
    "ReduceMax-12": ("ReduceMax", 12, [X], {"axes": [1], "keepdims": 0}),
    "ReduceL2-13": ("ReduceL2", 13, [X], {"axes": [1]}),
    "Dropout-7": ("Dropout", 7, [X], {"ratio": 0.3}),
    "BatchNormalization-7": (
        "BatchNormalization",
        7,
        [X, floats(1, 2, 3), floats(4, 5, 6), floats(0.1, 0.2, 0.3), floats(1, 2, 3)],
        {},
    ),
    "BatchNormalization-9": (
        "BatchNormalization",
        9,
        [X, floats(1, 2, 3), floats(4, 5, 6), floats(0.1, 0.2, 0.3), floats(1, 2, 3)],
        {"epsilon": 0.01},
    ),
    "Split-2": ("Split", 11, [X], {"axis": 3, "split": [3, 4], "outputs": 2}),
    "Split-2 equal": ("Split", 9, [X], {"axis": 2, "outputs": 3}),
    "Gemm-7": ("Gemm", 7, [image(2, 3), image(4, 3), image(4)], {"transB": 1}),
    "Gemm-9 scaled": ("Gemm", 9, [image(3, 2), image(3, 4), image(2, 1)], {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    "Gemm-11 plain": ("Gemm", 11, [image(2, 3), image(3, 4)], {}),
    "PRelu-7 steep": ("PRelu", 7, [X, floats(-0.5, 0.2, 1.5).reshape(3, 1, 1)], {}),
    "PRelu-9 shallow": ("PRelu", 9, [X, floats(0.0, 0.2, 1.0).reshape(3, 1, 1)], {}),
    "AveragePool-7": ("AveragePool", 7, [X], {"kernel_shape": [3, 3], "pads": [1, 0, 1, 1], "strides": [2, 2]}),
    "AveragePool-7 one window over padding": (
        "AveragePool",
        7,
        [image(1, 2, 4, 4)],
        {"kernel_shape": [4, 4], "pads": [1, 1, 0, 0], "strides": [3, 3], "count_include_pad": 1},
    ),
    "MaxPool-1": ("MaxPool", 7, [X], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1]}),
    "MaxPool-8 below zero": ("MaxPool", 8, [-abs(X) - 1], {"kernel_shape": [3, 3], "pads": [0, 0, 1, 2]}),
    "Conv-1 1-D": ("Conv", 7, [image(1, 2, 9), image(4, 2, 3)], {"pads": [0, 2]}),
    "ConvTranspose-1 1-D": ("ConvTranspose", 7, [image(1, 2, 9), image(2, 4, 3)], {"strides": [2], "pads": [1, 0]}),
    "Equal-7 ints": ("Equal", 7, [ints(1, 2, 3), ints(1, 5, 3)], {}),
    "Flatten-1": ("Flatten", 7, [X], {"axis": 2}),
    "Gather-1": ("Gather", 7, [X, ints(2, 0)], {"axis": 1}),
    "Cast-6": ("Cast", 7, [4 * X], {"to": onnx.TensorProto.INT32}),
    "Cast to bool": ("Cast", 13, [floats(-2, 0, 0.3)], {"to": onnx.TensorProto.BOOL}),
    "InstanceNormalization-6": ("InstanceNormalization", 7, [X, floats(1, 2, 3), floats(0, 1, 2)], {}),
    "Mod-10 signs": ("Mod", 10, [ints(-7, 7, -7), ints(3, -3, -3)], {}),
    "Dropout-13 mask": ("Dropout", 13, [X], {"outputs": 2}),
}


@pytest.mark.parametrize("name", CASES)
def test_older_versions_agree_with_onnxruntime(name):
    op_type, opset, inputs, attributes = CASES[name]
    frozen = TABLE[op_type].constants
    model = one_node(op_type, inputs, opset=opset, frozen=frozen, **attributes)
    assert_same(model, [array for i, array in enumerate(inputs) if i not in frozen and array is not None])


@pytest.mark.parametrize("name", CASES)
def test_older_versions_agree_when_all_but_the_first_input_are_weights(name):
    op_type, opset, inputs, attributes = CASES[name]
    model = one_node(op_type, inputs, opset=opset, frozen=range(1, len(inputs)), **attributes)
    assert_same(model, inputs[:1])


@pytest.mark.parametrize("constant_first", [False, True], ids=["x op c", "c op x"])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 1, 1), (1, 3, 1, 1), (1, 1, 6, 7), (1, 1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Pow", "Less", "Equal"])
def test_constant_operand_of_any_shape_broadcasts(op_type, shape, constant_first):
    constant = RNG.uniform(0.5, 2.0, size=shape).astype(np.float32)
    x = RNG.uniform(0.5, 2.0, size=(1, 3, 6, 7)).astype(np.float32)
    operands = [constant, x] if constant_first else [x, constant]
    assert_same(one_node(op_type, operands, opset=13, frozen=[0 if constant_first else 1]), [x])


@pytest.mark.parametrize("channels", [2, 15, 16])
def test_few_nhwc_channels_are_computed_rowwise(channels):
    x, mean = image(1, 4, 5, channels), image(channels)
    assert_same(one_node("Sub", [x, mean], opset=13, frozen=[1]), [x])


def test_group_normalization_18_has_its_scale_per_group():
    # ONNX Runtime does not know this version any more; torch's own has the scale per channel.
    x, scale, bias = image(2, 6, 3, 2), floats(1.5, 2), floats(3, -4)
    wide = [torch.from_numpy(np.repeat(array, 3)) for array in (scale, bias)]
    expected = torch.nn.functional.group_norm(torch.from_numpy(x), 2, *wide).numpy()
    node = helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=2)
    weights = [numpy_helper.from_array(scale, "s"), numpy_helper.from_array(bias, "b")]
    infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, x.shape) for name in "xy"]
    graph = helper.make_graph([node], "graph", infos[:1], infos[1:], weights)
    older = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    np.testing.assert_allclose(run_torch(older, [x])[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8], ids=["int32", "int64", "uint8"])
def test_integers_divide_towards_zero(dtype):
    a, b = np.array([7, 8, 200], dtype), np.array([2, 3, 7], dtype)
    a = a if dtype == np.uint8 else a * np.array([1, -1, 1], dtype)
    np.testing.assert_array_equal(run_torch(one_node("Div", [a, b], opset=14), [a, b])[0], np.trunc(a / b))


def test_unsupported_version_is_named():
    x = image(1, 2, 2, 2)
    model = one_node("Relu", [x], opset=13)
    model.opset_import[0].version = 5
    with pytest.raises(UnsupportedOperatorError, match=r"version 1 .*\(opset 5\).*Convert the model to opset 20"):
        run_torch(model, [x])
