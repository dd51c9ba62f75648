"""Weights on the int8 grid, against plain rounding and against all roundings there are."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Net, frames, ops, scores, segmenter_onnx, staged
from onnx import numpy_helper

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.quantization import layer_moments, patches
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation, measure_ranges
from edge_vseg.export.quantization.rounding import nearest_in_output, round_weights

IMAGES = frames(6)


def layers(model: onnx.ModelProto) -> list[tuple[np.ndarray, np.ndarray]]:
    index = GraphIndex(model)
    convs = [n for n in model.graph.node if n.op_type == "Conv"]
    return [tuple(np.asarray(index.constant(name), np.float64) for name in n.input[1:3]) for n in convs]


def rounded(model: onnx.ModelProto, levels: int = 127) -> onnx.ModelProto:
    return round_weights(model, IMAGES, np.random.default_rng(0), (levels,))[levels]


def case(seed: int, outputs: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and a covariance with strong correlations."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(length, length)) * rng.uniform(0.05, 3, length)
    return rng.normal(size=(outputs, length)), mix @ mix.T / length


def plain(weight: np.ndarray, levels: int) -> np.ndarray:
    step = np.abs(weight).max(1, keepdims=True) / levels
    return np.round(weight / step) * step


def output_error(weight: np.ndarray, made: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    error = weight - made
    return np.einsum("oi,ij,oj->o", error, covariance, error)


@pytest.mark.parametrize("levels", [127, 64])
def test_weights_lie_on_the_grid_of_their_channel(levels):
    model = staged(segmenter_onnx())
    made = rounded(model, levels)
    for (weight, _), (original, _) in zip(layers(made), layers(model), strict=True):
        largest = np.abs(original).max((1, 2, 3), keepdims=True)
        integers = weight / (largest / levels)
        np.testing.assert_allclose(integers, np.round(integers), atol=1e-4)
        np.testing.assert_allclose(np.abs(integers).max((1, 2, 3)), levels, rtol=1e-6)
        # On the grid, and nowhere far from where the weight was.
        assert np.abs(weight - original).max() < 40 * (largest / levels).max()


@pytest.mark.parametrize("target", ["x86_64", "x86_64-avx2", "arm64", "jetson"])
def test_onnxruntimes_quantizer_finds_these_very_integers(target):
    recipe = recipe_for(target)
    made = rounded(staged(segmenter_onnx()), recipe.levels)
    quantized = quantize_onnxruntime(made, measure_ranges(made, IMAGES), recipe)
    index = GraphIndex(quantized)
    convs = [n for n in quantized.graph.node if n.op_type == "Conv"]
    assert len(convs) == 2
    for node, (weight, _) in zip(convs, layers(made), strict=True):
        dequantize = index.producer[node.input[1]]
        stored, scale, zero = (np.asarray(index.constant(name)) for name in dequantize.input)
        assert stored.dtype == np.int8
        assert not zero.any()
        back = stored.astype(np.float64) * scale.astype(np.float64)[:, None, None, None]
        np.testing.assert_allclose(back, weight, rtol=1e-6, atol=1e-9)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 12), st.sampled_from([127, 64, 7]))
def test_never_worse_than_plain_rounding(seed, outputs, length, levels):
    weight, covariance = case(seed, outputs, length)
    made = nearest_in_output(weight, covariance, levels)
    step = np.abs(weight).max(1, keepdims=True) / levels
    np.testing.assert_allclose(made / step, np.round(made / step), atol=1e-9)
    assert np.abs(made / step).max() <= levels + 1e-9
    ours, theirs = (output_error(weight, m, covariance) for m in (made, plain(weight, levels)))
    assert (ours <= theirs * (1 + 1e-9) + 1e-15).all()


def against_all_roundings(seed: int, length: int) -> tuple[float, float]:
    """What the best of all combinations of the five integers around each weight gains over plain rounding, and we."""
    levels = 7
    weight, covariance = case(seed, 1, length)
    largest = np.abs(weight).max()
    step = largest / levels
    choices = [
        [w]
        if abs(w) == largest
        else [step * k for k in np.clip(np.round(w / step) + np.arange(-2, 3), -levels, levels)]
        for w in weight[0]
    ]
    best = min(float(output_error(weight, np.array([c]), covariance)[0]) for c in itertools.product(*choices))
    ours = float(output_error(weight, nearest_in_output(weight, covariance, levels), covariance)[0])
    start = float(output_error(weight, plain(weight, levels), covariance)[0])
    assert best <= ours * (1 + 1e-9) + 1e-15
    return start - best, start - ours


def test_most_of_the_possible_gain_is_taken():
    gains = np.array([against_all_roundings(seed, 2 + seed % 3) for seed in range(200)])
    assert (gains[:, 0] > 0).sum() > 30
    assert gains[:, 1].sum() > 0.7 * gains[:, 0].sum()


def one_by_one(weight: np.ndarray, covariance: np.ndarray, levels: int) -> np.ndarray:
    """QuantEase as its paper has it: one value after the other, and the whole error again for each."""
    step = np.abs(weight).max(1, keepdims=True) / levels
    fixed = np.abs(weight) == np.abs(weight).max(1, keepdims=True)
    damped = covariance + np.eye(len(covariance)) * (0.01 * np.trace(covariance) / len(covariance) + 1e-12)
    integers = np.round(weight / step)
    for _ in range(6):
        for i in range(weight.shape[1]):
            pull = (weight - integers * step) @ damped[:, i] / (damped[i, i] * step[:, 0])
            new = np.clip(np.round(integers[:, i] + pull), -levels, levels)
            integers[:, i] = np.where(fixed[:, i], integers[:, i], new)
    return integers * step


@pytest.mark.parametrize("length", [1, 12, 64, 65, 200])
def test_blocks_give_what_one_value_after_the_other_gives(length):
    weight, covariance = case(length, 24, length)
    expected = one_by_one(weight, covariance, 31)
    np.testing.assert_allclose(nearest_in_output(weight, covariance, 31), expected, atol=1e-9)
    assert length == 1 or np.abs(expected - plain(weight, 31)).max() > 0


@pytest.mark.parametrize("kind", [{}, {"group": 4}, {"group": 8}, {"group": 2}], ids=str)
def test_batches_of_layers_change_nothing(kind, monkeypatch):
    """One layer at a time, each with a pass over the frames of its own."""
    net = Net(seed=4)
    x = net.node("Relu", net.conv("image", 3, 8))
    y = net.node("Relu", net.conv(x, 8, 8, **kind))
    model = staged(net.model(net.conv(net.node("Add", x, y), 8, 8)))
    expected = rounded(model, 15).SerializeToString()
    monkeypatch.setattr(layer_moments, "MAX_COVARIANCE_BYTES", 1)
    sessions = []
    monkeypatch.setattr(
        layer_moments, "_inputs", lambda *args, real=layer_moments._inputs: sessions.append(0) or real(*args)
    )
    assert rounded(model, 15).SerializeToString() == expected
    assert len(sessions) == 3


def test_a_large_layer_is_rounded_in_blocks_and_still_better_than_plainly(monkeypatch):
    net = Net(seed=4)
    x = net.node("Relu", net.conv("image", 3, 16))
    model = staged(net.model(net.conv(x, 16, 8)))
    whole = np.square(np.stack(scores(rounded(model, 15), IMAGES)) - np.stack(scores(model, IMAGES))).sum()
    monkeypatch.setattr(patches, "MAX_COVARIANCE_BYTES", 8 * 144 * 36)  # four channels of sixteen together
    ours = np.square(np.stack(scores(rounded(model, 15), IMAGES)) - np.stack(scores(model, IMAGES))).sum()
    monkeypatch.setattr(patches, "MAX_COVARIANCE_BYTES", 1)
    theirs = np.square(np.stack(scores(rounded(model, 15), IMAGES)) - np.stack(scores(model, IMAGES))).sum()
    assert whole < ours < 0.9 * theirs


def test_dead_and_constant_channels():
    weight = np.array([[0.0, 0, 0], [1.0, 1, -1], [0, 0, 1e-30]])
    made = nearest_in_output(weight, np.zeros((3, 3)))
    np.testing.assert_allclose(made, weight, rtol=1e-6)


def test_the_bias_takes_the_mean_error():
    """On the frames that were seen, no channel of the first layer is off on average."""
    net = Net(seed=1)
    model = staged(net.model(net.conv("image", 3, 8, 1)))
    made = rounded(model, 7)
    truth, ours = (np.stack(scores(m, IMAGES)) for m in (model, made))
    off = np.abs((ours - truth).mean((0, 1, 3, 4)))
    without = onnx.ModelProto.FromString(made.SerializeToString())
    bias = next(t for t in without.graph.initializer if t.name.endswith(".bias8"))
    bias.CopyFrom(numpy_helper.from_array(layers(model)[0][1].astype(np.float32), bias.name))
    uncorrected = np.abs((np.stack(scores(without, IMAGES)) - truth).mean((0, 1, 3, 4)))
    assert uncorrected.max() > 0.01
    assert off.max() < 0.15 * uncorrected.max()


def test_a_convolution_without_bias_gets_one():
    net = Net(seed=1)
    model = staged(net.model(net.conv("image", 3, 8, bias=False)))
    node = next(n for n in rounded(model).graph.node if n.op_type == "Conv")
    assert len(node.input) == 3


@pytest.mark.parametrize(
    "kind", [{}, {"group": 4}, {"group": 8}, {"strides": [2, 2]}, {"dilations": [2, 2], "pads": [2] * 4}], ids=str
)
def test_closer_to_float_than_plain_rounding(kind):
    net = Net(seed=4)
    x = net.node("Relu", net.conv("image", 3, 8))
    model = staged(net.model(net.conv(x, 8, 8, **kind)))
    made, nearest = rounded(model, 15), onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in nearest.graph.initializer:
        if len(tensor.dims) == 4 and not tensor.name.startswith("frame"):
            value = numpy_helper.to_array(tensor).astype(np.float64)
            flat = plain(value.reshape(len(value), -1), 15).reshape(value.shape)
            tensor.CopyFrom(numpy_helper.from_array(flat.astype(np.float32), tensor.name))
    truth, ours, theirs = (np.stack(scores(m, IMAGES)) for m in (model, made, nearest))
    assert np.square(ours - truth).sum() < 0.8 * np.square(theirs - truth).sum()


def test_the_seed_decides():
    model = staged(segmenter_onnx())
    assert rounded(model).SerializeToString() == rounded(model).SerializeToString()


def test_other_operators_are_left_alone():
    model = staged(segmenter_onnx())
    assert ops(rounded(model)) == ops(model)


def test_several_grids_at_once_are_what_each_is_alone():
    model = staged(segmenter_onnx())
    together = round_weights(model, IMAGES, np.random.default_rng(0), (127, 64))
    for levels in (127, 64):
        for ours, theirs in zip(layers(together[levels]), layers(rounded(model, levels)), strict=True):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_preparation_measures_once_for_all_its_grids():
    said: list[str] = []
    prepared = Int8Preparation(staged(segmenter_onnx()), IMAGES, 0, progress=said.append, grids={64})
    prepared.weights((), levels=64)
    _ = prepared.ranges
    assert said.count("rounding weights") == 1
    lone = Int8Preparation(staged(segmenter_onnx()), IMAGES, 0)
    assert prepared.weights((), levels=64) == lone.weights((), levels=64)
    assert prepared.weights(()) == lone.weights(())
