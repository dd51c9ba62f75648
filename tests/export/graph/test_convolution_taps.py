"""Convolutions whose outer taps lie in the padding, against the same convolutions whole."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import run
from onnx import helper, numpy_helper

from edge_vseg.export.graph.convolution_taps import drop_padding_taps
from edge_vseg.export.graph.index import attribute

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


def convolution(size_hw: tuple[int, int], kernel: tuple[int, int], **attributes: object) -> onnx.ModelProto:
    rng = np.random.default_rng(3)
    kernels = rng.normal(size=(4, 2, *kernel)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel", "bias"], ["y"], **attributes)],
        "convolution",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2, *size_hw])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernels, "kernel"), numpy_helper.from_array(kernels[:, 0, 0, 0].copy(), "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def kernel_of(model: onnx.ModelProto) -> tuple[int, ...]:
    (node,) = model.graph.node
    return next(tuple(t.dims)[2:] for t in model.graph.initializer if t.name == node.input[1])


@pytest.mark.parametrize(
    ("rate", "left"),
    [
        pytest.param(36, (1, 1), id="beyond both sides"),
        pytest.param(24, (1, 3), id="beyond the height"),
        pytest.param(15, (3, 3), id="a last row"),
        pytest.param(16, (1, 3), id="just beyond the height"),
    ],
)
def test_taps_of_an_atrous_convolution(rate: int, left: tuple[int, int]) -> None:
    model = convolution((16, 32), (3, 3), pads=[rate] * 4, dilations=[rate] * 2)
    cut = drop_padding_taps(model)
    assert kernel_of(cut) == left
    assert (cut is model) == (left == (3, 3))
    image = np.random.default_rng(0).normal(size=(1, 2, 16, 32)).astype(np.float32)
    np.testing.assert_allclose(run(cut, image), run(model, image), rtol=1e-5, atol=1e-5)
    onnx.checker.check_model(cut, full_check=True)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=PAIR,
    dilations=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    pads=st.lists(st.integers(0, 15), min_size=4, max_size=4),
)
def test_any_geometry_keeps_its_numbers(size, kernel, strides, dilations, pads):
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    assume(all(n + pads[a] + pads[a + 2] >= span for a, (n, span) in enumerate(zip(size, spans, strict=True))))
    model = convolution(size, kernel, pads=pads, strides=list(strides), dilations=list(dilations))
    cut = drop_padding_taps(model)
    image = np.random.default_rng(0).normal(size=(1, 2, *size)).astype(np.float32)
    np.testing.assert_allclose(run(cut, image), run(model, image), rtol=1e-4, atol=1e-5)
    assert min(attribute(cut.graph.node[0], "pads")) >= 0
