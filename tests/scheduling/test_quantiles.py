"""Exact quantiles against the standard library and numpy."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.scheduling.quantiles import percentiles, upper_quantile

samples = st.lists(st.floats(0, 1e6), min_size=2, max_size=50)


@given(samples)
def test_percentiles_interpolate_as_the_standard_library_does(values: list[float]) -> None:
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    assert percentiles(values, *range(10, 100, 10)) == pytest.approx(tuple(deciles))


def test_percentiles_reach_from_the_smallest_to_the_largest() -> None:
    assert percentiles([3.0, 1.0, 2.0], 0, 50, 100) == (1.0, 2.0, 3.0)


@given(samples, st.floats(0, 1))
def test_upper_quantile_is_numpys_higher(values: list[float], share: float) -> None:
    assert upper_quantile(sorted(values), share) == np.quantile(values, share, method="higher")


def test_no_samples_have_no_quantiles() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentiles([], 50)
    with pytest.raises(ValueError, match="no samples"):
        upper_quantile([], 0.5)
