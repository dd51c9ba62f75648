"""Networks that compute ``(1, H, W, C)``, and what tells their classes from rows and columns."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from head_labels import assert_same_labels, cut
from networks import SIZE_HW, Net, body, frames, run, tensor, upsample
from torch import nn

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.errors import HeadError
from edge_vseg.export import ExportOptions, Normalization
from edge_vseg.export.float_graph import check_against_source, make_float_graph
from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.head import cut_head
from edge_vseg.export.source.source_network import SourceNetwork, open_source_network

NORM = Normalization(mean=(127.5,) * 3, scale=(127.5,) * 3)
NCHW = [0, 3, 1, 2]


def linear(net: Net, x: str, inputs: int, outputs: int) -> str:
    weight = net.const(net.rng.normal(0, 0.5, (inputs, outputs)))
    return net.node("Add", net.node("MatMul", x, weight), net.const(net.rng.normal(0, 0.1, outputs)))


def places(net: Net, *, stride: int = 1, classes: int = 4, how: str = "linear") -> str:
    """Scores ``(1, H, W, C)`` of a linear layer at each place, or at each of a list of places."""
    x = net.node("Relu", net.conv("image", 3, 8, strides=[stride, stride]))
    x = net.node("Transpose", x, perm=[0, 2, 3, 1])
    if how == "linear":
        return linear(net, x, 8, classes)
    size = [length // stride for length in SIZE_HW]
    flat = linear(net, net.node("Reshape", x, net.const([1, size[0] * size[1], 8], np.int64)), 8, classes)
    return net.node("Reshape", flat, net.const([1, *size, classes], np.int64))


@pytest.mark.parametrize("how", ["linear", "list of places"])
def test_turned_to_nchw_at_the_end(how):
    net = Net(seed=4)
    head, left = assert_same_labels(net.model(net.node("Transpose", places(net, how=how), perm=NCHW)))
    assert (head.classes, head.size_hw, head.layout, head.cut) == (4, SIZE_HW, "NCHW", ())
    assert left[-1] == "Transpose"


@pytest.mark.parametrize("how", ["linear", "list of places"])
def test_never_turned(how):
    net = Net(seed=4)
    head, _ = assert_same_labels(net.model(places(net, how=how)))
    assert (head.classes, head.size_hw, head.layout) == (4, SIZE_HW, "NHWC")


def test_turned_and_enlarged():
    net = Net(seed=4)
    head, left = assert_same_labels(
        net.model(upsample(net, net.node("Transpose", places(net, stride=2), perm=NCHW), 2))
    )
    assert (head.classes, head.size_hw, head.cut) == (4, (SIZE_HW[0] // 2, SIZE_HW[1] // 2), ("Resize",))
    assert "Resize" not in left


@pytest.mark.parametrize("end", ["turned", "enlarged", "last axis"])
def test_argmax_behind_it(end):
    net = Net(seed=4)
    x = places(net, stride=2 if end == "enlarged" else 1)
    x = x if end == "last axis" else net.node("Transpose", x, perm=NCHW)
    x = upsample(net, x, 2) if end == "enlarged" else x
    head, left = assert_same_labels(net.model(net.node("ArgMax", x, axis=-1 if end == "last axis" else 1, keepdims=0)))
    assert (head.kind, head.classes) == ("scores", 4)
    assert "ArgMax" in head.cut
    assert not {"Resize", "ArgMax"} & set(left)


def test_softmax_along_the_last_axis():
    net = Net(seed=4)
    head, _ = assert_same_labels(net.model(net.node("Softmax", places(net), axis=-1)))
    assert (head.classes, head.cut, head.layout) == (4, ("Softmax",), "NHWC")


def test_a_head_that_stays_whole():
    """A softmax along the columns cannot be cut."""
    net = Net(seed=4)
    head, left = assert_same_labels(net.model(net.node("Softmax", places(net), axis=2)))
    assert (head.classes, head.size_hw, head.cut, head.layout) == (4, SIZE_HW, (), "NHWC")
    assert "Softmax" in left


def test_one_channel_in_the_last_axis():
    net = Net(seed=4)
    model = net.model(net.node("Sigmoid", places(net, classes=1)))
    head, _ = assert_same_labels(model, threshold=0.5)
    assert (head.classes, head.size_hw) == (2, SIZE_HW)


def test_height_and_width_that_are_swapped_at_the_end():
    net = Net()
    x = net.node("Transpose", body(net, stride=1), perm=[0, 1, 3, 2])
    x = net.node("Relu", x)
    head, _ = assert_same_labels(net.model(net.node("Transpose", x, perm=[0, 1, 3, 2])))
    assert head.size_hw == SIZE_HW


def unclear() -> onnx.ModelProto:
    """``(1, 9, 12, 16)``: 9x12 and 12x16 both have the aspect of 24x32."""
    net = Net()
    x = net.node("Transpose", body(net, channels=9), perm=[0, 2, 3, 1])
    x = net.node("Transpose", net.node("Reshape", x, net.const([1, 192, 9], np.int64)), perm=[0, 2, 1])
    x = net.node("Relu", x)  # or it would be undone with what follows
    return net.model(net.node("Reshape", x, net.const([1, 9, 12, 16], np.int64)))


def unclear_source() -> SourceNetwork:
    model = unclear()
    return SourceNetwork(
        name="net", kind="onnx", fingerprint="", size_hw=None, load_graph=lambda size_hw: model, run=lambda value: value
    )


@pytest.mark.parametrize(
    ("classes", "layout", "size_hw"), [(9, "NCHW", (12, 16)), (16, "NHWC", (9, 12))], ids=["first", "last"]
)
def test_the_number_of_classes_tells(classes, layout, size_hw):
    canonical, _ = canonicalize(unclear(), None)
    made, head = cut_head(canonical, classes)
    assert (head.classes, head.layout, head.size_hw) == (classes, layout, size_hw)
    assert run(made, tensor(frames(1)[0])).shape == (1, classes, *size_hw)
    labels = numbered_labels(classes)
    assert make_float_graph(unclear_source(), ExportOptions(labels=labels)).head == head


def test_nothing_tells():
    with pytest.raises(HeadError, match=r"\(1, 9, 12, 16\), and either axis 1 or axis 3 may hold .*; give --classes"):
        cut(unclear())
    with pytest.raises(HeadError, match="--classes names 5 classes, the network gives 9"):
        make_float_graph(unclear_source(), ExportOptions(labels=numbered_labels(5)))


def test_not_even_the_number_of_classes_tells():
    net = Net()
    x = net.node("Transpose", body(net, channels=12), perm=[0, 2, 3, 1])
    x = net.node("Transpose", net.node("Reshape", x, net.const([1, 144, 12], np.int64)), perm=[0, 2, 1])
    x = net.node("Relu", x)
    x = net.node("Reshape", x, net.const([1, 12, 12, 12], np.int64))
    canonical, _ = canonicalize(net.model(x, shape=(1, 3, 24, 24)), None)
    with pytest.raises(HeadError, match="give another --input-size"):
        cut_head(canonical, 12)


def test_a_convolution_tells():
    """``(1, 9, 12, 16)`` again."""
    net = Net()
    scaled = net.node("Mul", net.const(0.5), body(net, channels=9))
    _, head = cut(net.model(scaled))
    assert (head.classes, head.size_hw) == (9, (12, 16))


def test_a_linear_layer_tells():
    """``(1, 12, 9, 7)`` of a 24x18 image: 12x9 and 9x7 both have its aspect, but for rounding."""
    net = Net()
    made, head = cut(net.model(places(net, stride=2, classes=7), shape=(1, 3, 24, 18)))
    assert (head.classes, head.size_hw, head.layout) == (7, (12, 9), "NHWC")
    assert made.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 7


class LinearHead(nn.Module):
    """Features at each place, and a linear layer over them, as MLP decoders have it."""

    def __init__(self, *, turned: bool, classes: int = 4) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, classes)
        self.turned = turned

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores = self.head(torch.relu(self.features(image)).permute(0, 2, 3, 1))
        return scores.permute(0, 3, 1, 2) if self.turned else scores


def turned() -> nn.Module:
    torch.manual_seed(1)
    return LinearHead(turned=True)


def as_it_is() -> nn.Module:
    torch.manual_seed(1)
    return LinearHead(turned=False)


def as_many_as_rows() -> nn.Module:
    """The number of classes is the height."""
    torch.manual_seed(1)
    return LinearHead(turned=False, classes=SIZE_HW[0])


@pytest.mark.parametrize("factory", [turned, as_it_is, as_many_as_rows], ids=lambda factory: factory.__name__)
def test_torch(factory):
    network = open_source_network(f"{__file__}:{factory.__name__}", weights=None, size_hw=SIZE_HW)
    graph = make_float_graph(network, ExportOptions(normalization=NORM, size_hw=SIZE_HW))
    assert (graph.head.classes, graph.head.size_hw) == (factory().head.out_features, SIZE_HW)
    images = frames(3)
    assert check_against_source(graph, network, NORM, images, min_agreement=0.98) > 0.999
    with torch.no_grad():
        given = factory()(torch.from_numpy(tensor(images[0]).copy())).numpy()[0]
    wanted = given.argmax(0 if factory is turned else -1)
    assert len(np.unique(wanted)) > 1
    assert np.mean(run(graph.model, images[0][None])[0].argmax(0) == wanted) > 0.999
