"""PRelu by products gives what PRelu gives."""

from __future__ import annotations

import numpy as np
import pytest
from networks import Net, frames, ops, ranges_of_all, run, scores, staged

from edge_vseg.export.graph.fast_prelu import with_fast_prelu
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for

SLOPES = {
    "Max": np.array([-0.3, 0.0, 0.25, 1.0]),
    "Min": np.array([1.0, 1.5, 2.0, 7.0]),
    "PRelu": np.array([-1.0, 0.5, 1.5, 2.0]),
}


@pytest.mark.parametrize("kept", SLOPES)
@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1)])
def test_the_results_are_the_same_bits(kept: str, shape: tuple[int, ...]) -> None:
    net = Net(seed=1)
    x = net.node("PRelu", net.conv("image", 3, 4), net.const(SLOPES[kept].reshape(shape)))
    model = net.model(x)
    fast = with_fast_prelu(model)
    assert set(ops(fast)) - {"Conv", "Mul"} == {kept}
    assert [output.name for output in fast.graph.output] == [x]
    image = np.random.default_rng(0).normal(0, 3, (1, 3, 24, 32)).astype(np.float32)
    np.testing.assert_array_equal(run(fast, image), run(model, image))


def test_one_slope_for_all_channels() -> None:
    net = Net(seed=1)
    model = net.model(net.node("PRelu", net.conv("image", 3, 4), net.const(0.25)))
    image = np.random.default_rng(0).normal(0, 3, (1, 3, 24, 32)).astype(np.float32)
    np.testing.assert_array_equal(run(with_fast_prelu(model), image), run(model, image))


def test_slopes_that_are_computed_stay() -> None:
    net = Net(seed=1)
    x = net.conv("image", 3, 4)
    model = net.model(net.node("PRelu", x, net.node("GlobalAveragePool", x)))
    assert with_fast_prelu(model) == model


def test_an_int8_graph_has_no_prelu() -> None:
    net = Net(seed=1)
    x = net.node("PRelu", net.conv("image", 3, 16), net.const(np.linspace(0.1, 0.4, 16).reshape(16, 1, 1)))
    model, images = staged(net.model(net.conv(x, 16, 4, 1))), frames(3)
    made = quantize_onnxruntime(model, ranges_of_all(model, images), recipe_for("x86_64"))
    assert "PRelu" not in ops(made)
    step = [np.ptp(each) for each in scores(model, images)]
    for a, b, span in zip(scores(made, images), scores(model, images), step, strict=True):
        assert np.abs(a - b).max() < 0.05 * span
