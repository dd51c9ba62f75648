"""The uint8 input computes what the float input did on normalised frames."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks import SIZE_HW, Net, body, frames, ops, run

from edge_vseg.errors import OptionError
from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.input_stage import FRAME, Normalization, add_input_stage, is_input_node
from edge_vseg.export.quantization.activations import rounded_names

MEAN, SCALE = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


def network(kind: str) -> onnx.ModelProto:
    net, shape = Net(seed=3), (1, 3, *SIZE_HW)
    match kind:
        case "conv":
            x = body(net)
        case "two convs":
            x = net.node("Add", net.conv("image", 3, 4), net.conv("image", 3, 4, 1))
        case "grouped conv":
            x = net.conv(net.conv("image", 3, 6, group=3), 6, 4)
        case "relu first":
            x = body(net, image=net.node("Relu", "image"))
        case "conv and skip":
            x = net.node("Concat", net.conv("image", 3, 4), "image", axis=1)
        case "nhwc":
            shape = (1, *SIZE_HW, 3)
            x = body(net, image=net.node("Transpose", "image", perm=[0, 3, 1, 2]))
        case "nhwc, scaled first":
            shape = (1, *SIZE_HW, 3)
            scaled = net.node("Mul", "image", net.const([0.5, 2.0, 1.5]))
            x = body(net, image=net.node("Transpose", scaled, perm=[0, 3, 1, 2]))
        case "nhwc, both":
            shape = (1, *SIZE_HW, 3)
            first = net.node("Transpose", "image", perm=[0, 3, 1, 2])
            scaled = net.node("Transpose", net.node("Abs", "image"), perm=[0, 3, 1, 2])
            x = net.node("Add", net.conv(first, 3, 4), net.conv(scaled, 3, 4))
        case "nhwc, turned":
            shape = (1, *SIZE_HW, 3)
            turned = net.node("Transpose", "image", perm=[0, 3, 2, 1])
            x = net.node("Transpose", net.conv(net.conv(turned, 3, 8), 8, 4), perm=[0, 1, 3, 2])
        case "nhwc, turned and not":
            shape = (1, *SIZE_HW, 3)
            turned = net.node("Relu", net.node("Transpose", "image", perm=[0, 3, 2, 1]))
            first = net.node("Transpose", "image", perm=[0, 3, 1, 2])
            x = net.node("Add", net.conv(first, 3, 4), net.conv(net.node("Transpose", turned, perm=[0, 1, 3, 2]), 3, 4))
    return net.model(x, shape=shape)


def expected_input(image: np.ndarray, norm: Normalization, layout: str) -> np.ndarray:
    ordered = image[..., ::-1] if norm.color == "rgb" else image
    value = (ordered.astype(np.float64) - norm.mean) / norm.scale
    value = value if layout == "NHWC" else value.transpose(2, 0, 1)
    return np.ascontiguousarray(value[None], dtype=np.float32)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("normalized", [True, False], ids=["normalised", "raw"])
@pytest.mark.parametrize(
    "kind",
    [
        "conv", "two convs", "grouped conv", "relu first", "conv and skip", "nhwc", "nhwc, scaled first", "nhwc, both",
        "nhwc, turned", "nhwc, turned and not",
    ],
)  # fmt: skip
def test_same_numbers(kind, normalized, color):
    norm = Normalization(mean=MEAN, scale=SCALE, color=color) if normalized else Normalization(color=color)
    model = network(kind)
    canonical, image = canonicalize(model, None)
    staged = add_input_stage(canonical, image, norm)
    onnx.checker.check_model(staged, full_check=True)
    assert [i.name for i in staged.graph.input] == [FRAME]
    for picture in frames(2):
        wanted = run(model, expected_input(picture, norm, image.layout))
        got = run(staged, picture[None])
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def stage_ops(kind: str, norm: Normalization) -> list[str]:
    canonical, image = canonicalize(network(kind), None)
    staged = add_input_stage(canonical, image, norm)
    return [n.op_type for n in staged.graph.node if n.name.startswith(FRAME)]


def test_what_convolutions_can_take_is_folded():
    norm = Normalization(mean=MEAN, scale=SCALE, color="rgb")
    assert stage_ops("conv", norm) == ["Transpose", "Cast", "Sub"]
    assert stage_ops("two convs", norm) == ["Transpose", "Cast", "Sub"]
    assert stage_ops("nhwc", norm) == ["Transpose", "Cast", "Sub"]


def test_what_they_cannot_take_is_computed():
    norm = Normalization(mean=MEAN, scale=SCALE, color="rgb")
    assert stage_ops("relu first", norm) == ["Transpose", "Gather", "Cast", "Sub", "Mul"]
    assert stage_ops("grouped conv", norm) == ["Transpose", "Gather", "Cast", "Sub", "Mul"]


def test_nothing_to_normalise():
    assert stage_ops("conv", Normalization(color="bgr")) == ["Transpose", "Cast"]


def test_nhwc_transposes_disappear():
    canonical, image = canonicalize(network("nhwc"), None)
    assert ops(add_input_stage(canonical, image, Normalization())).count("Transpose") == 1


@pytest.mark.parametrize(
    "wrong",
    [{"scale": (1, 0, 1)}, {"scale": (1, -1, 1)}, {"mean": (float("nan"), 0, 0)}, {"scale": (1, 1, float("inf"))}],
    ids=str,
)
def test_impossible_normalisation(wrong):
    with pytest.raises(OptionError, match="mean must be finite and scale positive"):
        Normalization(**wrong)


def test_unknown_colour_order():
    with pytest.raises(OptionError, match="known: rgb, bgr"):
        Normalization(color="gray")


def renamed(model: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    """The model with other names of tensors and nodes."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    for each in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        each.name = names.get(each.name, each.name)
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    return model


@pytest.mark.parametrize("image", ["image", "frame", "frame.pixels"])
@pytest.mark.parametrize("kind", ["relu first", "nhwc", "nhwc, both"])
def test_a_network_whose_names_are_those_of_the_stage(kind: str, image: str):
    """Names as a torch module called ``frame`` gives them."""
    plain = network(kind)
    first, second, *_, last = [node.output[0] for node in plain.graph.node]
    weight = plain.graph.initializer[0].name
    taken = {first: "frame.cast", second: "frame" if image != "frame" else "frame.sub", last: "frame.gain"}
    model = renamed(plain, taken | {weight: "frame.mean", "image": image})
    onnx.checker.check_model(model, full_check=True)
    norm = Normalization(mean=MEAN, scale=SCALE, color="bgr")
    results, stages = [], []
    for each in (plain, model):
        staged = add_input_stage(*canonicalize(each, None), norm)
        onnx.checker.check_model(staged, full_check=True)
        assert [i.name for i in staged.graph.input] == [FRAME]
        results.append([run(staged, picture[None]) for picture in frames(2)])
        stages.append([node.op_type for node in staged.graph.node if is_input_node(node)])
    np.testing.assert_array_equal(results[1], results[0])
    assert stages[1] == stages[0], "no node of the network's own"


def test_a_name_that_only_begins_alike_is_rounded():
    plain = network("relu first")
    model = renamed(plain, {plain.graph.node[0].output[0]: "framework"})
    staged = add_input_stage(*canonicalize(model, None), Normalization(mean=MEAN))
    assert "framework" in rounded_names(staged)
