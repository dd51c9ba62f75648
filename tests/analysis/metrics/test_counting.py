"""Pairs of classes: maps of any memory layout, and more pixels than OpenCV's histograms can count."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.analysis.metrics import counting
from edge_vseg.analysis.metrics.counting import count_pairs, intersection_over_union, mean_of_defined
from edge_vseg.types import IGNORE_ID


def one_by_one(truth: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes + 1), np.int64)
    for true, found in zip(truth.reshape(-1).tolist(), labels.reshape(-1).tolist(), strict=True):
        if true != IGNORE_ID:
            counts[true, classes if found == IGNORE_ID else found] += 1
    return counts


@pytest.mark.parametrize("classes", [1, 7, 255])
def test_pixel_by_pixel(classes: int) -> None:
    rng = np.random.default_rng(classes)
    truth, labels = rng.integers(0, classes, (2, 30, 41), np.uint8)
    truth[rng.random(truth.shape) < 0.1] = IGNORE_ID
    labels[rng.random(truth.shape) < 0.1] = IGNORE_ID
    np.testing.assert_array_equal(count_pairs(truth, labels, classes), one_by_one(truth, labels, classes))


@pytest.mark.parametrize(
    "view",
    [np.transpose, np.flipud, np.fliplr, lambda m: m[::2, 1::3], lambda m: np.broadcast_to(m[:1], m.shape)],
    ids=["transposed", "upside down", "mirrored", "strided", "broadcast"],
)
def test_memory_layouts(view) -> None:
    truth, labels = np.random.default_rng(0).integers(0, 5, (2, 20, 31), np.uint8)
    ours = count_pairs(view(truth), view(labels), 5)
    np.testing.assert_array_equal(ours, one_by_one(view(truth), view(labels), 5))


def test_read_only_maps() -> None:
    truth, labels = np.random.default_rng(0).integers(0, 5, (2, 20, 31), np.uint8)
    truth.flags.writeable = labels.flags.writeable = False
    np.testing.assert_array_equal(count_pairs(truth, labels, 5), one_by_one(truth, labels, 5))


@pytest.mark.parametrize("most", [1, 31, 100, 10_000])
def test_bands_add_up(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, labels = np.random.default_rng(0).integers(0, 5, (2, 20, 31), np.uint8)
    monkeypatch.setattr(counting, "_EXACT_PIXELS", most)
    np.testing.assert_array_equal(count_pairs(truth, labels, 5), one_by_one(truth, labels, 5))


def test_more_pixels_of_a_pair_than_float32_can_count() -> None:
    map_of_one_class = np.broadcast_to(np.uint8(0), (4099, 4099))
    assert count_pairs(map_of_one_class, map_of_one_class, 1).tolist() == [[4099 * 4099, 0]]


def test_pixels_without_a_prediction_are_in_the_union() -> None:
    np.testing.assert_allclose(intersection_over_union(np.array([[3, 1, 2], [0, 4, 0]])), [3 / 6, 4 / 5])
    assert np.isnan(intersection_over_union(np.array([[3, 0, 0], [0, 0, 0]]))[1])


def test_mean_of_defined() -> None:
    assert mean_of_defined(np.array([1.0, np.nan, 3.0])) == 2
    assert mean_of_defined(np.array([np.nan]), 1.0) == 1
    assert np.isnan(mean_of_defined(np.array([np.nan])))
