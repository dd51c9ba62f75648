"""What noise of the camera changes in the float network: the least that may be expected of any other arithmetic."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks import Net

from edge_vseg.export import ExportOptions, Normalization
from edge_vseg.export.camera_noise import noise_agreement
from edge_vseg.export.float_graph import FloatGraph, make_float_graph
from edge_vseg.export.source.source_network import open_source_network

NORM = Normalization(mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0), color="bgr")


def graph_of(model: onnx.ModelProto, tmp_path) -> FloatGraph:
    onnx.save(model, tmp_path / "net.onnx")
    network = open_source_network(str(tmp_path / "net.onnx"), weights=None, size_hw=None)
    return make_float_graph(network, ExportOptions(normalization=NORM))


def threshold(net: Net, level: float) -> onnx.ModelProto:
    """Two classes by the blue channel: above a level, or not; one grey level from it noise decides."""
    weight = np.zeros((2, 3, 1, 1), np.float32)
    weight[0, 0], weight[1, 0] = -1.0, 1.0
    x = net.node("Conv", "image", net.const(weight), net.const(np.array([2 * level, 0.0], np.float32)))
    return net.model(x)


def test_noise_changes_what_lies_on_the_border_and_nothing_else(tmp_path) -> None:
    graph = graph_of(threshold(Net(), 100.25), tmp_path)
    height, width = graph.size_hw
    picture = np.full((height, width, 3), 200, np.uint8)
    assert noise_agreement(graph, [picture], 0) == 1
    picture[: height // 2, :, 0] = 100  # half of the pixels: a third of them go up by a level, to the other class
    assert noise_agreement(graph, [picture] * 20, 0) == pytest.approx(1 - 0.5 / 3, abs=0.01)


def test_the_same_seed_gives_the_same_figure(tmp_path) -> None:
    graph = graph_of(threshold(Net(), 100.25), tmp_path)
    picture = np.full((*graph.size_hw, 3), 100, np.uint8)
    found = [noise_agreement(graph, [picture], seed) for seed in (7, 7, 8)]
    assert found[0] == found[1] != found[2]
