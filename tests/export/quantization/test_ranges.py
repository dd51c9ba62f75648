"""Ranges of activations, against plain computation on all values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_vseg.export.quantization.ranges import BINS, LEVELS, RangeObserver

VALUES = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=20), elements=VALUES)


@given(st.lists(ARRAYS, min_size=1, max_size=5))
def test_extremes_are_exact(arrays):
    observer = RangeObserver()
    for array in arrays:
        observer.see(array)
    assert observer.extremes() == (
        min(0.0, *(float(a.min()) for a in arrays)),
        max(0.0, *(float(a.max()) for a in arrays)),
    )


@given(st.lists(ARRAYS, min_size=1, max_size=6))
def test_merging_loses_no_counts(arrays):
    observer, seen = RangeObserver(), 0
    for array in arrays:
        observer.see(array)
        # Zeros before anything else are no information about a scale.
        seen += array.size if observer._exponent is not None else 0
        assert observer._counts.sum() == seen


@given(st.lists(ARRAYS, min_size=2, max_size=6))
def test_growing_values_are_counted_where_they_belong(arrays):
    """Laid out small and merged often, the histogram still holds each value in the right bin, or beside it."""
    observer = RangeObserver()
    observer.see(np.full(1, 1e-3, np.float32))
    for array in sorted(arrays, key=lambda a: np.abs(a).max()):
        observer.see(array)
    values = np.concatenate([np.full(1, 1e-3, np.float32), *(a.ravel() for a in arrays)]).astype(np.float64)
    edge = 2.0**observer._exponent
    wanted = np.cumsum(np.histogram(values, BINS, (-edge, edge))[0])
    counted = np.cumsum(observer._counts)
    assert (counted[1:] >= wanted[:-1]).all()
    assert (counted[:-1] <= wanted[1:]).all()


@given(ARRAYS)
def test_the_range_lies_inside_the_extremes_and_holds_zero(array):
    observer = RangeObserver()
    observer.see(array)
    low, high = observer.least_error()
    assert observer.low <= low <= 0 <= high <= observer.high


def error_of(values: np.ndarray, low: float, high: float) -> float:
    """Mean squared error of quantizing every value, rounding included."""
    step = (high - low) / LEVELS
    clipped = np.clip(values, low, high)
    return float(np.mean((values - (np.round((clipped - low) / step) * step + low)) ** 2))


def brute_force(values: np.ndarray) -> float:
    low, high = min(0.0, values.min()), max(0.0, values.max())
    shrinks = np.linspace(0.05, 1.0, 60)
    pairs = [(a * low, b * high) for a in (shrinks if low else [0]) for b in (shrinks if high else [0])]
    return min(error_of(values, a, b) for a, b in pairs if b > a)


def draw(kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    match kind:
        case "normal":
            values = rng.normal(0, 1, 20000)
        case "half normal":
            values = np.maximum(rng.normal(0, 1, 20000), 0)
        case "laplace":
            values = rng.laplace(0, 1, 20000)
        case "uniform":
            values = rng.uniform(-1, 3, 20000)
        case "outlier":
            values = np.append(rng.normal(0, 1, 20000), 12.0)
        case "negative":
            values = -np.abs(rng.normal(0, 1, 20000))
        case "skewed":
            values = rng.gamma(1.0, 1.0, 20000) - 0.5
    return values.astype(np.float32)


@pytest.mark.parametrize("kind", ["normal", "half normal", "laplace", "uniform", "outlier", "negative", "skewed"])
def test_least_error_is_near_the_best_there_is(kind):
    values = draw(kind)
    observer = RangeObserver()
    for part in np.split(values[:20000], 10):
        observer.see(part)
    observer.see(values[20000:] if len(values) > 20000 else values[:1])
    assert error_of(values, *observer.least_error()) <= 1.1 * brute_force(values)


def test_outliers_are_clipped_where_that_is_cheaper():
    rng, observer = np.random.default_rng(0), RangeObserver()
    for _ in range(40):
        observer.see(rng.normal(0, 1, 50000).astype(np.float32))
    observer.see(np.full(1, 15, np.float32))
    assert observer.extremes()[1] == 15
    assert 4 < observer.least_error()[1] < 12


def test_nothing_but_zeros():
    observer = RangeObserver()
    observer.see(np.zeros((1, 3, 4, 4), np.float32))
    assert observer.least_error() == (0.0, 0.0)


@pytest.mark.parametrize("value", [1e-38, 1e-44, 3e38])
def test_extraordinary_magnitudes(value):
    observer = RangeObserver()
    observer.see(np.array([value, 0, value / 2], np.float32))
    low, high = observer.least_error()
    assert low == 0
    assert 0 < high <= np.float32(value)


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 400_000))
def test_large_tensors_are_sampled(size):
    observer = RangeObserver()
    observer.see(np.linspace(-1, 1, size, dtype=np.float32))
    assert observer._counts.sum() <= 1 << 16
    assert observer._counts.sum() >= min(size, 1 << 14)
