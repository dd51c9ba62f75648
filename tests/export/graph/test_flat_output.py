"""Networks whose output lists all pixels in one axis, as Keras's often do, on the whole way to the float graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import SIZE_HW, Net, body, frames, ops, upsample

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.errors import HeadError
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.float_graph import FloatGraph, check_against_source, make_float_graph
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.source.source_network import open_source_network

NORM = Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3)
PIXELS = SIZE_HW[0] * SIZE_HW[1]
End = Callable[[Net, str], str]


def reshape(net: Net, x: str, *shape: int) -> str:
    return net.node("Reshape", x, net.const(shape, np.int64))


def in_nhwc(net: Net, x: str) -> str:
    return net.node("Transpose", x, perm=[0, 2, 3, 1])


def keras(net: Net, x: str) -> str:
    return net.node("Softmax", reshape(net, in_nhwc(net, x), 1, PIXELS, 4), axis=-1)


def keras_argmax(net: Net, x: str) -> str:
    return net.node("ArgMax", keras(net, x), axis=-1, keepdims=0)


def keras_permute(net: Net, x: str) -> str:
    """Classes first, and turned round once they are flat."""
    flat = net.node("Transpose", reshape(net, x, 1, 4, PIXELS), perm=[0, 2, 1])
    return net.node("Softmax", flat, axis=2)


def without_batch(net: Net, x: str) -> str:
    return net.node("Softmax", reshape(net, in_nhwc(net, x), PIXELS, 4), axis=1)


def classes_first(net: Net, x: str) -> str:
    return reshape(net, x, 1, 4, PIXELS)


def there_and_back(net: Net, x: str) -> str:
    return reshape(net, net.node("Softmax", classes_first(net, x), axis=1), 1, 4, *SIZE_HW)


def squeezed_batch(net: Net, x: str) -> str:
    return net.node("Squeeze", x, net.const([0], np.int64))


def squeezed_foreground(net: Net, x: str) -> str:
    return net.node("Squeeze", net.node("Sigmoid", net.conv(x, 4, 1)), net.const([1], np.int64))


def gathered_foreground(net: Net, x: str) -> str:
    """As ``x[:, 0]`` is written."""
    return net.node("Gather", net.node("Sigmoid", net.conv(x, 4, 1)), net.const(0, np.int64), axis=1)


def exported(tmp_path: Path, end: End, **options: object) -> tuple[FloatGraph, float]:
    net, path = Net(seed=3), tmp_path / "net.onnx"
    onnx.save(net.model(end(net, upsample(net, body(net), 2)), opset=17), path)
    network = open_source_network(str(path), weights=None, size_hw=None)
    graph = make_float_graph(network, ExportOptions(normalization=NORM, **options))
    return graph, check_against_source(graph, network, NORM, frames(3), min_agreement=0.98)


@pytest.mark.parametrize(
    "end",
    [keras, keras_argmax, keras_permute, without_batch, classes_first, there_and_back, squeezed_batch],
    ids=lambda end: end.__name__,
)
def test_the_head_is_cut_as_from_a_map(tmp_path, end):
    graph, agreement = exported(tmp_path, end)
    assert agreement > 0.999
    assert (graph.head.kind, graph.head.classes, graph.head.size_hw) == ("scores", 4, (12, 16))
    assert ops(graph.model)[-1] == "Conv"


def listed_foreground(net: Net, x: str) -> str:
    """As Keras lists the pixels of one channel."""
    return net.node("Sigmoid", reshape(net, net.conv(x, 4, 1), 1, PIXELS, 1))


@pytest.mark.parametrize(
    "end", [squeezed_foreground, gathered_foreground, listed_foreground], ids=lambda end: end.__name__
)
def test_one_foreground_channel(tmp_path, end):
    graph, agreement = exported(tmp_path, end)
    assert agreement > 0.999
    assert (graph.head.classes, graph.head.threshold) == (2, 0.5)


def map_without_batch(net: Net, x: str) -> str:
    return net.node("Squeeze", net.node("ArgMax", x, axis=1, keepdims=0), net.const([0], np.int64))


def bare_map(net: Net, x: str) -> str:
    """A squeeze of all axes of length one."""
    return net.node("Squeeze", net.node("ArgMax", x, axis=1, keepdims=1))


def bare_int32_map(net: Net, x: str) -> str:
    return net.node("Cast", bare_map(net, x), to=onnx.TensorProto.INT32)


def bare_mask(net: Net, x: str) -> str:
    mask = net.node("Greater", net.node("Sigmoid", net.conv(x, 4, 1)), net.const(0.5))
    return net.node("Squeeze", net.node("Cast", mask, to=onnx.TensorProto.UINT8))


@pytest.mark.parametrize("end", [map_without_batch, bare_map, bare_int32_map, bare_mask], ids=lambda end: end.__name__)
def test_a_finished_map_without_axes_of_length_one(tmp_path, end):
    graph, agreement = exported(tmp_path, end)
    assert agreement > 0.999
    assert graph.head.classes == (2 if end is bare_mask else 4)


def test_one_channel_that_may_be_a_depth(tmp_path):
    with pytest.raises(HeadError, match=r"of shape \(1, 24, 32\); expected scores"):
        exported(tmp_path, lambda net, x: net.node("Squeeze", net.conv(x, 4, 1), net.const([1], np.int64)))


def test_classes_in_another_order(tmp_path):
    """Channels of the list are exchanged behind it: that is no part of a head."""

    def exchanged(net: Net, x: str) -> str:
        return reshape(
            net, net.node("Gather", classes_first(net, x), net.const([2, 0, 3, 1], np.int64), axis=1), 1, 4, *SIZE_HW
        )

    graph, agreement = exported(tmp_path, exchanged)
    assert agreement > 0.999
    assert "Gather" in ops(graph.model)[2:]


def test_what_works_along_the_list_stays(tmp_path):
    """A softmax over the pixels is no part of a head."""

    def over_pixels(net: Net, x: str) -> str:
        return reshape(net, net.node("Softmax", classes_first(net, x), axis=2), 1, 4, *SIZE_HW)

    graph, agreement = exported(tmp_path, over_pixels, labels=numbered_labels(4))
    assert agreement > 0.999
    assert "Softmax" in ops(graph.model)
