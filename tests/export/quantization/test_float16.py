"""float16 graphs of the three runtimes against the float graph, and what float16 cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import Net, body, deep_onnx, frames, ops, scores, segmenter_onnx, staged
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from edge_vseg.errors import QuantizationError
from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.input_stage import Normalization, add_input_stage
from edge_vseg.export.graph.precision import to_float32
from edge_vseg.export.quantization.float16_nodes import Float16Nodes, find_float16_nodes, why_not_constant
from edge_vseg.export.quantization.onnx_float16 import as_if_float16, to_float16
from edge_vseg.export.quantization.openvino_float16 import halve_weights
from edge_vseg.export.quantization.openvino_qdq import read_openvino, save_openvino, start_openvino, to_openvino
from edge_vseg.export.quantization.tflite_float16 import PRECISION_KEY, allow_float16, quantize_tflite_float16
from edge_vseg.export.quantization.tflite_litert import start_tflite, to_tflite

FRAMES = frames(4)


def onnx_file(model: onnx.ModelProto, scratch: Path) -> tuple[list[np.ndarray], int, int]:
    made = to_float16(model, find_float16_nodes(model, FRAMES))
    return scores(made, FRAMES), model.ByteSize(), made.ByteSize()


def openvino_file(model: onnx.ModelProto, scratch: Path) -> tuple[list[np.ndarray], int, int]:
    converted = to_openvino(model, scratch)
    save_openvino(converted, scratch / "float.xml")
    halve_weights(converted)
    save_openvino(converted, scratch / "half.xml")
    infer = start_openvino(read_openvino(scratch / "half.xml"))
    sizes = [(scratch / f"{name}.bin").stat().st_size for name in ("float", "half")]
    return [infer(frame) for frame in FRAMES], sizes[0], sizes[1]


def tflite_file(model: onnx.ModelProto, scratch: Path) -> tuple[list[np.ndarray], int, int]:
    whole = to_tflite(model)
    made = allow_float16(quantize_tflite_float16(whole))
    infer = start_tflite(made)
    return [infer(frame) for frame in FRAMES], len(whole), len(made)


Write = Callable[[onnx.ModelProto, Path], tuple[list[np.ndarray], int, int]]
WRITERS = [
    pytest.param(onnx_file, id="onnxruntime"),
    pytest.param(openvino_file, id="openvino"),
    pytest.param(tflite_file, id="tflite"),
]


def wide() -> onnx.ModelProto:
    """Weights enough that they are most of the file."""
    net = Net(seed=3)
    x = net.node("Relu", net.conv("image", 3, 64, strides=[2, 2]))
    x = net.node("Relu", net.conv(x, 64, 96))
    return staged(net.model(net.conv(x, 96, 4)))


def with_gain(gain: float) -> onnx.ModelProto:
    """A network whose middle layers hold values ``gain`` times as large, and whose scores do not."""
    net = Net(seed=4)
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    weight = net.const(net.rng.normal(0, 0.3, (8, 8, 3, 3)) * gain)
    x = net.node("Relu", net.node("Conv", x, weight, kernel_shape=[3, 3], pads=[1] * 4))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)
    weight = net.const(net.rng.normal(0, 0.3, (4, 8, 1, 1)) / gain)
    return staged(net.model(net.node("Conv", x, weight, kernel_shape=[1, 1])))


def in_numpy(model: onnx.ModelProto) -> list[np.ndarray]:
    """Scores as ONNX's reference computes them, each operator in the precision of its inputs."""
    evaluator = ReferenceEvaluator(model)
    return [evaluator.run(None, {"frame": frame[None]})[0] for frame in FRAMES]


def noise(expected: list[np.ndarray], made: list[np.ndarray]) -> float:
    """Relative error."""
    return float(np.linalg.norm(np.subtract(expected, made)) / np.linalg.norm(expected))


@pytest.mark.parametrize("write", WRITERS)
def test_half_the_size_and_nearly_the_scores(write: Write, tmp_path: Path) -> None:
    model = wide()
    made, size, halved = write(model, tmp_path)
    expected = scores(model, FRAMES)
    assert 0 < noise(expected, made) < 2e-3, "rounded, and by no more than float16 does"
    assert 0.45 < halved / size < 0.62
    assert made[0].dtype == np.float32


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("gain", [1e6, 1e-8], ids=["too large", "too small"])
def test_what_float16_cannot_hold_stays_in_float32(write: Write, gain: float, tmp_path: Path) -> None:
    model = with_gain(gain)
    assert noise(scores(model, FRAMES), write(model, tmp_path)[0]) < 2e-3


def test_without_ranges_the_same_network_breaks() -> None:
    """The test above could fail: with all nodes in float16, values become infinite."""
    model = with_gain(5e4)
    fit = find_float16_nodes(model, FRAMES)
    assert len(fit.beyond) > 2
    assert any("values reach" in reason for reason in fit.beyond.values())
    outputs = {o for node in model.graph.node if not node.name.startswith("frame.") for o in node.output}
    with np.errstate(all="ignore"):
        broken = in_numpy(to_float16(model, Float16Nodes(names=frozenset(outputs), beyond={})))
    assert not np.isfinite(broken).all()
    assert noise(scores(model, FRAMES), in_numpy(to_float16(model, fit))) < 2e-3


def test_arithmetic_in_float16_gives_nearly_the_scores() -> None:
    """As numpy computes it, every operator rounding to float16; ONNX Runtime's CPU has float32 between its casts."""
    model = staged(deep_onnx())
    made = to_float16(model, find_float16_nodes(model, FRAMES))
    assert 1e-4 < noise(scores(model, FRAMES), in_numpy(made)) < 5e-3


def test_rounding_is_seen_on_any_machine() -> None:
    """What the CPU of an export shows of a float16 graph is the rounding of weights; a GPU rounds more."""
    model = staged(deep_onnx())
    fit = find_float16_nodes(model, FRAMES)
    expected = scores(model, FRAMES)
    seen = noise(expected, scores(as_if_float16(model, fit), FRAMES))
    assert seen == pytest.approx(noise(expected, in_numpy(to_float16(model, fit))), rel=0.5)
    weights = to_float32(to_float16(model, fit))
    assert seen > 1.1 * noise(expected, scores(weights, FRAMES))


def test_weights_are_those_of_the_float_graph_rounded() -> None:
    model = staged(deep_onnx())
    made = to_float16(model, find_float16_nodes(model, FRAMES))
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    halves = [t for t in made.graph.initializer if t.data_type == TensorProto.FLOAT16]
    assert len(halves) == 2 * ops(model).count("Conv")
    for tensor in halves:
        want = before[tensor.name.removesuffix(".float16")].astype(np.float16)
        assert np.array_equal(numpy_helper.to_array(tensor), want)


def test_casts_stand_only_where_precision_changes() -> None:
    """The frame in, each Resize in and out, the scores out; operators in between meet without one."""
    net = Net(seed=5)
    x = net.node("Relu", body(net))
    x = net.node("Resize", x, "", net.const([1, 1, 2, 2]), mode="nearest")
    x = net.conv(net.node("Relu", net.conv(x, 4, 8)), 8, 4)
    model = staged(net.model(x))
    made = to_float16(model, find_float16_nodes(model, FRAMES))
    assert ops(made).count("Cast") == 1 + 1 + 2 + 1, "bytes to float, to half, around Resize, scores"
    inferred = onnx.shape_inference.infer_shapes(made)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    for node in made.graph.node:
        if node.op_type in ("Conv", "Relu"):
            assert types.get(node.output[0]) == TensorProto.FLOAT16
        if node.op_type == "Resize":
            assert types[node.input[0]] == types[node.output[0]] == TensorProto.FLOAT
    assert [o.name for o in made.graph.output] == [o.name for o in model.graph.output]
    assert made.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize("kind", ["Softmax", "GlobalAveragePool", "ReduceMean", "Exp"])
def test_sums_and_exponentials_stay_in_float32(kind: str) -> None:
    net = Net(seed=6)
    x = net.conv("image", 3, 8)
    attributes = {"axis": 1} if kind == "Softmax" else {}
    y = net.node(kind, x, *([net.const([2, 3], np.int64)] if kind == "ReduceMean" else []), **attributes)
    model = staged(net.model(net.conv(net.node("Mul", x, y), 8, 4)))
    fit = find_float16_nodes(model, FRAMES)
    (node,) = (n for n in model.graph.node if n.op_type == kind)
    assert node.output[0] not in fit.names
    assert len([n for n in model.graph.node if n.op_type == "Conv" and n.output[0] in fit.names]) == 2
    made = to_float16(model, fit)
    assert noise(scores(model, FRAMES), scores(made, FRAMES)) < 3e-3


def test_a_bound_without_an_end_is_no_obstacle() -> None:
    net = Net(seed=7)
    x = net.node("Clip", net.conv("image", 3, 8), net.const(0), net.const(np.finfo(np.float32).max))
    model = staged(net.model(net.conv(x, 8, 4)))
    fit = find_float16_nodes(model, FRAMES)
    assert fit.beyond == {}
    made = to_float16(model, fit)
    assert all(np.isfinite(numpy_helper.to_array(t)).all() for t in made.graph.initializer)
    assert noise(scores(model, FRAMES), scores(made, FRAMES)) < 2e-3


def test_a_finished_label_map_comes_out_as_it_was() -> None:
    net = Net(seed=8)
    canonical, image = canonicalize(net.model(net.node("ArgMax", body(net), axis=1, keepdims=0)), None)
    model = add_input_stage(canonical, image, Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3))
    assert ops(model)[-1] == "ArgMax"
    made = to_float16(model, find_float16_nodes(model, FRAMES))
    pairs = zip(scores(model, FRAMES), scores(made, FRAMES), strict=True)
    assert all(a.dtype == b.dtype and np.mean(a == b) > 0.99 for a, b in pairs)


def test_the_float_graph_is_not_changed() -> None:
    model = staged(segmenter_onnx())
    before = model.SerializeToString(deterministic=True)
    to_float16(model, find_float16_nodes(model, FRAMES))
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("constant", "reason"),
    [
        ([1.0, 65504.0, -3e-3], ""),
        ([1.0, -np.inf], ""),
        ([0.0, 0.0], ""),
        ([], ""),
        ([1.0, -7e4], "a constant reaches 7e+04"),
        ([1e-7, 2e-8], "constants up to 1e-07 lose digits"),
    ],
)
def test_constants(constant: list[float], reason: str) -> None:
    assert why_not_constant(np.array(constant, np.float32)) == reason


def test_tflite_is_told_that_it_may_compute_in_float16() -> None:
    """XNNPACK reads the note on a CPU that has float16; the figures do not change for others."""
    plain = quantize_tflite_float16(to_tflite(wide()))
    noted = allow_float16(plain)
    assert PRECISION_KEY.encode() not in plain
    assert PRECISION_KEY.encode() in noted
    assert b"fp16accfp16" in noted
    for frame in FRAMES:
        assert np.array_equal(start_tflite(plain)(frame), start_tflite(noted)(frame))


def test_where_tflite_cannot_have_it_is_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("no rule for CUSTOM.\nand more")

    file = to_tflite(wide())
    monkeypatch.setattr("ai_edge_quantizer.quantizer.Quantizer.quantize", fails)
    expected = r"no rule for CUSTOM; leave TFLite out with --runtimes onnxruntime,openvino, or float16 with --precision"
    with pytest.raises(QuantizationError, match=expected):
        quantize_tflite_float16(file)


def test_a_bound_that_keeps_a_divisor_from_zero_stays_in_float32() -> None:
    """``F.normalize(relu(x))``: where all is 0, 0 / 1e-12 is 0, and 0 / 0 is no number."""
    net = Net(seed=7)
    dark = net.node("Conv", "image", net.const(net.rng.normal(0, 0.3, (8, 3, 1, 1))), net.const(np.full(8, -1.5)))
    x = net.node("Relu", dark)
    length = net.node("ReduceL2", x, net.const([1], np.int64))
    x = net.node("Div", x, net.node("Clip", length, net.const(1e-12), ""))
    model = staged(net.model(net.conv(x, 8, 4)))
    fit = find_float16_nodes(model, FRAMES)
    assert list(fit.beyond.values()) == ["a bound of 1e-12 becomes 0"]
    expected = scores(model, FRAMES)
    assert np.isfinite(expected).all()
    for made in (to_float16(model, fit), as_if_float16(model, fit)):
        assert noise(expected, scores(made, FRAMES)) < 5e-3
