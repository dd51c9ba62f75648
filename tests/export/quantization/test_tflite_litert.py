"""Small networks through the whole TFLite path, float and int8, against ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper
from tflite_files import operators

from edge_vseg.errors import QuantizationError, UnsupportedOperatorError
from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.export.quantization.tflite_litert import quantize_tflite, start_tflite, to_tflite

HEIGHT, WIDTH, CHANNELS = 24, 32, 16
RNG = np.random.default_rng(5)
FRAMES = [RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(4)]
Step = tuple[str, Sequence[Any], dict[str, Any]]

PADDED_POOL: Step = ("MaxPool", ["@"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})
RELU: Step = ("Relu", ["@"], {})


def outputs(file: bytes) -> list[np.ndarray]:
    infer = start_tflite(file)
    return [infer(frame) for frame in FRAMES]


def network(*steps: Step, mean: float | np.ndarray = 128.0) -> onnx.ModelProto:
    """Frame, convolution, the steps, convolution; ``@`` is the step before, ``@1`` the output of step 1, ``@0`` x."""
    first = RNG.normal(0, 0.3, (CHANNELS, 3, 3, 3)).astype(np.float32)
    arrays: dict[str, np.ndarray] = {"mean": np.asarray(mean, np.float32), "gain": np.float32(1 / 64), "first": first}
    nodes = [
        helper.make_node("Transpose", ["frame"], ["moved"], name="frame.Transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["moved"], ["cast"], name="frame.Cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["cast", "mean"], ["centred"], name="frame.Sub"),
        helper.make_node("Mul", ["centred", "gain"], ["scaled"], name="frame.Mul"),
        helper.make_node("Conv", ["scaled", "first"], ["@0"], name="@0", pads=[1, 1, 1, 1]),
    ]
    for number, (kind, inputs, attributes) in enumerate(steps, 1):
        names = []
        for place, value in enumerate(inputs):
            if isinstance(value, str):
                names.append(f"@{number - 1}" if value == "@" else value)
            else:
                arrays[f"constant{number}_{place}"] = value
                names.append(f"constant{number}_{place}")
        nodes.append(helper.make_node(kind, names, [f"@{number}"], name=f"@{number}", **attributes))
    arrays["last"] = RNG.normal(0, 0.3, (5, CHANNELS, 1, 1)).astype(np.float32)
    nodes.append(helper.make_node("Conv", [f"@{len(steps)}", "last"], ["scores"], name="scores"))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def signal_to_noise_db(expected: Sequence[np.ndarray], made: Sequence[np.ndarray]) -> float:
    signal = sum(float((e.astype(np.float64) ** 2).sum()) for e in expected)
    noise = sum(float(((e - m).astype(np.float64) ** 2).sum()) for e, m in zip(expected, made, strict=True))
    return 10 * np.log10(signal / max(noise, 1e-30))


def check_float_and_int8(model: onnx.ModelProto, *, least_db: float) -> tuple[list[str], list[str]]:
    """Float is exact and int8 close; the operators of both."""
    expected = run_frames(model, FRAMES)
    float_file = to_tflite(model)
    made = outputs(float_file)
    assert signal_to_noise_db(expected, made) > 100
    int8_file = quantize_tflite(float_file, model, FRAMES)
    assert signal_to_noise_db(expected, outputs(int8_file)) > least_db
    return operators(float_file), operators(int8_file)


def test_learnt_ranges_are_those_of_the_file() -> None:
    """What training has found is taken; what TFLite never sees, such as values before their Relu, is not."""
    model = network(RELU)
    float_file = to_tflite(model)
    learnt = {"@1": (0.0, 5.1), "@0": (-3.0, 3.0), "scores": (-2.0, 8.2)}

    def steps(file: bytes) -> set[float]:
        details = Interpreter(model_content=file).get_tensor_details()
        return {round(float(each["quantization"][0]), 4) for each in details if each["dtype"] == np.int8}

    measured, found = (steps(quantize_tflite(float_file, model, FRAMES, chosen=each)) for each in (None, learnt))
    assert found - measured == {round(5.1 / 255, 4), round(10.2 / 255, 4)}


@pytest.mark.parametrize("group", [1, CHANNELS], ids=["dense", "depthwise"])
def test_the_bias_of_a_channel_without_weights_is_kept(group: int) -> None:
    """Its weight step is 8e-12, of which int32 does not count enough for a bias of 1."""
    kernel = RNG.normal(0, 0.3, (CHANNELS, CHANNELS // group, 3, 3)).astype(np.float32)
    kernel[0], kernel[1] = 0, kernel[1] * 1e-12
    bias = RNG.normal(0, 0.3, CHANNELS).astype(np.float32)
    bias[:2] = 1, -1.5
    model = network(("Conv", ["@", kernel, bias], {"pads": [1, 1, 1, 1], "group": group}))
    check_float_and_int8(model, least_db=25)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "padding"),
    [
        pytest.param([RELU, PADDED_POOL], ["PAD"], id="behind relu"),
        pytest.param([PADDED_POOL], ["SLICE", "CONCATENATION", "SLICE", "CONCATENATION"], id="signed"),
        pytest.param(
            [
                ("Pad", ["@", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(-np.inf)], {}),
                ("MaxPool", ["@"], {"kernel_shape": [3, 3], "strides": [2, 2]}),
            ],
            ["SLICE", "CONCATENATION", "SLICE", "CONCATENATION"],
            id="minus infinity of a pad node",
        ),
    ],
)
def test_padded_max_pool_is_int8(steps: list[Step], padding: list[str]) -> None:
    in_float, in_int8 = check_float_and_int8(network(*steps), least_db=30)
    for kinds in (in_float, in_int8):
        at = kinds.index("MAX_POOL_2D")
        assert kinds[at - len(padding) : at] == padding
        assert "PADV2" not in kinds
    assert in_int8.count("QUANTIZE") == 1  # of the frame


@pytest.mark.slow
@pytest.mark.parametrize("infinity", [-np.inf, np.finfo(np.float32).min, -1e9], ids=["inf", "float32's least", "1e9"])
def test_infinite_mask_stays_in_float(infinity: float, caplog: pytest.LogCaptureFixture) -> None:
    mask = np.zeros((1, CHANNELS, HEIGHT, WIDTH), np.float32)
    mask[:, ::3] = infinity
    model = network(("Mul", ["@", np.float32(4)], {}), ("Add", ["@", mask], {}), ("Softmax", ["@"], {"axis": 1}))
    with caplog.at_level(logging.INFO, "edge_vseg.export.quantization.tflite_litert"):
        check_float_and_int8(model, least_db=20)
    assert "kept in float, since int8 has no infinity" in caplog.text


@pytest.mark.slow
def test_computed_weights_stay_in_float() -> None:
    """What a network computes is not symmetric, and weights of an int8 convolution have to be."""
    pooled: Step = ("ReduceMean", ["@0", ints(2, 3)], {"keepdims": 0})
    mixed = RNG.normal(0, 1, (CHANNELS, CHANNELS * CHANNELS)).astype(np.float32)
    model = network(
        pooled,
        ("MatMul", ["@", mixed], {}),
        ("Reshape", ["@", ints(CHANNELS, CHANNELS, 1, 1)], {}),
        ("Conv", ["@0", "@"], {}),
    )
    check_float_and_int8(model, least_db=15)


@pytest.mark.slow
def test_constant_in_a_concatenation_of_rank_3() -> None:
    """As a class token before the patches of a vision transformer."""
    rows = ints(1, CHANNELS, HEIGHT * WIDTH)
    token = RNG.normal(size=(1, CHANNELS, WIDTH)).astype(np.float32)
    larger = ints(1, CHANNELS, HEIGHT + 1, WIDTH)
    model = network(("Reshape", ["@", rows], {}), ("Concat", ["@", token], {"axis": 2}), ("Reshape", ["@", larger], {}))
    check_float_and_int8(model, least_db=25)


@pytest.mark.slow
def test_division_by_a_small_activation_runs() -> None:
    """Rounded to 8 bits the divisor is zero in places, for which LiteRT has no quotient."""
    small: Step = ("Mul", ["@", "@"], {})
    model = network(small, ("Add", ["@", np.float32(1e-3)], {}), ("Div", ["@1", "@"], {}))
    check_float_and_int8(model, least_db=15)


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


IMAGE = ints(1, CHANNELS, HEIGHT, WIDTH)
CHANNEL_MEANS: Step = ("ReduceMean", ["@0", ints(2, 3)], {"keepdims": 1})
PIXEL_MEANS: Step = ("ReduceMean", ["@0", ints(1)], {"keepdims": 1})
PIXEL_MEANS_3D: Step = ("ReduceMean", ["@0", ints(1)], {"keepdims": 0})
SIGMOID: Step = ("Sigmoid", ["@"], {})
SCALED: Step = ("Mul", ["@0", "@"], {})


EXPANDED: Step = ("Expand", ["@", IMAGE], {})
TILED: Step = ("Tile", ["@", ints(1, 1, HEIGHT, WIDTH)], {})
JOINED: Step = ("Concat", ["@", "@0"], {"axis": 1})
HALVED: Step = ("MaxPool", ["@"], {"kernel_shape": [2, 2], "strides": [2, 2]})


def conv(inputs: int, size: int) -> Step:
    return ("Conv", ["@", weights(CHANNELS, inputs, size, size)], {})


# Of SINet: where the coarse scores are sure, the fine ones do not count.
INFORMATION_BLOCKING: list[Step] = [
    ("Softmax", ["@0"], {"axis": 1}),
    ("ReduceMax", ["@", ints(1)], {"keepdims": 0}),
    ("Sub", [np.float32(1), "@"], {}),
    ("Unsqueeze", ["@", ints(1)], {}),
    EXPANDED,
    SCALED,
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([CHANNEL_MEANS, SIGMOID, SCALED], id="channels"),
        pytest.param([PIXEL_MEANS, SIGMOID, SCALED], id="pixels"),
        pytest.param([PIXEL_MEANS_3D, SIGMOID, SCALED], id="pixels without channel axis"),
        pytest.param([PIXEL_MEANS_3D, SIGMOID, ("Mul", ["@", "@0"], {})], id="pixels without channel axis first"),
        pytest.param([CHANNEL_MEANS, SIGMOID, EXPANDED, SCALED], id="channels expanded"),
        pytest.param([CHANNEL_MEANS, SIGMOID, TILED, SCALED], id="tiled"),
        pytest.param([PIXEL_MEANS, SIGMOID, EXPANDED, SCALED], id="pixels expanded"),
        pytest.param([PIXEL_MEANS, EXPANDED, ("Max", ["@0", "@"], {})], id="expanded for a maximum"),
        pytest.param([CHANNEL_MEANS, EXPANDED, JOINED, conv(2 * CHANNELS, 1)], id="expanded for a concatenation"),
        pytest.param([CHANNEL_MEANS, EXPANDED, conv(CHANNELS, 3)], id="expanded for a convolution"),
        pytest.param([HALVED, ("Tile", ["@", ints(1, 1, 2, 2)], {}), ("Add", ["@0", "@"], {})], id="tiles of an image"),
        pytest.param(INFORMATION_BLOCKING, id="information blocking"),
    ],
)
def test_broadcasting_agrees_in_float_and_int8(steps: list[Step]) -> None:
    in_float, _ = check_float_and_int8(network(*steps), least_db=26)
    assert "BROADCAST_TO" not in in_float


def test_an_operator_that_the_importer_does_not_know_leaves_the_other_runtimes() -> None:
    words = r"exported to TFLite: unsupported operators: LRN .*--runtimes onnxruntime,openvino"
    with pytest.raises(UnsupportedOperatorError, match=words):
        to_tflite(network(("LRN", ["@"], {"size": 3})))


def test_a_converter_that_fails_leaves_the_other_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("failed to legalize '@1'\n  at lowering.cc:7")

    monkeypatch.setattr("litert_torch.convert", fail)
    with pytest.raises(QuantizationError) as found:
        to_tflite(network(RELU))
    assert str(found.value) == (
        "litert-torch cannot convert the network at layer '@1': failed to legalize '@1';"
        " leave TFLite out with --runtimes onnxruntime,openvino"
    )


def test_a_quantizer_that_fails_leaves_float(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("no scale for a tensor\n  of many lines")

    model = network(RELU)
    file = to_tflite(model)
    monkeypatch.setattr("ai_edge_quantizer.quantizer.Quantizer", fail)
    with pytest.raises(QuantizationError) as found:
        quantize_tflite(file, model, FRAMES)
    assert str(found.value) == (
        "ai-edge-quantizer cannot quantize the network: no scale for a tensor;"
        " leave TFLite out with --runtimes onnxruntime,openvino, or leave int8 out with --precision float"
    )


def test_file_that_tflite_cannot_run_is_an_error_of_ours() -> None:
    with pytest.raises(QuantizationError, match="TFLite cannot run what was converted"):
        start_tflite(b"no model")


@pytest.mark.slow
@pytest.mark.parametrize(
    "mean", [128.0, np.array([90, 120, 150], np.float32).reshape(1, 3, 1, 1)], ids=["one", "three"]
)
def test_frame_is_not_transposed(mean: float | np.ndarray) -> None:
    in_float, in_int8 = check_float_and_int8(network(RELU, mean=mean), least_db=30)
    assert in_float.count("TRANSPOSE") == in_int8.count("TRANSPOSE") == 1  # of the scores
    assert in_float[0] == "CAST"


@pytest.mark.slow
def test_taps_in_the_padding_cost_nothing() -> None:
    rate = max(HEIGHT, WIDTH)
    atrous: Step = ("Conv", ["@", weights(CHANNELS, CHANNELS, 3, 3)], {"pads": [rate] * 4, "dilations": [rate] * 2})
    model = network(atrous)
    check_float_and_int8(model, least_db=30)
    graph = schema.ModelT.InitFromPackedBuf(to_tflite(model)).subgraphs[0]
    kernels = [graph.tensors[op.inputs[1]].shape for op in graph.operators if len(op.inputs) == 3]
    assert [list(shape[1:3]) for shape in kernels] == [[3, 3], [1, 1], [1, 1]]
