"""One small network in the forms in which people bring ONNX files, through the whole float-graph step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime.quantization as ort_quantization
import pytest
from networks import SIZE_HW, Net, body, frames, ops, run, tensor, upsample
from onnx import TensorProto, numpy_helper

from edge_vseg.errors import CustomOperatorError, DynamicShapeError, ExportError, ModelFileError, OptionError
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.float_graph import FloatGraph, check_against_source, make_float_graph
from edge_vseg.export.graph.dequantize import drop_quantization
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.graph.onnx_file import check_onnx
from edge_vseg.export.graph.precision import to_float32
from edge_vseg.export.source.source_network import SourceNetwork, open_source_network
from edge_vseg.imaging.label_maps import LabelMapper

NORM = Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3)
PIXELS = Normalization()
IMAGES = frames(4)
Make = Callable[[Path], onnx.ModelProto]


def plain(opset: int = 17, shape: Any = (1, 3, *SIZE_HW)) -> onnx.ModelProto:
    net = Net(seed=3)
    return net.model(upsample(net, body(net), 2), opset=opset, shape=shape)


def ended(op: str, **attributes: Any) -> onnx.ModelProto:
    net = Net(seed=3)
    return net.model(net.node(op, upsample(net, body(net), 2), **attributes), opset=17)


def softmax_and_resize() -> onnx.ModelProto:
    """As many deployed networks end: the network, its softmax, and an upsample to the size of the image."""
    net = Net(seed=3)
    return net.model(upsample(net, net.node("Softmax", body(net), axis=1), 2), opset=17)


def nhwc() -> onnx.ModelProto:
    net = Net(seed=3)
    x = upsample(net, body(net, image=net.node("Transpose", "image", perm=[0, 3, 1, 2])), 2)
    return net.model(net.node("Transpose", x, perm=[0, 2, 3, 1]), opset=17, shape=(1, *SIZE_HW, 3))


def uint8(layout: str = "NCHW") -> onnx.ModelProto:
    """Takes bytes, and normalises them itself."""
    net = Net(seed=3)
    x = "image" if layout == "NCHW" else net.node("Transpose", "image", perm=[0, 3, 1, 2])
    x = net.node("Cast", x, to=TensorProto.FLOAT)
    x = net.node("Div", net.node("Sub", x, net.const(127.5)), net.const(64.0))
    shape = (1, 3, *SIZE_HW) if layout == "NCHW" else (1, *SIZE_HW, 3)
    return net.model(upsample(net, body(net, image=x), 2), opset=17, shape=shape, dtype=TensorProto.UINT8)


def double() -> onnx.ModelProto:
    """All in double precision, for which ONNX Runtime has no convolutions."""
    model = plain()
    scales = next(node.input[2] for node in model.graph.node if node.op_type == "Resize")
    for weight in (each for each in model.graph.initializer if each.name != scales):
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float64), weight.name))
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


def float_labels() -> onnx.ModelProto:
    """A finished label map, cast to float."""
    net = Net(seed=3)
    best = net.node("ArgMax", upsample(net, body(net), 2), axis=1, keepdims=1)
    return net.model(net.node("Cast", best, to=TensorProto.FLOAT), opset=17)


def mixed_inside() -> onnx.ModelProto:
    """Scales by a mean that it computes in double precision, as normalizations do, and then in float16."""
    net = Net(seed=3)
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    mean = net.node("Cast", x, to=TensorProto.DOUBLE)
    mean = net.node("ReduceMean", mean, axes=[2, 3], keepdims=1)
    mean = net.node("Cast", net.node("Cast", mean, to=TensorProto.FLOAT16), to=TensorProto.FLOAT)
    return net.model(upsample(net, net.conv(net.node("Sub", x, mean), 8, 4), 2), opset=17)


def no_output_shape() -> onnx.ModelProto:
    """An output of which the file says the type alone."""
    model = plain()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def float16(ends: str = "half") -> onnx.ModelProto:
    """All in half precision; with float ends, casts that a converter appends behind all other nodes."""
    model = plain()
    graph = model.graph
    scales = next(node.input[2] for node in graph.node if node.op_type == "Resize")
    for weight in graph.initializer:
        kind = np.float32 if weight.name == scales else np.float16
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(kind), weight.name))
    del graph.value_info[:]
    if ends == "half":
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
        return model
    graph.node[0].input[0], last = "image.half", graph.node[-1].output[0]
    graph.node[-1].output[0] = "scores.half"
    graph.node.append(onnx.helper.make_node("Cast", ["scores.half"], [last], to=TensorProto.FLOAT))
    graph.node.append(onnx.helper.make_node("Cast", ["image"], ["image.half"], to=TensorProto.FLOAT16))
    return model


def baked_batch(op: str) -> onnx.ModelProto:
    """A batch of 4 that is written into the operators, too."""
    net = Net(seed=3)
    x = body(net)
    match op:
        case "Reshape":
            x = net.node("Reshape", upsample(net, x, 2), net.const([4, 4, *SIZE_HW], np.int64))
        case "Resize":
            sizes = net.const([4, 4, *SIZE_HW], np.int64)
            x = net.node("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")
        case "merged":
            x = net.node("Reshape", upsample(net, x, 2), net.const([1, 16, *SIZE_HW], np.int64))
        case "added":
            x = net.node("Add", upsample(net, x, 2), net.const(np.zeros((4, 4, *SIZE_HW))))
    return net.model(x, opset=17, shape=(4, 3, *SIZE_HW))


class _Reader(ort_quantization.CalibrationDataReader):
    def __init__(self) -> None:
        self._feeds = iter([{"image": tensor(image, scale=64.0).copy()} for image in frames(6, start=50)])

    def get_next(self) -> Any:
        return next(self._feeds, None)


def quantized(folder: Path, form: str, **options: Any) -> onnx.ModelProto:
    """What ONNX Runtime's own quantizer makes."""
    before, after = folder / "before.onnx", folder / "after.onnx"
    onnx.save(plain(), before)
    if form == "dynamic":
        ort_quantization.quantize_dynamic(before, after, weight_type=ort_quantization.QuantType.QUInt8)
    else:
        kind = ort_quantization.QuantFormat.QDQ if form == "QDQ" else ort_quantization.QuantFormat.QOperator
        ort_quantization.quantize_static(before, after, _Reader(), quant_format=kind, **options)
    return onnx.load(after)


def untrained() -> onnx.ModelProto:
    """All scores are 1, whatever it sees."""
    net = Net(seed=3)
    x = net.node("Mul", upsample(net, body(net), 2), net.const(0.0))
    return net.model(net.node("Add", x, net.const(1.0)), opset=17)


def save(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def step(path: Path, norm: Normalization = NORM) -> tuple[SourceNetwork, FloatGraph]:
    """Opened, and made a float graph, at the size of the test's images."""
    network = open_source_network(str(path), weights=None, size_hw=SIZE_HW)
    return network, make_float_graph(network, ExportOptions(size_hw=SIZE_HW, normalization=norm))


def agreement(graph: FloatGraph) -> float:
    """Share of pixels in which the float graph has the class that the plain network gives in ONNX Runtime."""
    mapper, same, seen = LabelMapper(graph.size_hw, graph.head.align), [], set[int]()
    for image in IMAGES:
        wanted = run(plain(), tensor(image, scale=64.0))[0].argmax(0)
        same.append(np.mean(mapper(run(graph.model, image[None])[0]) == wanted))
        seen |= set(np.unique(wanted))
    assert len(seen) == 4, "a network of few classes proves little"
    return float(np.mean(same))


FORMS: dict[str, tuple[Callable[[], onnx.ModelProto], Normalization]] = {
    "opset 11": (lambda: plain(11), NORM),
    "opset 13": (lambda: plain(13), NORM),
    "opset 17": (lambda: plain(17), NORM),
    "opset 18": (lambda: plain(18), NORM),
    "dynamic axes": (lambda: plain(shape=("N", 3, "H", "W")), NORM),
    "dynamic batch": (lambda: plain(shape=("N", 3, *SIZE_HW)), NORM),
    "argmax": (lambda: ended("ArgMax", axis=1), NORM),
    "softmax": (lambda: ended("Softmax", axis=1), NORM),
    "NHWC": (nhwc, NORM),
    "uint8": (uint8, PIXELS),
    "uint8 NHWC": (lambda: uint8("NHWC"), PIXELS),
    "float16": (float16, NORM),
    "float16 inside": (lambda: float16("float"), NORM),
    "double": (double, NORM),
    "no shape of the output": (no_output_shape, NORM),
    "labels in float": (float_labels, NORM),
    "batch of 4": (lambda: plain(shape=(4, 3, *SIZE_HW)), NORM),
    "batch in Reshape": (lambda: baked_batch("Reshape"), NORM),
    "batch in Resize": (lambda: baked_batch("Resize"), NORM),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_work(tmp_path, form):
    make, norm = FORMS[form]
    network, graph = step(save(tmp_path, make()), norm)
    assert (graph.head.kind, graph.head.classes) == ("scores", 4)
    assert ops(graph.model).count("Conv") == 2
    assert agreement(graph) > 0.997
    assert check_against_source(graph, network, norm, IMAGES, min_agreement=0.98) > 0.997


def test_other_precisions_inside(tmp_path):
    network, graph = step(save(tmp_path, mixed_inside()))
    made = onnx.shape_inference.infer_shapes(graph.model).graph
    kinds = {value.type.tensor_type.elem_type for value in made.value_info}
    assert not kinds & {TensorProto.DOUBLE, TensorProto.FLOAT16}
    assert check_against_source(graph, network, NORM, IMAGES, min_agreement=0.98) > 0.997


def test_softmax_before_the_upsample(tmp_path):
    """Its own label map differs from that of the logits, and is what the float graph gives."""
    network, graph = step(save(tmp_path, softmax_and_resize()))
    assert check_against_source(graph, network, NORM, IMAGES, min_agreement=0.98) > 0.999
    assert agreement(graph) < 0.99


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("given", [{"mean": (1.0,) * 3}, {"scale": (255.0,) * 3}], ids=str)
def test_bytes_are_not_normalised_twice(tmp_path, layout, given):
    with pytest.raises(
        OptionError, match="takes uint8 images and normalises them itself; leave out --mean and --scale"
    ):
        step(save(tmp_path, uint8(layout)), Normalization(**given))


def test_float16_says_so(tmp_path, caplog):
    network, _ = step(save(tmp_path, float16()))
    assert "float16 weights are taken as float32" in caplog.text
    assert {tensor_.data_type for tensor_ in network.model.graph.initializer} == {TensorProto.FLOAT}
    assert network.run(tensor(IMAGES[0])).dtype == np.float32


def test_bfloat16_weights():
    model = plain()
    weight = model.graph.initializer[0]
    halved = onnx.helper.make_tensor(
        weight.name, TensorProto.BFLOAT16, weight.dims, numpy_helper.to_array(weight).ravel()
    )
    weight.CopyFrom(halved)
    made = to_float32(model).graph.initializer[0]
    assert made.data_type == TensorProto.FLOAT
    np.testing.assert_allclose(
        numpy_helper.to_array(made), numpy_helper.to_array(plain().graph.initializer[0]), rtol=0.01
    )


@pytest.mark.parametrize("op", ["merged", "added"])
def test_a_batch_that_cannot_be_changed(tmp_path, op):
    with pytest.raises(DynamicShapeError, match="fixed batch of 4 images.*export it with a batch of 1"):
        step(save(tmp_path, baked_batch(op)))


@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_qdq(tmp_path, caplog, signed, per_channel):
    kind = ort_quantization.QuantType.QInt8 if signed else ort_quantization.QuantType.QUInt8
    model = quantized(tmp_path, "QDQ", per_channel=per_channel, activation_type=kind)
    network, graph = step(save(tmp_path, model))
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(ops(graph.model))
    assert not [name for node in graph.model.graph.node for name in node.output if name.endswith("Linear_Output")]
    assert "already quantized" in caplog.text
    assert agreement(graph) > 0.98
    assert check_against_source(graph, network, NORM, IMAGES, min_agreement=0.98) > 0.999


@pytest.mark.parametrize("relu", ["Relu", "Clip"])
def test_a_relu_that_the_quantizer_left_out_is_put_back(relu):
    """A zero point of 0 cuts what is negative, so quantizers drop the ReLU before."""
    net = Net(seed=3)
    top = 6.0 if relu == "Clip" else 20.0
    x = net.conv("image", 3, 8, strides=[2, 2])
    scale, zero = net.const(top / 255), net.const(0, np.uint8)
    x = net.node("DequantizeLinear", net.node("QuantizeLinear", x, scale, zero), scale, zero)
    model = check_onnx(net.model(net.conv(x, 8, 4)), where="net")
    made = drop_quantization(model, where="net")
    assert ops(made) == ["Conv", relu, "Conv"]
    value = tensor(IMAGES[0], scale=16.0)
    np.testing.assert_allclose(run(made, value), run(model, value), atol=0.4)


def test_float_weights_that_are_quantized_in_the_graph():
    """As torch's own tools write them: their values are kept."""
    net = Net(seed=3)
    scale, zero = net.const(0.01), net.const(0, np.int8)
    weight = net.const(net.rng.normal(0, 0.3, (4, 3, 3, 3)))
    pair = net.node("DequantizeLinear", net.node("QuantizeLinear", weight, scale, zero), scale, zero)
    made = drop_quantization(net.model(net.node("Conv", "image", pair, pads=[1] * 4)), where="net")
    assert ops(made) == ["Conv"]
    assert made.graph.node[0].input[1] == weight


@pytest.mark.parametrize(
    ("form", "named"), [("QOperator", "QLinearConv"), ("dynamic", "ConvInteger, DynamicQuantizeLinear")]
)
def test_integer_operators(tmp_path, form, named):
    path = save(tmp_path, quantized(tmp_path, form))
    with pytest.raises(ModelFileError, match=f"already quantized and computes in {named}; give the float network"):
        step(path)


def test_integer_operators_of_a_runtime(tmp_path):
    net = Net()
    model = net.model(net.node("QLinearAdd", body(net), domain="com.microsoft"), domains=["com.microsoft"])
    with pytest.raises(CustomOperatorError, match="already quantized, with com.microsoft::QLinearAdd; give the float"):
        step(save(tmp_path, model))


def test_integers_between_a_pair(tmp_path):
    net = Net(seed=3)
    scale, zero = net.const(0.05), net.const(128, np.uint8)
    x = net.node("QuantizeLinear", body(net), scale, zero)
    x = net.node("BitShift", x, net.const(1, np.uint8), direction="RIGHT")
    model = net.model(net.node("DequantizeLinear", x, scale, zero))
    with pytest.raises(ModelFileError, match="computes with integers between.*give the float network"):
        step(save(tmp_path, model))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("noise", "another result each time it runs.*call eval"),
        ("tracing", "already the ONNX graph that torch.onnx.export made of it agrees in only"),
        ("ties", "the same in the ONNX graph but for rounding.*nearly tied, as in a network that is not trained"),
        ("ours", r"its ONNX graph agrees in 100.00%, so simplifying .* went wrong; please report"),
    ],
)
def test_who_made_another_network_of_it(tmp_path, change, reason):
    """The exporter's fault is said only where it is known."""
    network, graph = step(save(tmp_path, plain()))
    rng, original = np.random.default_rng(0), network.run

    def noisy(value: np.ndarray) -> np.ndarray:
        return np.asarray(original(value) + rng.normal(0, 5, (1, 4, *SIZE_HW)))

    options = {"name": "net", "fingerprint": "", "size_hw": None}
    match change:
        case "noise":
            network = SourceNetwork(kind="onnx", load_graph=network.load_graph, run=noisy, **options)
        case "tracing":
            network = SourceNetwork(kind="torch", load_graph=network.load_graph, run=lambda v: -original(v), **options)
        case "ties":
            flat = np.float32(1) + np.zeros((1, 4, *SIZE_HW), np.float32)
            grain = iter(rng.normal(0, 1e-6, (100, 1, 4, *SIZE_HW)).astype(np.float32))
            fixed = [flat + next(grain) for _ in IMAGES]
            count = itertools.count()
            model = untrained()
            network = SourceNetwork(
                kind="torch", load_graph=lambda size: model, run=lambda v: fixed[next(count) % 4], **options
            )
        case "ours":
            weight = graph.model.graph.initializer[0]
            weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    with pytest.raises(ExportError, match=reason) as caught:
        check_against_source(graph, network, NORM, IMAGES, min_agreement=0.98)
    assert "defect" not in str(caught.value)
