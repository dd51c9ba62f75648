"""What opsets 18 to 24 write in their own way gives the same in the canonical form, in torch and in OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from networks import SIZE_HW, Net, frames, ops, run, tensor
from onnx import TensorProto, helper

from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.errors import ModelFileError
from edge_vseg.export import ExportOptions, ExportThresholds, Normalization, SampleFrames, export_bundle
from edge_vseg.export.error_text import failure_reason
from edge_vseg.export.graph.canonical import OPSET, canonicalize
from edge_vseg.export.graph.onnx_file import check_onnx
from edge_vseg.export.onnx_to_torch import to_torch
from edge_vseg.export.quantization.shrinking_cubic import shrinking_cubic
from edge_vseg.runtimes import GraphSpec, SessionOptions, get_runtime

H, W = SIZE_HW
IMAGE = tensor(frames(1)[0])
CORE = openvino.Core()
Body = Callable[[Net, str], str]


def network(body: Body, opset: int) -> onnx.ModelProto:
    """Convolutions from the image to 8 channels and on to 3 scores, and something between them."""
    net = Net(seed=3)
    model = net.model(net.conv(body(net, net.conv("image", 3, 8)), 8, 3, 1), opset=opset, ir=10)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(model.graph.output[0].name, 1, [1, 3, H, W]))
    return model


def same_everywhere(model: onnx.ModelProto) -> onnx.ModelProto:
    """The canonical form; what it gives in each runtime is what ONNX Runtime gives for the original."""
    expected = run(model, IMAGE)
    canonical, _ = canonicalize(check_onnx(model, where="here"), SIZE_HW)
    assert canonical.opset_import[0].version == OPSET
    compiled = CORE.compile_model(
        CORE.read_model(canonical.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    with torch.no_grad():
        in_torch = to_torch(canonical)(torch.from_numpy(IMAGE.copy())).numpy()
    for given in (run(canonical, IMAGE), in_torch, compiled(IMAGE)[0]):
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    return canonical


def group_norm(count: int) -> Body:
    def body(net: Net, x: str) -> str:
        scale, bias = net.const(net.rng.normal(1, 0.3, count)), net.const(net.rng.normal(0, 0.3, count))
        return net.node("GroupNormalization", x, scale, bias, num_groups=4, epsilon=0.1)

    return body


@pytest.mark.parametrize(("opset", "count"), [(18, 4), (20, 4), (21, 8), (22, 8)])
def test_group_normalization_scales_groups_and_later_channels(opset: int, count: int) -> None:
    assert "InstanceNormalization" in ops(same_everywhere(network(group_norm(count), opset)))


def whole(net: Net, shape: str, x: str) -> str:
    """A shape, cut at a computed place behind its end."""
    return net.node("Slice", shape, net.const([0], np.int64), net.node("ReduceMax", net.node("Shape", x)))


@pytest.mark.parametrize("computed", [False, True], ids=["known", "computed"])
def test_group_normalization_of_three_dimensions(computed: bool) -> None:
    """Nothing in the file says how many there are; where the shape is computed, no inference does either."""

    def body(net: Net, x: str) -> str:
        shape = net.const([1, 8, H * W], np.int64)
        if computed:
            shape = whole(net, shape, x)
        flat = net.node("Reshape", x, shape)
        return net.node("Reshape", group_norm(8)(net, flat), net.const([1, 8, H, W], np.int64))

    model = network(body, 21)
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    ranks = {value.name: value.type.tensor_type.HasField("shape") for value in inferred}
    (node,) = (node for node in model.graph.node if node.op_type == "GroupNormalization")
    assert ranks[node.input[0]] is not computed
    same_everywhere(model)


def test_group_normalization_of_which_nothing_is_known_is_named() -> None:
    def body(net: Net, x: str) -> str:
        flat = net.node("Reshape", x, whole(net, net.const([1, 8, H, W], np.int64), x))
        scale = net.node("Reshape", net.const(np.ones(8)), whole(net, net.const([8], np.int64), x))
        return net.node("GroupNormalization", flat, scale, net.const(np.zeros(8)), num_groups=4)

    with pytest.raises(ModelFileError, match="GroupNormalization 'n_groupnorm.*unknown rank.*fixed shapes"):
        check_onnx(network(body, 21), where="here")


def resize(place: str, values: object, **more: object) -> Body:
    """A Resize, and another one back to where it was."""

    def body(net: Net, x: str) -> str:
        given = net.const(values, np.int64 if place == "sizes" else np.float32)
        there = net.node("Resize", x, *{"scales": ("", given), "sizes": ("", "", given)}[place], **more)
        return net.node("Resize", there, "", "", net.const([W, H], np.int64), mode="linear", axes=[3, 2])

    return body


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    ("place", "values", "axes"),
    [("scales", [2, 1.5], [2, 3]), ("sizes", [40, 30], [-1, 2]), ("scales", [0.5], [-2])],
    ids=["scales", "sizes", "one axis"],
)
@pytest.mark.parametrize("opset", [18, 21])
def test_a_resize_of_some_axes(opset: int, place: str, values: list[float], axes: list[int], mode: str) -> None:
    same_everywhere(network(resize(place, values, axes=axes, mode=mode), opset))


def test_a_resize_whose_sizes_are_computed() -> None:
    def body(net: Net, x: str) -> str:
        whole = net.node("Slice", net.node("Shape", x), net.const([2], np.int64), net.const([4], np.int64))
        there = net.node("Resize", x, "", "", net.node("Mul", whole, net.const([2], np.int64)), axes=[2, 3])
        scales = net.node("Div", net.const([1, 1]), net.const([2, 2]))
        return net.node("Resize", there, "", scales, axes=[2, 3], mode="linear")

    same_everywhere(network(body, 18))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    ("policy", "size", "axes"),
    [
        ("not_larger", [15, 40], [2, 3]),
        ("not_smaller", [15, 10], [2, 3]),
        ("stretch", [9, 40], [2, 3]),
        ("stretch", [1, 8, 9, 40], None),
    ],
)
def test_a_resize_that_keeps_the_aspect(axes: list[int] | None, policy: str, size: list[int], mode: str) -> None:
    more = {"axes": axes} if axes else {}
    same_everywhere(network(resize("sizes", size, mode=mode, keep_aspect_ratio_policy=policy, **more), 18))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_resize_by_a_ratio_that_float32_has_not(mode: str) -> None:
    """40 times the float32 nearest to 47 / 40 is a hair below 47."""

    def body(net: Net, x: str) -> str:
        x = net.node("Resize", x, "", "", net.const([1, 8, 30, 40], np.int64), mode="linear")
        kept = {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}
        x = net.node("Resize", x, "", "", net.const([45, 47], np.int64), mode=mode, **kept)
        return net.node("Resize", x, "", "", net.const([1, 8, H, W], np.int64), mode="linear")

    assert np.floor(40 * float(np.float32(47 / 40))) == 46
    same_everywhere(network(body, 18))


def test_a_resize_whose_size_is_rounded_up_is_named() -> None:
    body = resize("sizes", [25, 25], axes=[2, 3], mode="linear", keep_aspect_ratio_policy="not_larger")
    with pytest.raises(ModelFileError, match=r"Resize 'n_resize1' .*'not_larger'.* to 19x25, .*with those sizes"):
        canonicalize(check_onnx(network(body, 18), where="here"), SIZE_HW)


@pytest.mark.parametrize("count", [2, 3])
def test_parts_that_are_not_equal(count: int) -> None:
    def body(net: Net, x: str) -> str:
        first = net.node("Split", x, outputs=count, num_outputs=count, axis=1)
        return net.node("Concat", *(f"{first}.{number}" for number in range(count - 1, 0, -1)), first, axis=1)

    same_everywhere(network(body, 18))


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("wanted", [0, 1], ids=["values", "indices"])
def test_the_first_of_a_sorting(largest: int, wanted: int) -> None:
    def body(net: Net, x: str) -> str:
        ties = net.node("Round", x)
        best = net.node("TopK", ties, net.const([1], np.int64), outputs=2, axis=1, largest=largest)
        taken = best if wanted == 0 else net.node("Cast", f"{best}.1", to=TensorProto.FLOAT)
        return net.node("Add", x, taken)

    assert "TopK" not in ops(same_everywhere(network(body, 17)))


def newer(name: str) -> Body:
    def body(net: Net, x: str) -> str:
        if name == "Swish":
            return net.node(name, x, alpha=1.5)
        rows = net.node("Transpose", x, perm=[0, 2, 3, 1])
        rows = net.node(name, rows, net.const(net.rng.normal(1, 0.3, 8)), axis=-1)
        return net.node("Transpose", rows, perm=[0, 3, 1, 2])

    return body


@pytest.mark.parametrize(("name", "opset"), [("Swish", 24), ("RMSNormalization", 23)])
def test_operators_of_later_opsets_are_written_as_older_ones(name: str, opset: int) -> None:
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip("this onnx is older")
    assert name not in ops(same_everywhere(network(newer(name), opset)))


def test_what_cannot_be_brought_to_the_canonical_opset_is_named() -> None:
    def body(net: Net, x: str) -> str:
        return net.node("Cast", net.node("Cast", x, to=TensorProto.INT4), to=TensorProto.FLOAT)

    with pytest.raises(ModelFileError, match=r"INT4 .*'Cast'.*\(Cast 'n_cast1', 'n_cast2'\); export .* opset 20"):
        canonicalize(check_onnx(network(body, 21), where="here"), SIZE_HW)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_converter")
def test_all_runtimes_in_float_and_int8(tmp_path: Path) -> None:
    def body(net: Net, x: str) -> str:
        parts = net.node("Split", net.node("Relu", group_norm(8)(net, x)), outputs=3, num_outputs=3, axis=1)
        mixed = net.node("Concat", f"{parts}.2", parts, f"{parts}.1", axis=1)
        best = net.node("TopK", x, net.const([1], np.int64), outputs=2, axis=1)
        return net.node("Add", resize("scales", [2, 2], axes=[2, 3], mode="linear")(net, mixed), best)

    model = network(body, 21)
    onnx.save(model, tmp_path / "net.onnx")
    sample = SampleFrames(calibration=frames(4), validation=frames(2, start=9), spec=CalibrationSpec())
    options = ExportOptions(
        normalization=Normalization(mean=(127.5,) * 3, scale=(127.5,) * 3),
        max_drop=1.0,
        slices=False,
        thresholds=ExportThresholds(int8_agreement=0.0),
    )
    made = export_bundle(str(tmp_path / "net.onnx"), tmp_path / "net.evseg", sample, options)
    assert made.manifest.failed == ()
    expected = run(model, IMAGE)
    for variant in made.manifest.variants:
        if variant.precision == "int8":
            assert variant.parity is not None
            assert variant.parity.sqnr_db is not None
            assert variant.parity.sqnr_db > 20, variant.id
            continue
        spec = GraphSpec.of(input=variant.input, output=variant.output)
        session = get_runtime(variant.runtime).open(tmp_path / "net.evseg" / variant.entry, spec, SessionOptions())
        given = session.run({variant.input.name: frames(1)[0][None]})[variant.output.name]
        in_order = given.transpose(0, 3, 1, 2) if variant.output.layout == "NHWC" else given
        np.testing.assert_allclose(in_order, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("mode", "scale", "antialias", "named"), [
    ("cubic", 0.5, 0, True), ("cubic", 2.0, 0, False), ("linear", 0.5, 0, False), ("cubic", 0.5, 1, False),
])  # fmt: skip
def test_cubic_resizes_that_shrink_are_named(mode: str, scale: float, antialias: int, named: bool) -> None:
    model = network(resize("scales", [scale, scale], axes=[2, 3], mode=mode, antialias=antialias), 18)
    canonical, _ = canonicalize(check_onnx(model, where="here"), SIZE_HW)
    assert shrinking_cubic(canonical) == (("n_resize1",) if named else ())


def test_openvinos_reason_is_not_where_it_was() -> None:
    said = "Exception from src/inference/src/infer_request.cpp:224:\nException from src/x.cpp:3:\nNode a of type RDFT\n"
    assert failure_reason(RuntimeError(f"{said}Check 'rank' failed at src/node.cpp:7:\nwrong axes")) == (
        "RuntimeError: Node a of type RDFT wrong axes"
    )
