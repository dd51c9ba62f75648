"""Exact quantiles of samples that are held in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def percentiles(samples: Sequence[float] | NDArray[np.floating], *percents: float) -> tuple[float, ...]:
    """Percentiles of samples, with linear interpolation between neighbours.

    Args:
        samples: At least one value, in any order.
        percents: 0 (the smallest) to 100 (the largest), such as ``50, 95, 99``.

    Raises:
        ValueError: If there are no samples.

    Reference: Hyndman & Fan, Sample Quantiles in Statistical Packages, 1996, definition 7; numpy's default.
    """
    if len(samples) == 0:
        raise ValueError("percentiles of no samples")
    return tuple(float(value) for value in np.percentile(samples, percents))


def upper_quantile(ascending: Sequence[float], share: float) -> float:
    """The sample at a quantile, or the next larger one: never an optimistic figure, and no numpy call on every frame.

    Args:
        ascending: At least one value, sorted.
        share: 0 to 1.

    Returns:
        What ``numpy.quantile(ascending, share, method="higher")`` gives.

    Raises:
        ValueError: If there are no samples.
    """
    if not ascending:
        raise ValueError("a quantile of no samples")
    return ascending[math.ceil(share * (len(ascending) - 1))]
