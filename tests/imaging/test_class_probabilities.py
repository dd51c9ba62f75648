"""Class probabilities against scipy's softmax and sigmoid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax

from edge_vseg.bundle.manifest import HeadSpec, Quantization, TensorSpec
from edge_vseg.imaging.class_probabilities import class_probabilities
from edge_vseg.imaging.label_maps import read_logits

SIZE_HW = (5, 7)


def given_by(raw: np.ndarray, kind: str, quantization: Quantization | None = None, **more: object) -> np.ndarray:
    """Probabilities of a graph's raw ``(C, h, w)`` output, as the device makes them."""
    spec = TensorSpec(name="out", shape=(1, *raw.shape), dtype=raw.dtype.name, layout="NCHW", quantization=quantization)
    head = HeadSpec(kind=kind, size_hw=SIZE_HW, **more)
    scores = read_logits(raw[None], spec, head)
    assert scores is not None
    found = class_probabilities(scores, head)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    winners = np.take_along_axis(found, scores.argmax(0)[None], axis=0)[0]
    np.testing.assert_array_equal(winners, found.max(axis=0))  # rounding may make ties
    return found


def normal(channels: int, seed: int = 0) -> np.ndarray:
    return (4 * np.random.default_rng(seed).normal(size=(channels, *SIZE_HW))).astype(np.float32)


def test_logits() -> None:
    np.testing.assert_allclose(given_by(normal(11), "scores"), softmax(normal(11), axis=0), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 11, 150])
def test_a_softmax_that_stays_in_the_graph(classes: int) -> None:
    own = softmax(normal(classes), axis=0)
    np.testing.assert_allclose(given_by(own, "scores", scores="probabilities"), own, atol=1e-3)


def test_a_softmax_in_8_bits() -> None:
    """TFLite's: 1/256 a step. A cell whose classes are all rounded to nothing has none that is likelier."""
    own = softmax(normal(11), axis=0)
    own[:, 0, 0] = 1e-4
    stored = np.clip(np.round(own * 256) - 128, -128, 127).astype(np.int8)
    found = given_by(stored, "scores", Quantization(scale=1 / 256, zero_point=-128), scores="probabilities")
    np.testing.assert_allclose(found[:, 1:], own[:, 1:], atol=0.02)
    np.testing.assert_allclose(found[:, 0, 0], 1 / 11, atol=1e-6)


@given(st.integers(2, 20), st.integers(0, 1000))
def test_sigmoids_keep_their_order(classes: int, seed: int) -> None:
    """They are of classes apart, and have to share 1: `given_by` checks the largest."""
    given_by(expit(normal(classes, seed)), "scores", scores="probabilities")


def test_a_foreground_that_is_a_probability_is_one() -> None:
    share = np.linspace(0, 1, 35, dtype=np.float32).reshape(1, *SIZE_HW)
    np.testing.assert_allclose(given_by(share, "foreground")[1:], share, atol=1e-5)
    np.testing.assert_allclose(given_by(share, "foreground", scores="probabilities")[1:], share, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.2, 0.7])
def test_a_foreground_with_another_threshold_is_as_likely_as_not_there(threshold: float) -> None:
    share = np.linspace(0, 1, 35, dtype=np.float32).reshape(1, *SIZE_HW)
    share[0, 0, 0] = threshold
    found = given_by(share, "foreground", threshold=threshold, scores="probabilities")[1]
    assert found[0, 0] == pytest.approx(0.5, abs=1e-6)
    inside = (share[0] > 1e-3) & (share[0] < 1 - 1e-3)
    odds = logit(share[0][inside].astype(np.float64)) - logit(threshold)
    np.testing.assert_allclose(found[inside], expit(odds), atol=1e-4)


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_a_foreground_of_logits_is_their_sigmoid(threshold: float) -> None:
    found = given_by(normal(1), "foreground", threshold=threshold, scores="logits")
    np.testing.assert_allclose(found[1], expit(normal(1)[0] - threshold), atol=1e-5)
