"""Every operator of the table through litert-torch to TFLite, next to convolutions, against ONNX Runtime.

The neighbours matter: litert-converter 0.5 folds some operators into a convolution beside them, and folds
``constant - x`` and ``constant / x`` wrongly. A family is one graph with one output per operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import run_onnxruntime
from tflite_files import convert, operators, run

from edge_vseg.export.onnx_to_torch import to_torch
from edge_vseg.export.onnx_to_torch.table import FAMILIES

RNG = np.random.default_rng(11)
CHANNELS, SIZE = 6, 8
Case = tuple[Sequence[Any], dict[str, Any]]


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


X, POSITIVE = "activation", "positive"
C = CHANNELS
SCALES = [None, floats(1, 1, 2, 2)]

CASES: dict[str, list[Case]] = {
    "Conv": [
        ([X, weights(4, C, 3, 3)], {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ([X, weights(C, 1, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2], "group": C}),
        ([X, weights(4, C, 3, 3), weights(4)], {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    ],
    "ConvTranspose": [
        ([X, weights(C, 4, 3, 3), weights(4)], {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
        ([X, weights(C, 4, 4, 4)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ([X, weights(C, 1, 4, 4)], {"strides": [2, 2], "pads": [0, 1, 1, 0], "group": C}),
        ([X, weights(C, 4, 5, 5)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ([X, weights(C, 4, 2, 2)], {"strides": [2, 2]}),
        ([X, weights(C, 4, 3, 3)], {"strides": [2, 2], "dilations": [2, 3], "pads": [2, 1, 2, 3]}),
    ],
    "Col2Im": [
        (["columns", ints(9, 9), ints(2, 2)], {}),
        (["columns", ints(16, 16), ints(2, 2)], {"strides": [2, 2]}),
        (["columns", ints(7, 6), ints(2, 2)], {"pads": [1, 1, 1, 2]}),
    ],
    "MaxPool": [
        ([X], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ([X], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
        ([X], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ],
    "AveragePool": [
        ([X], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ([X], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
        ([X], {"kernel_shape": [5, 4], "strides": [2, 2], "ceil_mode": 1}),
        ([X], {"kernel_shape": [SIZE, SIZE]}),
    ],
    "Resize": [
        ([X, *SCALES], {"mode": "linear"}),
        ([X, *SCALES], {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
        ([X, *SCALES], {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}),
        ([X, *SCALES], {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        ([X, None, floats(1, 1, 1.7, 1.7)], {"mode": "linear"}),
        ([X, *SCALES], {"mode": "cubic"}),
        ([X, None, floats(1, 1, 0.5, 0.7)], {"mode": "linear", "antialias": 1}),
        ([X, None, floats(1, 1, 1.7, 1.7)], {"mode": "nearest", "nearest_mode": "ceil"}),
    ],
    "CumSum": [([X, np.int64(1)], {}), ([X, np.int64(3)], {"exclusive": 1, "reverse": 1})],
    "BatchNormalization": [([X, weights(C), weights(C), weights(C), abs(weights(C))], {})],
    "InstanceNormalization": [([X, weights(C), weights(C)], {})],
    "GroupNormalization": [([X, weights(C), weights(C)], {"num_groups": 2})],
    "LayerNormalization": [([X, weights(SIZE), weights(SIZE)], {})],
    "LpNormalization": [([X], {"axis": 1}), ([X], {"axis": 1, "p": 1})],
    "PRelu": [([X, weights(C, 1, 1)], {}), ([X, abs(weights(C, 1, 1)) % 1], {})],
    "Elu": [([X], {}), ([X], {"alpha": 2.0})],
    "Gelu": [([X], {}), ([X], {"approximate": "tanh"})],
    "HardSigmoid": [([X], {}), ([X], {"alpha": 1 / 6})],
    "Clip": [([X, np.float32(0), np.float32(6)], {}), ([X, np.float32(-1), np.float32(0.5)], {})],
    "Softmax": [([X], {"axis": 1}), ([X], {})],
    "LogSoftmax": [([X], {"axis": 1})],
    "Add": [([X, np.float32(2)], {}), ([weights(C, 1, 1), X], {}), ([X, POSITIVE], {})],
    "Sub": [([X, np.float32(2)], {}), ([np.float32(2), X], {}), ([weights(C, 1, 1), X], {}), ([X, POSITIVE], {})],
    "Mul": [([X, np.float32(2)], {}), ([weights(C, 1, 1), X], {}), ([X, POSITIVE], {})],
    "Div": [
        ([X, np.float32(2)], {}),
        ([np.float32(2), POSITIVE], {}),
        ([weights(C, 1, 1), POSITIVE], {}),
        ([X, POSITIVE], {}),
    ],
    "Pow": [([POSITIVE, np.float32(2)], {}), ([POSITIVE, np.float32(0.5)], {})],
    "Mod": [([X, np.float32(0.7)], {"fmod": 1})],
    "Sqrt": [([POSITIVE], {})],
    "Log": [([POSITIVE], {})],
    "Reciprocal": [([POSITIVE], {})],
    "Min": [([X, POSITIVE, np.float32(1)], {})],
    "Max": [([X, POSITIVE, np.float32(1)], {})],
    "Sum": [([X, POSITIVE, X], {})],
    "Mean": [([X, POSITIVE, X], {})],
    "Equal": [([X, X], {})],
    "Less": [([X, POSITIVE], {}), ([np.float32(0.1), X], {})],
    "LessOrEqual": [([X, np.float32(0.1)], {})],
    "Greater": [([X, POSITIVE], {})],
    "GreaterOrEqual": [([X, POSITIVE], {})],
    "And": [(["high", "low"], {})],
    "Or": [(["high", "low"], {})],
    "Xor": [(["high", "low"], {})],
    "Not": [(["high"], {})],
    "Where": [(["high", X, POSITIVE], {})],
    "MatMul": [([X, weights(SIZE, 5)], {}), ([X, POSITIVE], {})],
    "Gemm": [
        (["flat", weights(C, 5), weights(5)], {}),
        (["flat", weights(5, C), weights(5)], {"transB": 1, "alpha": 0.5}),
    ],
    "ReduceMean": [([X, ints(2, 3)], {}), ([X, ints(1)], {"keepdims": 0})],
    "ReduceLogSum": [([POSITIVE, ints(1)], {})],
    "ReduceProd": [([X, ints(1)], {})],
    "ArgMax": [([X], {"axis": 1}), ([X], {"axis": 1, "keepdims": 0, "select_last_index": 1})],
    "ArgMin": [([X], {"axis": 1})],
    "Reshape": [([X, ints(0, -1, 4)], {})],
    "Flatten": [([X], {})],
    "Squeeze": [(["pooled", ints(2, 3)], {})],
    "Unsqueeze": [([X, ints(1)], {})],
    "Transpose": [([X], {"perm": [0, 2, 3, 1]})],
    "Expand": [(["pooled", ints(1, C, 3, 3)], {})],
    "Tile": [([X, ints(1, 2, 1, 2)], {})],
    "Cast": [([X], {"to": TensorProto.INT32})],
    "CastLike": [([X, "index"], {})],
    "Concat": [([X, POSITIVE], {"axis": 1})],
    "Split": [([X, ints(2, 4)], {"axis": 1, "outputs": 2})],
    "Slice": [([X, ints(1, 6), ints(5, 0), ints(1, 3), ints(2, -2)], {})],
    "Gather": [([X, ints(3, 0, 5)], {"axis": 1}), ([X, np.int64(2)], {"axis": 1}), ([X, "index"], {"axis": 2})],
    "Pad": [
        ([X, ints(0, 2, 1, 2, 0, 1, 1, 0), np.float32(0.5)], {}),
        ([X, ints(0, 0, 2, 2, 0, 0, 2, 2)], {"mode": "reflect"}),
        ([X, ints(0, 0, 2, 2, 0, 0, 2, 2)], {"mode": "edge"}),
        ([X, ints(0, 0, 2, 1, 0, 0, 1, 2)], {"mode": "wrap"}),
    ],
    "DepthToSpace": [(["wide"], {"blocksize": 2}), (["wide"], {"blocksize": 2, "mode": "CRD"})],
    "SpaceToDepth": [([X], {"blocksize": 2})],
}
"""Inputs and attributes by operator; an operator that is not listed takes one activation and no attribute."""

OTHER_OPSETS = {"Swish": 24, "Upsample": 9}
"""Operators that the common opset lacks."""


def _family_graph(names: Sequence[str], opset: int):
    """Each operator between two convolutions where its output is an image of the activation's channels."""
    kernel = weights(C, 3, 1, 1)
    arrays = {"k": kernel, "k2": weights(4, C, 1, 1), "zero": np.float32(0), "k4": weights(8, C, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "k"], [X]),
        helper.make_node("Abs", [X], ["abs"]),
        helper.make_node("Add", ["abs", "half"], [POSITIVE]),
        helper.make_node("Greater", [X, "zero"], ["high"]),
        helper.make_node("Less", [X, "half"], ["low"]),
        helper.make_node("GlobalAveragePool", [X], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Conv", [X, "k4"], ["wide"]),
        helper.make_node("Reshape", ["wide", "rows"], ["columns"]),
        helper.make_node("ArgMax", ["pooled"], ["index4"], axis=1),
        helper.make_node("Reshape", ["index4", "one"], ["index"]),
    ]
    arrays |= {"half": np.float32(0.5), "one": ints(1), "rows": ints(1, 8, SIZE * SIZE)}
    outputs: list[str] = []
    for name in names:
        for number, (inputs, attributes) in enumerate(CASES.get(name, [([X], {})])):
            attributes = dict(attributes)
            taken = []
            for position, value in enumerate(inputs):
                if isinstance(value, (np.ndarray, np.generic)):
                    arrays[f"{name}_{number}_{position}"] = value
                    taken.append(f"{name}_{number}_{position}")
                else:
                    taken.append(value or "")
            made = [f"{name}_{number}_out{i}" for i in range(attributes.pop("outputs", 1))]
            nodes.append(helper.make_node(name, taken, made, name=f"{name}_{number}", **attributes))
            outputs += made
    tensors = [numpy_helper.from_array(np.asarray(array), key) for key, array in arrays.items()]
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    graph = helper.make_graph(
        nodes, "family", [info], [helper.make_empty_tensor_value_info(o) for o in outputs], tensors
    )
    return _with_convolutions(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8))


def _with_convolutions(model):
    """Send every float image of ``C`` channels through one more convolution; the rest stays as it is."""
    model = onnx.shape_inference.infer_shapes(model)
    for output in list(model.graph.output):
        tensor = output.type.tensor_type
        sizes = [dim.dim_value for dim in tensor.shape.dim]
        if tensor.elem_type == TensorProto.FLOAT and len(sizes) == 4 and sizes[1] == C:
            model.graph.node.append(helper.make_node("Conv", [output.name, "k2"], [f"{output.name}_conv"]))
            output.name = f"{output.name}_conv"
            output.type.tensor_type.shape.dim[1].dim_value = 4
    return model


def _names(family: str) -> list[str]:
    return [row.name for row in FAMILIES[family] if row.name not in OTHER_OPSETS]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_family_agrees_between_tflite_and_onnxruntime(family):
    model = _family_graph(_names(family), 21 if family == "Normalisation" else 20)
    x = weights(1, 3, SIZE, SIZE)
    file = convert(to_torch(model), [x])
    expected = run_onnxruntime(model, [x])
    for output, ours, theirs in zip(model.graph.output, run(file, [x]), expected, strict=True):
        assert ours.shape == theirs.shape, output.name
        spread = max(float(np.std(theirs)), 1e-3)
        difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()
        assert difference < 1e-4 * max(spread, 1), f"{output.name}: off by {difference}"
    foreign = {name for name in operators(file) if name.startswith("STABLEHLO") or name == "CUSTOM"}
    assert not foreign


def _one_branch(names_inputs_attributes, *, opset=20):
    """A chain of operators between two convolutions, the ONNX names of its operators as given."""
    kernel, last = weights(C, 3, 1, 1), weights(4, C, 1, 1)
    arrays = {"k": kernel, "k2": last}
    nodes, at = [helper.make_node("Conv", ["x", "k"], ["t0"])], "t0"
    for number, (name, inputs, attributes) in enumerate(names_inputs_attributes):
        taken = []
        for position, value in enumerate(inputs):
            if isinstance(value, (np.ndarray, np.generic)):
                arrays[f"w{number}_{position}"] = value
                taken.append(f"w{number}_{position}")
            else:
                taken.append({X: at, "first": "t0"}.get(value, ""))
        at = f"t{number + 1}"
        nodes.append(helper.make_node(name, taken, [at], **attributes))
    nodes.append(helper.make_node("Conv", [at, "k2"], ["y"]))
    tensors = [numpy_helper.from_array(np.asarray(array), key) for key, array in arrays.items()]
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "branch", [info], [made], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        pytest.param([("Add", [X, weights(C, 1, 1)], {}), ("Relu", [X], {})], [], id="fused"),
        # An int8 RELU of its own would run outside XNNPACK.
        pytest.param([("Relu", [X], {}), ("Add", [X, "first"], {})], ["MAX_POOL_2D", "ADD"], id="relu alone"),
        pytest.param([("HardSwish", [X], {})], ["ADD", "MUL"], id="hard swish without HARD_SWISH"),
        pytest.param(
            [("HardSigmoid", [X], {"alpha": 1 / 6}), ("Mul", [X, "first"], {})],
            ["ADD", "MUL", "MUL"],
            id="hard sigmoid times x without HARD_SWISH",
        ),
        pytest.param(
            [("AveragePool", [X], {"kernel_shape": [2, 2], "strides": [2, 2]})], ["DEPTHWISE_CONV_2D"], id="average"
        ),
        pytest.param([("Resize", [X, *SCALES], {"mode": "linear"})], ["RESIZE_BILINEAR"], id="half pixel"),
        pytest.param(
            [("Resize", [X, *SCALES], {"mode": "linear", "coordinate_transformation_mode": "align_corners"})],
            ["RESIZE_BILINEAR"],
            id="aligned corners",
        ),
        pytest.param(
            [("Resize", [X, *SCALES], {"mode": "linear", "coordinate_transformation_mode": "asymmetric"})],
            ["SLICE", "CONCATENATION", "SLICE", "CONCATENATION", "RESIZE_BILINEAR", "SLICE", "SLICE"],
            id="asymmetric",
        ),
        pytest.param(
            [("Resize", [X, *SCALES], {"mode": "nearest", "nearest_mode": "round_prefer_floor"})],
            ["RESIZE_NEAREST_NEIGHBOR"],
            id="nearest",
        ),
        pytest.param(
            [("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]})],
            ["MAX_POOL_2D"],
            id="pool padded at the end",
        ),
        pytest.param(
            [("Pad", [X, ints(0, 0, 0, 0, 0, 2, 0, 0)], {}), ("Conv", [X, weights(C, C + 2, 1, 1)], {})],
            ["CONCATENATION", "CONV_2D"],
            id="channels padded",
        ),
        pytest.param(
            [("ConvTranspose", [X, weights(C, C, 4, 4)], {"strides": [2, 2], "pads": [1, 1, 1, 1]})],
            ["TRANSPOSE_CONV"],
            id="upconvolution",
        ),
    ],
)
def test_pattern_lowers_to_fast_int8_operators(chain, expected):
    model = _one_branch(chain)
    x = weights(1, 3, SIZE, SIZE)
    file = convert(to_torch(model), [x])
    assert operators(file) == ["TRANSPOSE", "CONV_2D", *expected, "CONV_2D", "TRANSPOSE"]
    theirs = run_onnxruntime(model, [x])[0]
    np.testing.assert_allclose(run(file, [x])[0], theirs, rtol=1e-4, atol=1e-4 * max(1, np.abs(theirs).max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "inputs", "attributes"),
    [("Swish", [X], {}), ("Upsample", [X, floats(1, 1, 2, 2)], {"mode": "linear"})],
    ids=OTHER_OPSETS,
)
def test_older_operator_agrees_in_tflite(name, inputs, attributes):
    module = to_torch(_one_branch([(name, inputs, attributes)], opset=OTHER_OPSETS[name]))
    x = weights(1, 3, SIZE, SIZE)
    expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(convert(module, [x]), [x])[0], expected, rtol=1e-4, atol=1e-4)
