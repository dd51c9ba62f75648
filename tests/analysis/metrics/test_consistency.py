"""VC_n against its definition, clip by clip."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.analysis.metrics import VideoConsistency
from edge_vseg.types import IGNORE_ID


def fed(windows: tuple[int, ...], truth: np.ndarray, labels: np.ndarray) -> VideoConsistency:
    metric = VideoConsistency(windows)
    for pair in zip(truth, labels, strict=True):
        metric.add(*pair)
    return metric


def by_clips(window: int, truth: np.ndarray, labels: np.ndarray) -> tuple[list[float], list[float]]:
    """Share of constant, and of constant and right, of every clip with a pixel of constant true class."""
    constant, right = [], []
    for first in range(len(truth) - window + 1):
        true, found = truth[first : first + window], labels[first : first + window]
        steady = (true == true[0]).all(0) & (true[0] != IGNORE_ID)
        kept = (found == found[0]).all(0) & (found[0] != IGNORE_ID)
        if steady.any():
            constant.append((steady & kept).sum() / steady.sum())
            right.append((steady & (found == true).all(0)).sum() / steady.sum())
    return constant, right


def lively(rng: np.random.Generator, frames: int, rate: float, ignored: float) -> np.ndarray:
    """Maps in which a pixel gets a new class now and then."""
    maps = rng.integers(0, 3, (frames, 4, 5), np.uint8)
    maps[rng.random(maps.shape) < ignored] = IGNORE_ID
    for number in range(1, frames):
        keep = rng.random((4, 5)) >= rate
        maps[number][keep] = maps[number - 1][keep]
    return maps


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 14),
    st.sets(st.integers(2, 9), min_size=1, max_size=3),
    st.sampled_from([0.02, 0.1, 0.4]),
    st.sampled_from([0.0, 0.1]),
)
def test_against_the_definition(seed: int, frames: int, windows: set[int], rate: float, ignored: float) -> None:
    rng = np.random.default_rng(seed)
    truth = lively(rng, frames, rate, ignored)
    labels = np.where(rng.random((4, 5)) < 0.7, truth, lively(rng, frames, rate, ignored))
    metric = fed(tuple(windows), truth, labels)
    for window in windows:
        constant, right = by_clips(window, truth, labels)
        assert metric.clips[window] == len(constant)
        expected = [np.mean(constant), np.mean(right)] if constant else [math.nan, math.nan]
        np.testing.assert_allclose([metric.vc[window], metric.vc_right[window]], expected)


def test_by_hand() -> None:
    """Clips of two frames: in the first, two pixels are steady and one of them kept; in the second, three and three."""
    truth = np.array([[[0, 0, 1]], [[0, 1, 1]], [[0, 1, 1]]], np.uint8)
    labels = np.array([[[0, 0, 0]], [[0, 0, 1]], [[0, 0, 1]]], np.uint8)
    metric = fed((2, 3), truth, labels)
    assert metric.vc == {2: pytest.approx((1 / 2 + 1) / 2), 3: pytest.approx(1 / 2)}
    assert metric.vc_right == {2: pytest.approx((1 / 2 + 2 / 3) / 2), 3: pytest.approx(1 / 2)}
    assert metric.clips == {2: 2, 3: 1}


def test_a_frozen_map_is_steady_and_not_right() -> None:
    truth = np.zeros((10, 4, 6), np.uint8)
    truth[:, :, 3:] = 1
    frozen = np.zeros_like(truth)
    metric = fed((2, 8), truth, frozen)
    assert metric.vc == {2: 1.0, 8: 1.0}
    assert metric.vc_right == {2: 0.5, 8: 0.5}
    assert fed((8,), truth, np.full_like(truth, 7)).vc_right == {8: 0.0}


def test_videos_shorter_than_the_clip_have_none() -> None:
    metric = fed((2, 8), np.zeros((7, 3, 3), np.uint8), np.zeros((7, 3, 3), np.uint8))
    assert metric.vc[2] == metric.vc_right[2] == 1.0
    assert math.isnan(metric.vc[8])
    assert math.isnan(metric.vc_right[8])
    assert metric.clips == {2: 6, 8: 0}


def test_ignored_pixels_break_clips() -> None:
    truth = np.zeros((9, 1, 2), np.uint8)
    truth[4, 0, 0] = IGNORE_ID
    labels = np.zeros_like(truth)
    labels[:, 0, 0] = np.arange(9)
    # The left pixel never is in a clip of five, and its unsteady prediction does not matter.
    assert fed((5,), truth, labels).vc == {5: 1.0}
    assert fed((4,), truth, labels).vc == {4: pytest.approx((0.5 + 4 * 1 + 0.5) / 6)}


def test_no_clip_reaches_over_a_cut() -> None:
    truth = np.zeros((2, 5, 3, 3), np.uint8)
    labels = np.stack([np.zeros_like(truth[0]), np.ones_like(truth[0])])
    metric = VideoConsistency((4,))
    for number in range(2):
        for pair in zip(truth[number], labels[number], strict=True):
            metric.add(*pair)
        metric.cut()
    assert metric.clips == {4: 4}
    assert metric.vc == {4: 1.0}
    assert metric.vc_right == {4: 0.5}
    metric.add(np.zeros((7, 8), np.uint8), np.zeros((7, 8), np.uint8))


@pytest.mark.parametrize("window", [254, 255, 256, 300])
def test_long_windows(window: int) -> None:
    """Run lengths must not wrap at 256, and have to stop at the window."""
    frames = 530
    still = np.zeros((frames, 1, 1), np.uint8)
    flickers = still.copy()
    flickers[window + 1] = 1
    metric = fed((window,), still, flickers)
    constant, _ = by_clips(window, still, flickers)
    assert 0 < np.mean(constant) < 1
    assert metric.vc == {window: pytest.approx(np.mean(constant))}
    assert metric.clips == {window: frames - window + 1}


def test_windows_are_sorted_and_single() -> None:
    assert list(VideoConsistency((16, 8, 16)).vc) == [8, 16]
    assert list(VideoConsistency().vc) == [8, 16]
