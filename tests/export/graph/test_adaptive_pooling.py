"""Adaptive pools as torch.onnx unrolls them, and what becomes of them, against torch itself."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import Counter

import numpy as np
import onnx
import onnxslim
import pytest
import torch
import torch.nn.functional as F
from networks import run
from torch import nn

from edge_vseg.errors import UnsupportedOperatorError
from edge_vseg.export.graph.adaptive_pooling import simplify_adaptive_pooling
from edge_vseg.export.graph.canonical import OPSET, canonicalize
from edge_vseg.export.onnx_to_torch import to_torch

SIZE_HW = (32, 56)


class Pyramid(nn.Module):
    """Pyramid pooling: the pools share the tensor that they gather from."""

    def __init__(self, *bins: int | tuple[int, int]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(size) for size in bins)
        self.last = nn.Conv2d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        pooled = [F.interpolate(pool(x), SIZE_HW, mode="bilinear") for pool in self.pools]
        return self.last(sum(pooled, x))


class Sorted(nn.Module):
    """Sorts the channels, for which TFLite has no operator."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sort(1)[0]


class Shuffled(nn.Module):
    """Gathers windows like an adaptive pool of 3, and takes the first cell of each."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(36).reshape(3, 12)[..., None, None] % 32
        windows = x[..., rows, torch.arange(60).reshape(3, 20) % 56]
        return self.last(windows[:, :, :, 0, :, 0])


def exported(network: nn.Module) -> onnx.ModelProto:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        example = (torch.zeros(1, 3, *SIZE_HW),)
        program = torch.onnx.export(network.eval(), example, dynamo=True, opset_version=OPSET, verbose=False)
        assert program is not None
        return program.model_proto


@pytest.mark.slow
@pytest.mark.parametrize(
    "bins",
    [
        pytest.param((1, 2, 3, 6), id="pspnet"),
        pytest.param(((3, 2),), id="columns divide"),
        pytest.param(((1, 5),), id="one row"),
    ],
)
def test_adaptive_average_becomes_slices_and_means(bins: tuple[int | tuple[int, int], ...]) -> None:
    torch.manual_seed(0)
    network = Pyramid(*bins)
    image = np.random.default_rng(0).normal(size=(1, 3, *SIZE_HW)).astype(np.float32)
    model, _ = canonicalize(exported(network), SIZE_HW)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert not kinds["GatherND"]
    assert not kinds["Gather"]
    with torch.no_grad():
        expected = network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(run(model, image), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_torch(model)(torch.from_numpy(image)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_refusal_names_the_layer_of_the_torch_module() -> None:
    network = nn.Sequential()
    network.add_module("body", nn.Conv2d(3, 3, 1))
    network.add_module("sort", Sorted())
    model, _ = canonicalize(exported(network), SIZE_HW)
    with pytest.raises(UnsupportedOperatorError, match=r"TopK \('[^']+' of layer 'sort'\)"):
        to_torch(model)


@pytest.mark.slow
def test_other_gathering_of_windows_is_left_alone() -> None:
    model = onnx.shape_inference.infer_shapes(onnxslim.slim(exported(Shuffled())))
    assert "GatherND" in [node.op_type for node in model.graph.node]
    assert list(simplify_adaptive_pooling(model).graph.node) == list(model.graph.node)


def test_graph_without_gathering_is_not_copied() -> None:
    model = onnx.ModelProto()
    assert simplify_adaptive_pooling(model) is model
