"""Pads that ``auto_pad`` means are written out, and every bit of the results stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import Net, frame, ops, run, tensor, upsample
from onnx import TensorProto, helper

from edge_vseg.export.graph.canonical import canonicalize
from edge_vseg.export.graph.explicit_pads import write_out_pads
from edge_vseg.export.graph.index import GraphIndex, attribute
from edge_vseg.export.quantization.patches import conv_geometry

MODES = ("SAME_UPPER", "SAME_LOWER", "VALID")
SIDES = st.tuples(st.integers(4, 11), st.integers(4, 11))
PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


def one_node(kind: str, size: tuple[int, int], kernel: tuple[int, int], **attributes: Any) -> onnx.ModelProto:
    rng = np.random.default_rng(sum(size))
    weights = []
    if "Conv" in kind:
        weights = [onnx.numpy_helper.from_array(rng.normal(size=(4, 4, *kernel)).astype(np.float32), "w")]
    node = helper.make_node(kind, ["x", *(each.name for each in weights)], ["y"], kernel_shape=kernel, **attributes)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, *size))
    graph = helper.make_graph([node], "g", [value], [helper.make_empty_tensor_value_info("y")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["Conv", "ConvTranspose", "MaxPool", "AveragePool"]),
    size=SIDES,
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=PAIR,
    mode=st.sampled_from(MODES),
    more=st.sampled_from([{}, {"count_include_pad": 1}, {"ceil_mode": 1}]),
)
def test_every_bit_stays(
    kind: str, size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], mode: str, more: dict[str, int]
) -> None:
    # ONNX Runtime refuses SAME where windows leave gaps.
    assume(mode == "VALID" or all(s <= k for s, k in zip(strides, kernel, strict=True)))
    if kind == "MaxPool":
        more = {name: value for name, value in more.items() if name == "ceil_mode"}
    elif kind != "AveragePool":
        more = {}
    model = one_node(kind, size, kernel, strides=strides, auto_pad=mode, **more)
    value = np.random.default_rng(0).normal(size=(1, 4, *size)).astype(np.float32)
    before = run(model, value)
    write_out_pads(model)
    (node,) = model.graph.node
    if not more:
        assert attribute(node, "auto_pad") is None
        assert attribute(node, "pads") is not None
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(run(model, value), before)


@pytest.mark.parametrize(
    ("mode", "size", "pads"),
    [("SAME_UPPER", 8, [0, 1]), ("SAME_LOWER", 8, [1, 0]), ("SAME_UPPER", 9, [1, 1]), ("VALID", 8, [0, 0])],
)
def test_at_stride_2_the_sides_differ(mode: str, size: int, pads: list[int]) -> None:
    """The standard's formula, for a kernel of 3: TensorFlow pads 8 columns behind and 9 on both sides."""
    model = one_node("Conv", (size, size), (3, 3), strides=(2, 2), auto_pad=mode)
    write_out_pads(model)
    assert attribute(model.graph.node[0], "pads") == [pads[0], pads[0], pads[1], pads[1]]


def test_a_pool_whose_last_window_sticks_out_stays_as_it_is() -> None:
    model = one_node("MaxPool", (8, 8), (3, 3), strides=(2, 2), auto_pad="VALID", ceil_mode=1)
    before = model.SerializeToString()
    write_out_pads(model)
    assert model.SerializeToString() == before


def tensorflow_like() -> onnx.ModelProto:
    net = Net(seed=5)

    def conv(x: str, inputs: int, outputs: int, kernel: int, **more: Any) -> str:
        weight = net.const(net.rng.normal(0, 0.3, (outputs, inputs // more.get("group", 1), kernel, kernel)))
        return net.node("Relu", net.node("Conv", x, weight, net.const(np.zeros(outputs)), **more))

    x = conv("image", 3, 8, 3, auto_pad="SAME_UPPER", strides=[2, 2])
    x = conv(x, 8, 8, 3, auto_pad="SAME_UPPER", group=8)
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    x = conv(x, 8, 8, 1, auto_pad="VALID")
    x = net.node("AveragePool", x, kernel_shape=[3, 3], auto_pad="SAME_LOWER")
    weight = net.const(net.rng.normal(0, 0.3, (8, 4, 3, 3)))
    x = net.node("ConvTranspose", x, weight, strides=[2, 2], auto_pad="SAME_UPPER")
    return net.model(upsample(net, x, 2))


def test_a_network_from_tensorflow_can_be_rounded_and_trained_everywhere() -> None:
    model = tensorflow_like()
    canonical, _ = canonicalize(model, None)
    assert [attribute(node, "auto_pad") for node in canonical.graph.node] == [None] * len(ops(canonical))
    index = GraphIndex(canonical)
    convolutions = [node for node in canonical.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 3
    assert all(conv_geometry(node, index) is not None for node in convolutions)
    value = tensor(frame(1))
    np.testing.assert_allclose(run(canonical, value), run(model, value), rtol=1e-5, atol=1e-5)
