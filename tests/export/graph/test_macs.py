"""Multiply-accumulates and parameters against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from networks import Net, segmenter_onnx, staged

from edge_vseg.export.graph.macs import count_macs, count_parameters


@pytest.mark.parametrize(
    ("attributes", "macs"),
    [
        ({}, 24 * 32 * 6 * 3 * 9),
        ({"strides": [2, 2]}, 12 * 16 * 6 * 3 * 9),
        ({"group": 3}, 24 * 32 * 6 * 1 * 9),
        ({"pads": [0] * 4}, 22 * 30 * 6 * 3 * 9),
    ],
    ids=["plain", "strided", "grouped", "unpadded"],
)
def test_convolution(attributes, macs):
    net = Net()
    assert count_macs(net.model(net.conv("image", 3, 6, **attributes))) == macs


def test_transposed_convolution():
    net = Net()
    weight = net.const(np.zeros((3, 5, 2, 2)))
    # Each of the 24 x 32 x 3 inputs is multiplied into 5 channels of 2 x 2 outputs.
    assert count_macs(net.model(net.node("ConvTranspose", "image", weight, strides=[2, 2]))) == 24 * 32 * 3 * 5 * 4


def test_matrix_products():
    net = Net()
    flat = net.node("Reshape", "image", net.const([24 * 3, 32], np.int64))
    x = net.node("MatMul", flat, net.const(np.zeros((32, 10))))
    x = net.node("Gemm", x, net.const(np.zeros((7, 10))), transB=1)
    assert count_macs(net.model(x)) == 72 * 32 * 10 + 72 * 10 * 7


def test_what_multiplies_nothing_counts_nothing():
    net = Net()
    assert count_macs(net.model(net.node("Relu", net.node("MaxPool", "image", kernel_shape=[2, 2])))) == 0


def test_a_whole_float_graph():
    model = staged(segmenter_onnx())
    assert count_macs(model) == 12 * 16 * 9 * (8 * 3 + 4 * 8)


def test_parameters():
    net = Net()
    model = net.model(net.conv(net.conv("image", 3, 6), 6, 4, 1))
    assert count_parameters(model) == (6 * 3 * 9 + 6) + (4 * 6 + 4)
