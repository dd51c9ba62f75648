"""Cut heads give the label maps of whole networks."""

from __future__ import annotations

import numpy as np
import pytest
from head_labels import assert_same_labels, cut
from networks import SIZE_HW, Net, body, frames, run, tensor, upsample
from onnx import TensorProto

from edge_vseg.errors import HeadError


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
