"""A network with channels to spare, as a float graph with the input ``frame``."""

from __future__ import annotations

import onnx
from networks import SIZE_HW, Net, staged, upsample

from edge_vseg.bundle.layer_times import SCHEMA, LayerTime, LayerTimes
from edge_vseg.export.shrinking.layers import find_layers, widths


def wide_onnx() -> onnx.ModelProto:
    """Two plain layers, one with a shortcut around it, a depthwise one; 4 classes at half size."""
    net = Net(seed=3)
    x = net.node("Relu", net.conv("image", 3, 32, strides=[2, 2]))
    y = net.node("Relu", net.conv(x, 32, 48))
    x = net.node("Add", x, net.conv(y, 48, 32))
    x = net.node("Relu", net.conv(x, 32, 40, kernel=1))
    x = net.node("Relu", net.conv(x, 40, 40, group=40))
    return net.model(upsample(net, net.conv(x, 40, 4), 2), shape=(1, 3, *SIZE_HW))


def wide() -> onnx.ModelProto:
    return staged(wide_onnx())


def times_by_products(model: onnx.ModelProto, *, network_ms: float = 10.0) -> LayerTimes:
    """A device on which a layer takes as long as it has products of channels, by pixel."""
    found = {}
    for layer in find_layers(model):
        for reads in widths(layer.reads):
            for makes in [reads] if layer.kind.depthwise else widths(layer.makes):
                ms = reads * (1 if layer.kind.depthwise else makes) * layer.kind.kernel_hw[0] ** 2 / 1e4
                found[layer.kind, reads, makes] = LayerTime(kind=layer.kind, reads=reads, makes=makes, ms=ms)
    return LayerTimes(
        schema=SCHEMA, name="wide", machine="made-up", runtime="made-up", threads=1, network_ms=network_ms,
        layers=tuple(found.values()),
    )  # fmt: skip
