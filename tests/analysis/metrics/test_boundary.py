"""Boundary F1: by hand, and against the distances of all pairs of boundary pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.analysis.metrics import BoundaryF
from edge_vseg.types import IGNORE_ID

TALL, WIDE = 30, 40
"""The diagonal is 50 pixels, so a tolerance of 0.1 is 5 of them."""


def upright(*columns: int, width: int = WIDE) -> np.ndarray:
    """Class 1 in some columns, 0 elsewhere."""
    labels = np.zeros((TALL, width), np.uint8)
    labels[:, list(columns)] = 1
    return labels


def scored(classes: int, truth: np.ndarray, labels: np.ndarray, tolerance: float = 0.1) -> BoundaryF:
    metric = BoundaryF(classes, tolerance)
    metric.add(truth, labels)
    return metric


def by_all_pairs(classes: int, truth: np.ndarray, labels: np.ndarray, tolerance: float) -> list[float]:
    """The definition, pixel by pixel and pair by pair."""
    height, width = truth.shape
    limit = tolerance * math.hypot(height, width)

    def boundary(of: np.ndarray, class_id: int) -> list[tuple[int, int]]:
        found = []
        for y in range(height):
            for x in range(width):
                beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                beside = [(v, u) for v, u in beside if 0 <= v < height and 0 <= u < width and truth[v, u] != IGNORE_ID]
                if truth[y, x] != IGNORE_ID and of[y, x] == class_id and any(of[p] != class_id for p in beside):
                    found.append((y, x))
        return found

    def matched(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        return sum(any(math.dist(p, q) < limit for q in others) for p in some) / len(some)

    scores = []
    for class_id in range(classes):
        true, found = boundary(truth, class_id), boundary(labels, class_id)
        if not true and not found:
            scores.append(math.nan)
        elif not true or not found:
            scores.append(0.0)
        else:
            precision, recall = matched(found, true), matched(true, found)
            scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return scores


def test_a_perfect_map_has_one() -> None:
    truth = np.random.default_rng(0).integers(0, 4, (TALL, WIDE), np.uint8)
    metric = scored(5, truth, truth)
    np.testing.assert_array_equal(metric.f1, [1, 1, 1, 1, np.nan])
    assert metric.mean_f1 == 1
    assert metric.images.tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(("shift", "expected"), [(1, 1.0), (4, 1.0), (5, 0.0), (6, 0.0)])
def test_a_shifted_border_counts_while_it_is_closer_than_the_tolerance(shift: int, expected: float) -> None:
    truth, labels = upright(*range(20, WIDE)), upright(*range(20 + shift, WIDE))
    np.testing.assert_array_equal(scored(2, truth, labels).f1, [expected, expected])


@pytest.mark.parametrize(("size_hw", "shift", "expected"), [((360, 480), 4, 1), ((360, 480), 5, 0), ((480, 640), 6, 0)])
def test_the_usual_tolerance_in_pixels(size_hw: tuple[int, int], shift: int, expected: float) -> None:
    """4.5 pixels at 480x360, and exactly 6 at 640x480."""
    truth, labels = np.zeros((2, *size_hw), np.uint8)
    truth[:, 200:], labels[:, 200 + shift :] = 1, 1
    metric = BoundaryF(2)
    metric.add(truth, labels)
    assert metric.mean_f1 == expected


@pytest.mark.parametrize(("down", "right", "expected"), [(3, 3, 1), (4, 2, 1), (3, 4, 0), (4, 3, 0), (4, 4, 0)])
def test_distances_are_euclidean(down: int, right: int, expected: float) -> None:
    """A pixel of its own class, three down and four right of where it should be: 5 pixels off, which are too many."""
    truth, labels = np.zeros((2, TALL, WIDE), np.uint8)
    truth[10, 10] = labels[10 + down, 10 + right] = 1
    assert scored(2, truth, labels).f1[1] == expected


def test_half_of_the_boundary_found() -> None:
    """Of the lines in columns 5 and 30 one is found: precision 1, recall 1/2."""
    metric = scored(2, upright(5, 30), upright(5))
    np.testing.assert_allclose(metric.f1, [2 / 3, 2 / 3])
    np.testing.assert_allclose(scored(2, upright(5), upright(5, 30)).f1, [2 / 3, 2 / 3])


def test_a_class_in_one_map_only_has_none() -> None:
    """Nor has what it was taken for, for that has no boundary left."""
    np.testing.assert_array_equal(scored(3, upright(5), upright()).f1, [0, 0, np.nan])
    np.testing.assert_array_equal(scored(3, upright(5), 2 * upright(5)).f1, [1, 0, 0])


def test_maps_without_boundaries_do_not_count() -> None:
    metric = scored(2, upright(), upright())
    assert np.isnan(metric.f1).all()
    assert math.isnan(metric.mean_f1)
    metric.add(upright(5, 30), upright(5))
    assert metric.mean_f1 == pytest.approx(2 / 3)


def test_borders_of_ignored_pixels_do_not_count() -> None:
    """Truth: 0, then nothing known, then 1. Where the prediction goes over from one to the other is not asked."""
    truth, labels = upright(*range(20, WIDE)), upright(*range(22, WIDE))
    truth[:, 15:25] = IGNORE_ID
    metric = scored(2, truth, labels)
    assert np.isnan(metric.f1).all()
    labels[:, 22:25] = 77
    metric.add(truth, labels)
    assert np.isnan(metric.f1).all()
    assert np.isnan(scored(2, truth, upright(*range(15, WIDE))).f1).all()
    # But a border beyond the unknown is one too many.
    np.testing.assert_array_equal(scored(2, truth, upright(*range(27, WIDE))).f1, [0, 0])


def test_means_over_images() -> None:
    metric = BoundaryF(3, 0.1)
    metric.add(upright(5, 30), upright(5))
    metric.add(2 * upright(5), 2 * upright(5))
    np.testing.assert_allclose(metric.f1, [(2 / 3 + 1) / 2, 2 / 3, 1])
    assert metric.images.tolist() == [2, 1, 1]
    # The first image has 2/3 and the second 1, however many classes there are in each.
    metric.add(upright(5), upright(6))
    assert metric.mean_f1 == pytest.approx((2 / 3 + 1 + 1) / 3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 14), st.integers(1, 4), st.floats(0.02, 0.9))
def test_against_all_pairs(seed: int, height: int, width: int, classes: int, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (height, width), np.uint8)
    labels = np.where(rng.random(truth.shape) < 0.8, truth, rng.integers(0, classes, truth.shape, np.uint8))
    truth[rng.random(truth.shape) < 0.15] = IGNORE_ID
    expected = by_all_pairs(classes, truth, labels, tolerance)
    np.testing.assert_allclose(scored(classes, truth, labels, tolerance).f1, expected)


def test_against_all_pairs_of_large_shapes() -> None:
    rng = np.random.default_rng(3)
    truth = np.kron(rng.integers(0, 3, (6, 8), np.uint8), np.ones((8, 8), np.uint8))
    labels = np.roll(truth, (1, -3), (0, 1))
    truth[20:24] = IGNORE_ID
    expected = by_all_pairs(3, truth, labels, 0.04)
    assert 0 < min(expected) < max(expected) < 1
    np.testing.assert_allclose(scored(3, truth, labels, 0.04).f1, expected)
