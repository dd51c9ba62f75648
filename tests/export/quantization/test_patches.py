"""Sampled patches are those that torch's unfold gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import Net

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.quantization import patches
from edge_vseg.export.quantization.patches import (
    ConvGeometry,
    PatchMoments,
    conv_geometry,
    covariance_spans,
    cut_patches,
    draw_positions,
)

GEOMETRIES = {
    "plain": ConvGeometry(kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), group=1),
    "padded": ConvGeometry(kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads=(1, 1, 1, 1), group=1),
    "strided": ConvGeometry(kernel=(3, 3), strides=(2, 3), dilations=(1, 1), pads=(1, 1, 1, 1), group=1),
    "dilated": ConvGeometry(kernel=(3, 2), strides=(1, 1), dilations=(2, 3), pads=(2, 2, 2, 2), group=1),
    "grouped": ConvGeometry(kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads=(1, 1, 1, 1), group=2),
    "depthwise": ConvGeometry(kernel=(5, 3), strides=(2, 1), dilations=(1, 2), pads=(2, 2, 2, 2), group=4),
    "lopsided": ConvGeometry(kernel=(3, 3), strides=(2, 2), dilations=(1, 1), pads=(0, 0, 1, 1), group=1),
}


def image() -> np.ndarray:
    return np.random.default_rng(0).normal(1, 1, (4, 12, 15)).astype(np.float32)


def unfolded(geometry: ConvGeometry) -> np.ndarray:
    """All patches ``(N, C, kh, kw)`` by torch."""
    top, left, bottom, right = geometry.pads
    padded = torch.nn.functional.pad(torch.from_numpy(image()), (left, right, top, bottom))[None]
    columns = torch.nn.functional.unfold(padded, geometry.kernel, dilation=geometry.dilations, stride=geometry.strides)
    return columns[0].T.reshape(-1, 4, *geometry.kernel).numpy()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_patches_are_those_of_unfold(name):
    geometry = GEOMETRIES[name]
    every = {patch.tobytes() for patch in unfolded(geometry)}
    positions = draw_positions(geometry, (12, 15), 4000, np.random.default_rng(1))
    drawn = {p.tobytes() for p in cut_patches(image(), geometry, positions)}
    assert drawn == every, "4000 draws reach every position, borders included, and nothing else"


@pytest.mark.parametrize("name", GEOMETRIES)
def test_moments_are_those_of_all_patches(name):
    geometry = GEOMETRIES[name]
    moments = PatchMoments(geometry, 4)
    rng = np.random.default_rng(2)
    for _ in range(60):
        moments.see(image()[None], draw_positions(geometry, (12, 15), 400, rng))
    assert len(moments.spans) == 1
    mean, covariance = moments.mean(), moments.take_covariance(0)
    flat = unfolded(geometry).reshape(-1, geometry.group, covariance.shape[-1]).astype(np.float64)
    for group in range(geometry.group):
        np.testing.assert_allclose(mean[group], flat[:, group].mean(0), atol=0.05)
        np.testing.assert_allclose(covariance[group], np.cov(flat[:, group].T, bias=True), atol=0.12)


@pytest.mark.parametrize("name", ["strided", "grouped", "depthwise"])
@pytest.mark.parametrize("cap", [4000, 1500, 100])
def test_blocks_of_the_covariance_are_those_of_the_whole(name, cap, monkeypatch):
    geometry = GEOMETRIES[name]
    positions = draw_positions(geometry, (12, 15), 300, np.random.default_rng(3))
    whole = PatchMoments(geometry, 4)
    whole.see(image()[None], positions)
    monkeypatch.setattr(patches, "MAX_COVARIANCE_BYTES", cap)
    blocks = PatchMoments(geometry, 4)
    blocks.see(image()[None], positions)
    np.testing.assert_allclose(blocks.mean(), whole.mean())
    covariance = whole.take_covariance(0)
    for number, span in enumerate(blocks.spans):
        np.testing.assert_allclose(blocks.take_covariance(number), covariance[:, span, span], atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "channels", "group", "expected"),
    [
        pytest.param((3, 3), 512, 1, 1, id="resnet"),
        pytest.param((7, 7), 512, 1, 20, id="pan"),
        pytest.param((3, 3), 4096, 1, 43, id="upernet"),
        pytest.param((7, 7), 2048, 2048, 1, id="depthwise"),
        pytest.param((31, 31), 512, 512, 15, id="replknet"),
    ],
)
def test_what_is_kept_stays_below_the_cap(kernel, channels, group, expected):
    geometry = ConvGeometry(kernel=kernel, strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), group=group)
    spans = covariance_spans(geometry, channels)
    length = channels // group * kernel[0] * kernel[1]
    assert [s.start for s in spans] == [0, *(s.stop for s in spans[:-1])]
    assert spans[-1].stop == length
    assert 8 * group * sum((s.stop - s.start) ** 2 for s in spans) <= patches.MAX_COVARIANCE_BYTES
    assert len(spans) == expected
    if group == 1:
        assert all(span.start % (kernel[0] * kernel[1]) == 0 for span in spans), "whole channels"


def geometry_of(**attributes) -> ConvGeometry | None:
    net = Net()
    model = net.model(net.conv("image", 3, 6, **attributes))
    return conv_geometry(model.graph.node[0], GraphIndex(model))


def test_geometry_is_read():
    assert geometry_of(pads=[0, 1, 2, 3], strides=[2, 1], dilations=[1, 2], group=3) == ConvGeometry(
        kernel=(3, 3), strides=(2, 1), dilations=(1, 2), pads=(0, 1, 2, 3), group=3
    )


def test_geometry_defaults():
    net = Net()
    model = net.model(net.node("Conv", "image", net.const(np.zeros((4, 3, 1, 1)))))
    assert conv_geometry(model.graph.node[0], GraphIndex(model)) == ConvGeometry(
        kernel=(1, 1), strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), group=1
    )


def test_automatic_pads_and_other_operators_have_none():
    net = Net()
    model = net.model(
        net.node("Conv", net.node("Relu", "image"), net.const(np.zeros((4, 3, 3, 3))), auto_pad="SAME_UPPER")
    )
    index = GraphIndex(model)
    assert [conv_geometry(n, index) for n in model.graph.node] == [None, None]
