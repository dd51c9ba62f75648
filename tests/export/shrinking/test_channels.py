"""Cutting channels: a channel that is zero everywhere can be cut without a difference, whatever the graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.quantization.activations import open_float
from edge_vseg.export.shrinking.channels import PruningGroup, find_channels
from edge_vseg.export.shrinking.cutting import cut_channels
from edge_vseg.export.source.source_network import open_source_network

SIZE = (32, 48)


def canonical(network: type[nn.Module]) -> onnx.ModelProto:
    source = open_source_network(f"{__file__}:{network.__name__}", weights=None, size_hw=SIZE)
    return canonicalize(source.model, SIZE)[0]


def output(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    session = open_float(model)
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def silence(model: onnx.ModelProto, group: PruningGroup, number: int) -> onnx.ModelProto:
    """The same graph with everything that reads or makes a channel set to zero."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = {t.name: t for t in copy.graph.initializer}
    for constant, axis, at in group.channels[number].held:
        array = onnx.numpy_helper.to_array(tensors[constant]).copy()
        np.moveaxis(array, axis, 0)[at] = 0
        tensors[constant].CopyFrom(onnx.numpy_helper.from_array(array, constant))
    return copy


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(12, 5, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Residual(nn.Module):
    """A sum joins channels; a depthwise convolution, a gate and a resize pass them on; a concatenation lines up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.wide, self.deep, self.narrow = (
            nn.Conv2d(8, 16, 1),
            nn.Conv2d(16, 16, 3, 1, 1, groups=16),
            nn.Conv2d(16, 8, 1),
        )
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.side = nn.Sequential(nn.Conv2d(3, 6, 3, 4, 1), nn.PReLU(6))
        self.up = nn.ConvTranspose2d(14, 10, 2, 2)
        self.out = nn.Conv2d(10, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = torch.relu(self.stem(x))
        body = stem + self.narrow(nn.functional.hardswish(self.deep(nn.functional.hardswish(self.wide(stem)))))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(body.mean((2, 3), keepdim=True)))))
        side = nn.functional.interpolate(self.side(x), scale_factor=2, mode="bilinear")
        return self.out(torch.relu(self.up(torch.cat([body * gate, side], 1))))


class Mixed(nn.Module):
    """A softmax over channels, a grouped convolution and an attention matrix: these channels have to stay."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=2)
        self.third, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(torch.relu(self.first(x)))
        x = self.third(torch.softmax(x, 1))
        rows = x.flatten(2)
        return self.last((rows @ rows.transpose(1, 2) @ rows).unflatten(2, x.shape[2:]))


class Vector(nn.Module):
    """Channel attention by fully connected layers, as squeeze-and-excitation was first written."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 6), nn.Linear(6, 8)
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        gate = torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))
        return self.last(x * gate[:, :, None, None])


@pytest.mark.parametrize("network", [Plain, Residual, Vector])
def test_a_silent_channel_can_be_cut(network: type[nn.Module]) -> None:
    model = canonical(network)
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 48)).astype(np.float32)
    groups = find_channels(model)
    assert groups
    for group in groups:
        for number in (0, len(group.channels) - 1):
            small = cut_channels(model, [group.channels[number]])
            onnx.checker.check_model(small, full_check=True)
            np.testing.assert_allclose(output(small, image), output(silence(model, group, number), image), atol=1e-5)


def test_which_channels_go_together() -> None:
    groups = {len(group.channels): group for group in find_channels(canonical(Residual))}
    # 8: the sum of stem and narrow, times the gate's excite; 16: wide; 4: squeeze; 6: side; 10: up.
    assert sorted(groups) == [4, 6, 8, 10, 16]
    assert len({name for name, _ in groups[8].channels[0].made}) == 3


def test_channels_that_are_mixed_stay() -> None:
    assert find_channels(canonical(Mixed)) == ()


def test_everything_but_one_channel_of_each_group_can_be_cut() -> None:
    model = canonical(Residual)
    removed = [channel for group in find_channels(model) for channel in group.channels[1:]]
    small = cut_channels(model, removed)
    onnx.checker.check_model(small, full_check=True)
    assert {len(group.channels) for group in find_channels(small)} == {1}
    assert sum(t.dims[0] for t in small.graph.initializer if len(t.dims) == 4) < 20
