"""Max-unpooling as torch.onnx and others write it, and what becomes of it, against torch itself."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from networks import Net, ops, run, staged
from onnx import helper
from torch import nn

from edge_vseg.errors import UnsupportedOperatorError
from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.unpooling import simplify_unpooling
from edge_vseg.export.onnx_to_torch import to_torch
from edge_vseg.export.quantization.activations import run_frames, start_onnx
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.openvino_qdq import quantize_openvino, start_openvino
from edge_vseg.export.quantization.preparation import measure_ranges
from edge_vseg.export.quantization.tflite_litert import quantize_tflite, start_tflite, to_tflite

SIZE_HW = (12, 20)
"""Both divide by 2 and 4 once, and only one by 3."""
SCATTERS = {"ScatterND", "ScatterElements", "MaxUnpool"}


class Pooled(nn.Module):
    """Pools, changes what was pooled, and puts it back; behind a ReLU zeros are tied."""

    def __init__(
        self, kernel: int = 2, *, ceil: bool = False, levels: int = 1, slope: float = 0.0, **options: int
    ) -> None:
        super().__init__()
        self.first, self.activation = nn.Conv2d(3, 6, 3, padding=1), nn.PReLU(6, slope)
        self.options = {"kernel_size": kernel, **options}
        self.ceil, self.levels, self.slope = ceil, levels, slope
        self.middle = nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, found = self.first(x), []
        for _ in range(self.levels):
            x = self.activation(x) if self.slope else torch.relu(x)
            pooled, places = F.max_pool2d(x, **self.options, ceil_mode=self.ceil, return_indices=True)
            found.append((places, x.shape[2:]))
            x = pooled
        x = self.middle(x) + 0.5  # zero is a number like others
        for places, size in reversed(found):
            x = F.max_unpool2d(x, places, **self.options, output_size=size)
        return self.last(x)


def exported(module: nn.Module, size_hw: tuple[int, int] = SIZE_HW) -> onnx.ModelProto:
    torch.manual_seed(0)
    example = torch.zeros(1, 3, *size_hw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module.eval(), (example,), dynamo=True, opset_version=20, verbose=False)
    assert program is not None
    return program.model_proto


@pytest.mark.parametrize(
    ("module", "size_hw"),
    [
        (Pooled(), SIZE_HW),
        (Pooled(levels=2), SIZE_HW),
        (Pooled(3), SIZE_HW),
        (Pooled(4), SIZE_HW),
        (Pooled(), (13, 21)),
        (Pooled(ceil=True), (13, 20)),
    ],
    ids=["2x2", "nested", "3x3", "4x4", "rest", "ceil"],
)
def test_of_torch(module: nn.Module, size_hw: tuple[int, int]) -> None:
    model, _ = canonicalize(exported(module, size_hw), size_hw)
    assert not SCATTERS & set(ops(model))
    image = np.random.default_rng(0).normal(size=(1, 3, *size_hw)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(image)).numpy()
        converted = to_torch(model)(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(run(model, image), expected, atol=1e-5)
    np.testing.assert_allclose(converted, expected, atol=1e-5)


def file_with(unpooling: str) -> onnx.ModelProto:
    """A file with the operator itself, or with indices along one axis."""
    net = Net()
    image = net.node("Relu", "image")
    pool = helper.make_node("MaxPool", [image], ["pooled", "places"], kernel_shape=[2, 2], strides=[2, 2])
    net.nodes.append(pool)
    values = net.node("Add", "pooled", net.const([0.5], np.float32))
    if unpooling == "MaxUnpool":
        return net.model(
            net.node("MaxUnpool", values, "places", kernel_shape=[2, 2], strides=[2, 2]), shape=(1, 3, *SIZE_HW)
        )
    flat = [net.node("Reshape", name, net.const([-1], np.int64)) for name in ("places", values)]
    zeros = net.const(np.zeros(3 * 12 * 20), np.float32)
    joined = net.node("ScatterElements", zeros, *flat, axis=0)
    return net.model(net.node("Reshape", joined, net.const([1, 3, 12, 20], np.int64)), shape=(1, 3, *SIZE_HW))


@pytest.mark.parametrize("unpooling", ["MaxUnpool", "ScatterElements"])
def test_of_a_file(unpooling: str) -> None:
    model = file_with(unpooling)
    image = np.random.default_rng(0).normal(size=(1, 3, *SIZE_HW)).astype(np.float32)
    expected = run(model, image)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    simplify_unpooling(model)
    assert not SCATTERS & set(ops(model))
    np.testing.assert_array_equal(run(model, image), expected)


def test_overlapping_windows_are_left_alone_and_named() -> None:
    model, _ = canonicalize(exported(Pooled(3, stride=2, padding=1)), SIZE_HW)
    assert set(ops(model)) & SCATTERS
    with pytest.raises(UnsupportedOperatorError, match=r"MaxPool .*: output Indices.*stride"):
        to_torch(model)


@pytest.mark.slow
@pytest.mark.parametrize("slope", [0.0, 4.0], ids=["zeros tied", "maxima of a narrow range"])
def test_int8_puts_numbers_where_float_does(slope: float, tmp_path: Path) -> None:
    size_hw = (24, 32)
    torch.manual_seed(1)
    model = staged(exported(Pooled(slope=slope), size_hw))
    # Pixels that differ much: few maxima change places by rounding.
    images = [np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), np.uint8) for seed in range(4)]
    expected, ranges = run_frames(model, images), measure_ranges(model, images)
    converted = to_tflite(model)
    made = {
        "onnxruntime": start_onnx(quantize_onnxruntime(model, ranges, recipe_for("x86_64")), in_float=True),
        "openvino": start_openvino(quantize_openvino(model, ranges, tmp_path)),
        "tflite float": start_tflite(converted),
        "tflite": start_tflite(quantize_tflite(converted, model, images)),
    }
    for name, infer in made.items():
        noise = np.mean([np.mean((infer(image) - each) ** 2) for image, each in zip(images, expected, strict=True)])
        sqnr_db = 10 * np.log10(np.mean(np.var(expected, axis=(2, 3))) / noise)
        assert sqnr_db > 12, (name, sqnr_db)
