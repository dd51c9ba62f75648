"""Padding that a network computes from the size of its input, as torch.onnx writes it."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import pytest
import torch
from networks import SIZE_HW, Net, run
from torch import nn
from torch.nn import functional

from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.listed_pads import keep_pads_flat


class Same(nn.Module):
    """Two convolutions that are padded as TensorFlow does: where that is odd, more at the end."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        for layer in (self.first, self.second):
            sides: list[torch.Tensor] = []
            for axis in (3, 2):
                length, kernel, stride = image.shape[axis], layer.kernel_size[axis - 2], layer.stride[axis - 2]
                total = ((length + stride - 1) // stride - 1) * stride + kernel - length
                sides += [total // 2, total - total // 2]
            image = layer(functional.pad(image, sides)).relu()
        return image


@pytest.fixture(scope="module")
def exported() -> onnx.ModelProto:
    file = io.BytesIO()
    axes = {"image": {2: "height", 3: "width"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is an old one, and what it wrote is around
        torch.onnx.export(
            Same().eval(), (torch.zeros(1, 3, 64, 64),), file, dynamo=False, input_names=["image"], dynamic_axes=axes
        )
    return onnx.load_from_string(file.getvalue())


def test_the_sides_stay_where_they_are(exported: onnx.ModelProto) -> None:
    assert "Transpose" in {node.op_type for node in exported.graph.node}, "the list is turned round in pairs"
    made, image = canonicalize(exported, SIZE_HW)
    assert image.size_hw == SIZE_HW
    value = np.random.default_rng(0).normal(size=(1, 3, *SIZE_HW)).astype(np.float32)
    with torch.inference_mode():
        expected = Same().eval()(torch.from_numpy(value)).numpy()
    np.testing.assert_allclose(run(made, value), expected, atol=1e-5)


def test_the_graph_computes_the_same_before_anything_is_folded(exported: onnx.ModelProto) -> None:
    flat = onnx.ModelProto()
    flat.CopyFrom(exported)
    keep_pads_flat(flat)
    assert sum(node.op_type == "Slice" for node in flat.graph.node) == 6, "two of each Pad, and one that nobody reads"
    for size in ((24, 32), (25, 31)):
        value = np.random.default_rng(1).normal(size=(1, 3, *size)).astype(np.float32)
        np.testing.assert_array_equal(run(flat, value), run(exported, value))


def test_other_lists_are_left_alone() -> None:
    net = Net()
    pads = net.node("Reshape", net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64), net.const([-1], np.int64))
    model = net.model(net.conv(net.node("Pad", "image", pads), 3, 4))
    before = model.SerializeToString()
    keep_pads_flat(model)
    assert model.SerializeToString() == before
