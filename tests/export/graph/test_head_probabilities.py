"""Heads that end in probabilities or thresholds: what is cut, and what stays because it is computed with."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from head_labels import assert_same_labels, cut
from networks import SIZE_HW, Net, body, frames, run, tensor, upsample
from onnx import TensorProto

from edge_vseg.bundle.manifest import HeadSpec
from edge_vseg.errors import HeadError
from edge_vseg.imaging.class_probabilities import class_probabilities


def foreground(net: Net, last: str, enlarge: int = 2) -> str:
    x = net.node("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    match last:
        case "Conv":
            x = net.conv(x, 8, 1)
        case "Conv without bias":
            x = net.conv(x, 8, 1, bias=False)
        case "ConvTranspose":
            weight = net.const(net.rng.normal(0, 0.2, (8, 1, 2, 2)))
            return net.node("ConvTranspose", x, weight, kernel_shape=[2, 2], strides=[2, 2])
        case "Add":
            x = net.node("Add", net.conv(x, 8, 1), net.const(np.full((1, 1, 1, 1), 0.1)))
        case "shared Conv":
            z = net.conv(x, 8, 1)
            x = net.node("Mul", z, net.node("Sigmoid", z))
    return upsample(net, x, enlarge) if enlarge > 1 else x


@pytest.mark.parametrize("last", ["Conv", "Conv without bias", "ConvTranspose", "Add", "shared Conv"])
def test_one_sigmoid_channel(last):
    net = Net(seed=5)
    logits = foreground(net, last)
    head, _ = assert_same_labels(net.model(net.node("Sigmoid", logits)), threshold=0.5)
    assert head.classes == 2
    assert head.cut[-1] == "Sigmoid"


@pytest.mark.parametrize("last", ["Conv", "ConvTranspose", "Add"])
def test_softmax_of_the_widened_channel_is_the_sigmoid(last):
    """At the resolution where the network computed it."""
    net, bare = Net(seed=6), Net(seed=6)
    made, _ = cut(net.model(net.node("Sigmoid", foreground(net, last))))
    logits = bare.model(foreground(bare, last, enlarge=1))
    value = tensor(frames(1)[0])
    two = run(made, value).astype(np.float64)
    softmax = np.exp(two[:, 1]) / np.exp(two).sum(1)
    np.testing.assert_allclose(softmax, 1 / (1 + np.exp(-run(logits, value)[:, 0].astype(np.float64))), atol=1e-5)


@pytest.mark.parametrize("op", ["Softmax", "Sigmoid"])
def test_probabilities_that_stay_are_the_networks_own(op):
    """Where they are upsampled by the network itself; a softmax of a softmax would be nearly flat."""
    attributes = {"axis": 1} if op == "Softmax" else {}
    net, bare = Net(seed=6), Net(seed=6)
    made, head = cut(net.model(upsample(net, net.node(op, body(net), **attributes), 2)))
    own = run(bare.model(bare.node(op, body(bare), **attributes)), tensor(frames(1)[0]))[0]
    assert (head.probabilities, op in [node.op_type for node in made.graph.node]) == (True, True)
    scores = np.ascontiguousarray(run(made, tensor(frames(1)[0]))[0])
    found = class_probabilities(scores, spec_of(head))
    np.testing.assert_allclose(found, own / own.sum(axis=0), atol=1e-4)


def test_a_foreground_that_stays_a_probability_is_the_networks_own():
    net, bare = Net(seed=6), Net(seed=6)
    made, head = cut(net.model(upsample(net, net.node("Sigmoid", foreground(net, "Conv", enlarge=1)), 2)))
    own = run(bare.model(bare.node("Sigmoid", foreground(bare, "Conv", enlarge=1))), tensor(frames(1)[0]))[0, 0]
    assert (head.probabilities, head.classes) == (True, 2)
    scores = np.ascontiguousarray(run(made, tensor(frames(1)[0]))[0])
    np.testing.assert_allclose(class_probabilities(scores, spec_of(head))[1], own, atol=1e-4)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Sigmoid"])
@pytest.mark.parametrize("enlarged", ["before", "never"])
def test_what_was_cut_leaves_logits(op, enlarged):
    net = Net(seed=6)
    x = upsample(net, body(net), 2) if enlarged == "before" else body(net)
    _, head = cut(net.model(net.node(op, x, **({} if op == "Sigmoid" else {"axis": 1}))))
    assert (head.cut[-1], head.probabilities) == (op, False)


def test_logarithms_that_stay_are_logits():
    net = Net(seed=6)
    made, head = cut(net.model(upsample(net, net.node("LogSoftmax", body(net), axis=1), 2)))
    assert not head.probabilities
    found = class_probabilities(np.ascontiguousarray(run(made, tensor(frames(1)[0]))[0]), spec_of(head))
    assert found.max() > 0.5


def spec_of(head):
    return HeadSpec(kind="scores", size_hw=head.size_hw, scores="probabilities" if head.probabilities else "logits")


def softmax_then_upsample(where: str = "half_pixel", mode: str = "linear", *last: str) -> onnx.ModelProto:
    net = Net(seed=3)
    x = upsample(net, net.node("Softmax", body(net), axis=1), 2, mode=mode, where=where)
    return net.model(net.node("ArgMax", x, axis=1) if last else x)


@pytest.mark.parametrize("where", ["half_pixel", "align_corners", "asymmetric"])
def test_interpolated_probabilities_stay(where):
    """Between pixels, the largest interpolated probability is not that of the largest interpolated logit."""
    head, left = assert_same_labels(softmax_then_upsample(where))
    assert head.cut == ("Resize",)
    assert left == ["Conv", "Relu", "Conv", "Softmax"]


def test_interpolated_probabilities_and_argmax():
    head, left = assert_same_labels(softmax_then_upsample("half_pixel", "linear", "ArgMax"))
    assert head.cut == ("Resize", "ArgMax")
    assert left[-1] == "Softmax"


def test_probabilities_that_are_only_repeated_are_cut():
    model = softmax_then_upsample("asymmetric", "nearest")
    model.graph.node[-1].attribute.append(onnx.helper.make_attribute("nearest_mode", "floor"))
    head, left = assert_same_labels(model)
    assert head.cut == ("Softmax", "Resize")
    assert "Softmax" not in left


def test_interpolated_probabilities_in_nhwc():
    net = Net(seed=3)
    turned = net.node("Transpose", body(net), perm=[0, 2, 3, 1])
    softmax = net.node("Softmax", turned, axis=-1)
    scales = net.const([1, 2, 2, 1])
    x = net.node("Resize", softmax, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    head, _ = assert_same_labels(net.model(x))
    assert head.classes == 4
    assert head.size_hw == (SIZE_HW[0] // 2, SIZE_HW[1] // 2)


@pytest.mark.parametrize("last", ["Conv", "Add"])
def test_an_interpolated_sigmoid_stays(last):
    net = Net(seed=5)
    model = net.model(upsample(net, net.node("Sigmoid", foreground(net, last, enlarge=1)), 2))
    head, left = assert_same_labels(model, threshold=0.5)
    assert (head.cut, head.threshold) == (("Resize",), 0.5)
    assert "Sigmoid" in left


def part(net: Net, x: str, start: int, end: int, axis: int) -> str:
    return net.node("Slice", x, *(net.const([each], np.int64) for each in (start, end, axis)))


@pytest.mark.parametrize("after", ["crop", "clip", "cubic", "class of a softmax", "joined"])
def test_probabilities_that_are_moved_are_halved_in_the_middle(after):
    """Between 0 and 1 nothing is below 0."""
    net = Net(seed=5)
    x = foreground(net, "Conv", enlarge=1)
    if after == "class of a softmax":
        both = net.node("Concat", net.node("Neg", x), x, axis=1)
        x = upsample(net, part(net, net.node("Softmax", both, axis=1), 1, 2, axis=1), 2)
    elif after == "cubic":
        x = upsample(net, net.node("Sigmoid", x), 2, mode="cubic")
    else:
        x = net.node("Sigmoid", upsample(net, x, 2))
        match after:
            case "clip":
                x = net.node("Clip", x, net.const(0.0), net.const(1.0))
            case "crop":
                x = part(net, x, 1, SIZE_HW[0] - 1, axis=2)
                x = net.node("Pad", x, net.const([0, 0, 1, 0, 0, 0, 1, 0], np.int64), mode="edge")
            case _:
                x = net.node("Concat", part(net, x, 0, 8, axis=2), part(net, x, 8, SIZE_HW[0], axis=2), axis=2)
    head, _ = assert_same_labels(net.model(x), threshold=0.5)
    assert (head.classes, head.threshold) == (2, 0.5)


def thresholded(op: str, *, sigmoid: bool, limit: float, last: str) -> onnx.ModelProto:
    net = Net(seed=5)
    x = foreground(net, "Conv")
    x = net.node("Sigmoid", x) if sigmoid else x
    x = net.node("Round", x) if op == "Round" else net.node(op, x, net.const(limit))
    kinds = {"uint8": TensorProto.UINT8, "float": TensorProto.FLOAT, "int64": TensorProto.INT64}
    return net.model(net.node("Cast", x, to=kinds[last]) if last in kinds else x)


@pytest.mark.parametrize(
    ("op", "sigmoid", "limit", "last"),
    [
        (op, sigmoid, limit, last)
        for op, sigmoid, limit in [
            ("Greater", True, 0.5), ("GreaterOrEqual", True, 0.5), ("Greater", False, 0.0), ("Round", True, 0.5),
        ]
        for last in ["bool", "uint8", "float", "int64"]
        if (op, last) != ("Round", "bool")  # Round gives no booleans
    ],
)  # fmt: skip
def test_a_thresholded_map(op, sigmoid, limit, last):
    head, left = assert_same_labels(thresholded(op, sigmoid=sigmoid, limit=limit, last=last), threshold=0.5)
    assert (head.kind, head.classes) == ("scores", 2)
    assert left == ["Conv", "Relu", "Conv"]


@pytest.mark.parametrize(("op", "sigmoid", "limit"), [("Greater", False, 0.0), ("Round", True, 0.5)])
def test_a_thresholded_map_without_its_channel(op, sigmoid, limit):
    """``(logits > 0).float().squeeze(1)``."""
    model = thresholded(op, sigmoid=sigmoid, limit=limit, last="float")
    net = Net()
    net.nodes, net.weights = list(model.graph.node), list(model.graph.initializer)
    flat = net.node("Squeeze", model.graph.output[0].name, net.const([1], np.int64))
    head, left = assert_same_labels(net.model(flat), threshold=0.5)
    assert (head.kind, head.classes) == ("scores", 2)
    assert left == ["Conv", "Relu", "Conv"]


@pytest.mark.parametrize("last", ["bool", "uint8", "float"])
@pytest.mark.parametrize(("op", "limit"), [("Greater", 0.4), ("Less", 0.5)])
def test_a_threshold_elsewhere_stays(op, limit, last):
    head, _ = assert_same_labels(thresholded(op, sigmoid=True, limit=limit, last=last), threshold=0.5)
    assert (head.kind, head.classes) == ("labels", 2)


def test_many_thresholds_are_no_classes():
    net = Net()
    model = net.model(net.node("Greater", net.node("Sigmoid", upsample(net, body(net), 2)), net.const(0.5)))
    with pytest.raises(HeadError, match="each of its 4 channels with a threshold.*with the scores as output"):
        cut(model)
