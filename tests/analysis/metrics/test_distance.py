"""mIoU by the distance from the last keyframe."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_vseg.analysis.metrics import ByDistance
from edge_vseg.types import IGNORE_ID


def test_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent reference")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (20, 12, 15), np.uint8)
    distances = [number % 7 for number in range(20)]
    labels = truth.copy()
    for one, distance in zip(labels, distances, strict=True):
        wrong = rng.random(one.shape) < 0.1 * distance
        one[wrong] = rng.integers(0, 4, wrong.sum())
    metric = ByDistance(6, max_distance=5)
    for one in zip(truth, labels, distances, strict=True):
        metric.add(*one)
    places = np.minimum(distances, 5)
    assert list(metric.miou) == list(metric.frames) == [0, 1, 2, 3, 4, 5]
    for place, miou in metric.miou.items():
        there = places == place
        pair = truth[there].reshape(-1), labels[there].reshape(-1)
        assert metric.frames[place] == there.sum()
        assert miou == pytest.approx(metrics.jaccard_score(*pair, average="macro"))
    assert metric.miou[0] == 1
    assert metric.miou[5] < 0.7


def test_only_distances_that_occurred_in_ascending_order() -> None:
    metric = ByDistance(2, max_distance=4)
    one = np.zeros((2, 2), np.uint8)
    for distance in (9, 1, np.int64(4), 4, 1000):
        metric.add(one, one, distance)
    assert metric.frames == {1: 1, 4: 4}
    assert list(metric.frames) == list(metric.miou) == [1, 4]


def test_frames_without_truth_have_no_miou() -> None:
    metric = ByDistance(2)
    unknown, one = np.full((2, 2), IGNORE_ID, np.uint8), np.zeros((2, 2), np.uint8)
    metric.add(unknown, one, 3)
    assert metric.frames == {3: 1}
    assert math.isnan(metric.miou[3])
    metric.add(one, one, 3)
    assert metric.miou == {3: 1.0}
