"""Percentiles in constant memory against numpy's of all values."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.analysis.percentiles import MAX_BINS, SKETCH_ACCURACY, Percentiles, PercentileSketch

MILLISECONDS = st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=300)
SHARES = st.floats(0, 1) | st.sampled_from((0.5, 0.9, 0.95, 0.99, 0.999))
CLOSE = SKETCH_ACCURACY + 1e-9


def filled(values: Iterable[float]) -> PercentileSketch:
    found = PercentileSketch()
    for value in values:
        found.add(value)
    return found


def of_all(values: Iterable[float], share: float) -> float:
    return float(np.quantile(list(values), share, method="inverted_cdf"))


@given(MILLISECONDS, SHARES)
def test_a_quantile_is_that_of_all_values(values: list[float], share: float) -> None:
    assert filled(values).quantile(share) == pytest.approx(of_all(values, share), rel=CLOSE)


@pytest.mark.parametrize("count", [2, 3, 7, 50, 99, 100, 101])
def test_percentiles_are_of_the_exact_rank(count: int) -> None:
    """Values so far apart that the wrong one cannot hide in the inaccuracy; all shares that end on a rank."""
    values = [1.2**rank for rank in range(count)]
    found = filled(values)
    shares = [rank / count for rank in range(1, count + 1)]
    assert [found.quantile(s) for s in shares] == [pytest.approx(of_all(values, s), rel=CLOSE) for s in shares]


@given(MILLISECONDS)
def test_count_mean_and_max_are_exact(values: list[float]) -> None:
    found = filled(values).percentiles()
    assert found is not None
    assert (found.count, found.max) == (len(values), max(values))
    assert found.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert found.p50 <= found.p90 <= found.p95 <= found.p99 <= found.p99_9 <= found.max


@given(st.lists(MILLISECONDS | st.just([]), min_size=2, max_size=5), SHARES)
def test_merging_adds_all(groups: list[list[float]], share: float) -> None:
    merged, parts = PercentileSketch(), [filled(group) for group in groups]
    for part in parts:
        merged.merge(part)
    values = [value for group in groups for value in group]
    assert merged.count == len(values)
    if values:
        assert merged.quantile(share) == pytest.approx(of_all(values, share), rel=CLOSE)
        assert merged.percentiles().mean == pytest.approx(np.mean(values))
    assert [part.count for part in parts] == [len(group) for group in groups], "the parts stay as they are"


def test_merged_sketches_share_no_memory() -> None:
    part, merged = filled([5.0]), PercentileSketch()
    merged.merge(part)
    merged.add(7.0)
    assert (part.count, part.quantile(1)) == (1, 5)


def test_no_percentiles_without_durations() -> None:
    empty = PercentileSketch()
    assert (empty.count, empty.percentiles(), empty.curve()) == (0, None, [])
    assert math.isnan(empty.quantile(0.5))


def test_all_percentiles_of_one_value_are_that_value() -> None:
    found = filled([3.7])
    assert found.percentiles() == Percentiles(count=1, mean=3.7, p50=3.7, p90=3.7, p95=3.7, p99=3.7, p99_9=3.7, max=3.7)
    assert {ms for ms, _ in found.curve(9)} == {3.7}


def test_zero_is_a_duration() -> None:
    """A change from frame to frame may be exactly 0."""
    found = filled([0.0] * 6 + [8.0] * 4)
    assert (found.quantile(0.5), found.quantile(0.6)) == (0, 0)
    assert found.quantile(0.61) == pytest.approx(8, rel=CLOSE)


@given(MILLISECONDS, st.integers(2, 60))
def test_the_curve_rises_to_all_of_the_durations(values: list[float], points: int) -> None:
    curve = filled(values).curve(points)
    milliseconds, shares = zip(*curve, strict=True)
    assert len(curve) == points
    assert (shares[0], shares[-1], milliseconds[-1]) == (0, 1, max(values))
    assert min(values) <= milliseconds[0] <= min(values) * (1 + 2 * CLOSE)
    assert list(milliseconds) == sorted(milliseconds)
    assert list(shares) == sorted(set(shares))


def test_memory_does_not_grow_and_what_is_slow_stays_accurate() -> None:
    """Over nine decades bins run out: the fastest are then lumped together, never the slowest."""
    values = 10 ** np.random.default_rng(0).uniform(-4, 5, 30_000)
    found = filled(map(float, values[:10_000]))
    before = len(pickle.dumps(found))
    for value in values[10_000:]:
        found.add(float(value))
    assert len(pickle.dumps(found)) < before + 1000
    assert sum(map(len, (found._sketch._store.bins, found._sketch._negative_store.bins))) <= MAX_BINS
    for share in (0.1, 0.5, 0.9, 0.99, 0.999):
        assert found.quantile(share) == pytest.approx(of_all(values, share), rel=CLOSE)
