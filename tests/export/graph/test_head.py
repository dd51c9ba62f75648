"""Cut heads give the label maps of whole networks."""

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


@pytest.mark.parametrize("where", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
@pytest.mark.parametrize("factor", [2, 4])
def test_linear_upsample(where, factor):
    net = Net()
    model = net.model(upsample(net, body(net, stride=factor), factor, where=where))
    head, left = assert_same_labels(model)
    assert head.cut == ("Resize",)
    assert head.size_hw == (SIZE_HW[0] // factor, SIZE_HW[1] // factor)
    assert head.align == where.removeprefix("pytorch_")
    assert "Resize" not in left


def test_nearest_upsample():
    net = Net()
    model = net.model(upsample(net, body(net), 2, mode="nearest", where="asymmetric", nearest_mode="floor"))
    head, _ = assert_same_labels(model)
    assert head.align == "nearest"


def from_corners(net: Net, x: str, channels: int) -> str:
    """As torch enlarges to the nearest cell: each pixel takes that under its upper left corner."""
    sizes = net.const([1, channels, *SIZE_HW], np.int64)
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return net.node("Resize", x, "", "", sizes, **how)


def test_nearest_upsample_by_no_whole_factor():
    """The device takes the cell under each pixel's centre, another one for many of the pixels."""
    net = Net()
    head, left = assert_same_labels(net.model(from_corners(net, body(net, stride=5), 4)))
    assert (head.cut, head.size_hw) == ((), SIZE_HW)
    assert left[-1] == "Resize"


def test_nearest_upsample_from_centres():
    net = Net()
    how = {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
    sizes = net.const([1, 4, *SIZE_HW], np.int64)
    head, _ = assert_same_labels(net.model(net.node("Resize", body(net, stride=5), "", "", sizes, **how)))
    assert (head.cut, head.align) == (("Resize",), "nearest")


@pytest.mark.parametrize("last", ["int64", "squeezed"])
def test_a_map_enlarged_from_corners_is_finished(last):
    """Its classes are numbers of a float tensor for a while, and no scores of one channel."""
    net = Net()
    best = net.node("ArgMax", body(net, stride=5), axis=1, keepdims=1)
    x = from_corners(net, net.node("Cast", best, to=TensorProto.FLOAT), 1)
    x = net.node("Squeeze", x, net.const([1], np.int64)) if last == "squeezed" else x
    head, _ = assert_same_labels(net.model(net.node("Cast", x, to=TensorProto.INT64)))
    assert (head.kind, head.size_hw) == ("labels", SIZE_HW)


def test_a_mask_enlarged_from_corners():
    net = Net(seed=5)
    x = net.conv(net.node("Relu", net.conv("image", 3, 8, strides=[5, 5])), 8, 1)
    mask = net.node("Cast", net.node("Greater", x, net.const(0)), to=TensorProto.FLOAT)
    head, left = assert_same_labels(net.model(from_corners(net, mask, 1)), threshold=0.5)
    assert (head.classes, head.threshold) == (2, 0.5)
    assert "Resize" in left


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax_over_channels(op):
    net = Net()
    head, _ = assert_same_labels(net.model(net.node(op, upsample(net, body(net), 2), axis=1)))
    assert head.cut == ("Resize", op)


def test_softmax_in_nhwc():
    net = Net()
    last = net.node("Transpose", upsample(net, body(net), 2), perm=[0, 2, 3, 1])
    head, left = assert_same_labels(net.model(net.node("Softmax", last, axis=-1)))
    assert head.cut == ("Resize", "Transpose", "Softmax")
    assert head.classes == 4
    assert left == ["Conv", "Relu", "Conv"]


@pytest.mark.parametrize("keepdims", [0, 1])
def test_argmax(keepdims):
    net = Net()
    head, _ = assert_same_labels(net.model(net.node("ArgMax", upsample(net, body(net), 2), axis=1, keepdims=keepdims)))
    assert head.kind == "scores"
    assert head.cut == ("Resize", "ArgMax")


def test_argmax_in_nhwc_then_squeeze_and_cast():
    net = Net()
    last = net.node("Transpose", upsample(net, body(net), 2), perm=[0, 2, 3, 1])
    best = net.node("ArgMax", last, axis=3, keepdims=1)
    flat = net.node("Squeeze", best, net.const([3], np.int64))
    head, _ = assert_same_labels(net.model(net.node("Cast", flat, to=TensorProto.INT32)))
    assert head.cut == ("Resize", "Transpose", "ArgMax", "Squeeze", "Cast")


def test_softmax_then_argmax_at_low_resolution():
    """No upsampling in the network: scores come at its output's resolution."""
    net = Net()
    x = net.conv(net.node("Relu", net.conv("image", 3, 8)), 8, 4)
    head, _ = assert_same_labels(net.model(net.node("ArgMax", net.node("Softmax", x, axis=1), axis=1)))
    assert head.size_hw == SIZE_HW
    assert head.align == "half_pixel"


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


def test_cubic_upsample_stays():
    net = Net()
    head, left = assert_same_labels(net.model(net.node("Softmax", upsample(net, body(net), 2, mode="cubic"), axis=1)))
    assert head.cut == ("Softmax",)
    assert head.size_hw == SIZE_HW
    assert "Resize" in left


def test_softmax_over_rows_stays():
    net = Net()
    head, left = assert_same_labels(net.model(net.node("Softmax", upsample(net, body(net), 2), axis=2)))
    assert head.cut == ()
    assert head.size_hw == SIZE_HW
    assert "Softmax" in left


def test_upsample_of_the_channels_stays():
    net = Net()
    scales = net.const([1, 2, 2, 2])
    x = net.node(
        "Resize",
        body(net),
        "",
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    head, _ = assert_same_labels(net.model(x))
    assert head.cut == ()
    assert head.classes == 8


@pytest.mark.parametrize("keepdims", [0, 1])
def test_classes_renamed_after_argmax(keepdims):
    """A Gather over the label map is no head that can be cut: the map is taken as it is."""
    net = Net()
    best = net.node("ArgMax", upsample(net, body(net), 2), axis=1, keepdims=keepdims)
    table = net.const([7, 0, 3, 1], np.int64)
    head, _ = assert_same_labels(net.model(net.node("Gather", table, best, axis=0)))
    assert head.kind == "labels"
    assert head.classes == 0
    assert head.size_hw == SIZE_HW


def test_argmax_over_the_batch_is_refused():
    net = Net()
    with pytest.raises(HeadError, match="expected scores"):
        cut(net.model(net.node("ArgMax", body(net), axis=0, keepdims=0)))


@pytest.mark.parametrize("last", ["bool", "uint8", "float"])
def test_a_mask_that_cannot_be_cut(last):
    """One class of many against the rest: a finished map of two classes."""
    net = Net()
    best = net.node("ArgMax", upsample(net, body(net), 2), axis=1)
    mask = net.node("Equal", best, net.const([1], np.int64))
    if last != "bool":
        mask = net.node("Cast", mask, to=TensorProto.UINT8 if last == "uint8" else TensorProto.FLOAT)
    model = net.model(mask)
    made, head = cut(model)
    assert (head.kind, head.classes, head.size_hw) == ("labels", 2, SIZE_HW)
    value = tensor(frames(1)[0])
    wanted = run(model, value).reshape(SIZE_HW)
    assert set(np.unique(wanted)) == {0, 1}
    np.testing.assert_array_equal(run(made, value)[0], wanted)


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


@pytest.mark.parametrize("kind", ["classifier", "vector"])
def test_no_segmentation_at_all(kind):
    net = Net()
    x = net.node("GlobalAveragePool", body(net))
    x = net.node("Flatten", x) if kind == "vector" else net.node("Squeeze", x, net.const([2], np.int64))
    with pytest.raises(HeadError, match="expected scores"):
        cut(net.model(x))


def test_more_classes_than_a_label_map_holds():
    net = Net()
    with pytest.raises(HeadError, match="300 classes, and a label map holds 255 at most"):
        cut(net.model(upsample(net, body(net, channels=300), 2)))
