"""GatherND, ScatterND and Einsum give the same once they are written as simpler operators."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks import Net, ops, run

from edge_vseg.export.graph.einsum import simplify_einsum
from edge_vseg.export.graph.fixed_indices import simplify_fixed_indices

SHAPE = (6, 5, 4, 3)
IMAGE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def grid(*axes: list[int]) -> np.ndarray:
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def check(model: onnx.ModelProto, simplify, gone: str) -> list[str]:
    expected = run(model, IMAGE)
    simplify(model)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(model, IMAGE), expected, rtol=1e-4, atol=1e-5)
    assert gone not in ops(model)
    return ops(model)


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([[2], [-1], [0]], ["Gather"]),
        (grid([0, 0, 1], [4, 2]), ["Gather", "Gather"]),
        ([[0, 1], [5, -1], [2, 2]], ["Reshape", "Gather"]),
        (grid([3, 1], [1], [0, 2, 2]), ["Gather"] * 3),
        (grid([0, 1], [1, 2])[..., ::-1].copy(), ["Reshape", "Gather"]),
    ],
    ids=["rows", "grid", "points", "cube", "turned grid"],
)
def test_gather(indices, expected):
    net = Net()
    model = net.model(net.node("GatherND", "image", net.const(indices, np.int64)), shape=SHAPE)
    assert check(model, simplify_fixed_indices, "GatherND") == expected


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([[1], [2], [3]], ["Slice", "Slice", "Concat"]),
        ([[0], [1]], ["Slice", "Concat"]),
        ([[4], [-1]], ["Slice", "Concat"]),
        ([[0], [2], [4]], ["Concat", "Gather"]),
        ([[3], [1]], ["Concat", "Gather"]),
        ([[1, 0], [1, 1]], ["Reshape", "Slice", "Slice", "Concat", "Reshape"]),
        (grid([0, 2], [1, 3]), ["Reshape", "Reshape", "Concat", "Gather", "Reshape"]),
    ],
    ids=["middle", "start", "end", "every other", "backwards", "deep", "deep grid"],
)
def test_scatter(indices, expected):
    net = Net()
    indices = np.asarray(indices)
    updates = np.random.default_rng(1).normal(size=(*indices.shape[:-1], *SHAPE[indices.shape[-1] :]))
    node = net.node("ScatterND", "image", net.const(indices, np.int64), net.const(updates))
    assert check(net.model(node, shape=SHAPE), simplify_fixed_indices, "ScatterND") == expected


def test_circular_padding():
    net = Net()
    pads = net.const([0, 0, 2, 1, 0, 0, 1, 2], np.int64)
    model = net.model(net.node("Pad", "image", pads, mode="wrap"), shape=SHAPE)
    assert check(model, simplify_fixed_indices, "Pad") == ["Gather", "Gather"]


@pytest.mark.parametrize(
    ("indices", "more"), [([[1], [1]], {}), ([[1], [2]], {"reduction": "add"})], ids=["twice", "sum"]
)
def test_scatter_that_is_no_copy_stays(indices, more):
    net = Net()
    updates = net.const(np.ones((2, *SHAPE[1:])))
    model = net.model(net.node("ScatterND", "image", net.const(indices, np.int64), updates, **more), shape=SHAPE)
    simplify_fixed_indices(model)
    assert ops(model) == ["ScatterND"]


@pytest.mark.parametrize(
    ("equation", "other"),
    [
        ("bchw,bcij->bhwij", (6, 5, 2, 3)),
        ("bchw,nc->bnhw", (7, 5)),
        ("bchw,bkc->bkhw", (6, 2, 5)),
        ("bchw,bchw->bhw", SHAPE),
        ("bchw,bchw->", SHAPE),
        ("bchw,c->bhwc", (5,)),
        ("abcd,de->eabc", (3, 2)),
    ],
)
def test_einsum(equation, other):
    net = Net()
    second = net.const(np.random.default_rng(1).normal(size=other))
    model = net.model(net.node("Einsum", "image", second, equation=equation), shape=SHAPE)
    assert "MatMul" in check(model, simplify_einsum, "Einsum")


@pytest.mark.parametrize("equation", ["bchw,bcij->bij", "b...,b...->b...", "bccw,c->bw"])
def test_einsum_of_another_kind_stays(equation):
    net = Net()
    model = net.model(net.node("Einsum", "image", "image", equation=equation), shape=SHAPE)
    simplify_einsum(model)
    assert ops(model) == ["Einsum"]
