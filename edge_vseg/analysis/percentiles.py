"""Percentiles of latencies: of samples in memory, and of a run without end in constant memory.

Reference: Masson et al., DDSketch, VLDB 2019, by the library of its authors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from ddsketch import LogCollapsingLowestDenseDDSketch

from edge_vseg.scheduling.quantiles import percentiles

SKETCH_ACCURACY = 0.005
"""Percentiles of a sketch are off by no more than this share of their value."""
MAX_BINS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Latency per frame in milliseconds; percentiles are interpolated between neighbours."""

    mean: float
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> LatencySummary:
        """Summarize at least one sample."""
        p50, p95, p99 = percentiles(samples, 50, 95, 99)
        return cls(mean=float(np.mean(samples)), p50=p50, p95=p95, p99=p99, max=float(max(samples)))


class Percentiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Percentiles in milliseconds by nearest rank; ``mean`` and ``max`` are exact."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p99_9: float
    max: float


class PercentileSketch:
    """Percentiles of any number of durations, in constant memory."""

    def __init__(self) -> None:
        self._sketch: Any = LogCollapsingLowestDenseDDSketch(relative_accuracy=SKETCH_ACCURACY, bin_limit=MAX_BINS)
        self._recent_median, self._next_update = math.nan, 1

    def add(self, milliseconds: float) -> None:
        """Add one duration."""
        self._sketch.add(milliseconds)

    def merge(self, other: PercentileSketch) -> None:
        """Add all durations of another sketch."""
        self._sketch.merge(other._sketch)

    @property
    def count(self) -> int:
        """Number of durations."""
        return int(self._sketch.count)

    def quantile(self, share: float) -> float:
        """The duration that a share of all durations does not exceed, by nearest rank rounded up.

        Rounding up keeps a p99 from being that of the faster of two frames. NaN without durations.
        """
        count = self.count
        if not count:
            return math.nan
        if count == 1 or math.ceil(share * count) >= count:
            return float(self._sketch._max)
        rank = max(0, math.ceil(share * count) - 1)
        # The sketch multiplies the share by the count again; half a rank more keeps rounding from giving the one below.
        value = float(self._sketch.get_quantile_value((rank + 0.5) / (count - 1)))
        return min(max(value, float(self._sketch._min)), float(self._sketch._max))

    def recent_median(self) -> float:
        """The median, at most a tenth of the durations old: cheap enough to ask for on every frame. NaN without any."""
        if self.count >= self._next_update:
            self._recent_median = self.quantile(0.5)
            self._next_update = self.count + 1 + self.count // 10
        return self._recent_median

    def percentiles(self) -> Percentiles | None:
        """All percentiles; ``None`` without durations."""
        if not self.count:
            return None
        shares = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999, "max": 1.0}
        values = {name: self.quantile(share) for name, share in shares.items()}
        return Percentiles(count=self.count, mean=float(self._sketch.avg), **values)

    def curve(self, points: int = 200) -> list[tuple[float, float]]:
        """The cumulative distribution: pairs of milliseconds and the share of durations up to them."""
        # Denser towards the slowest, the part of a latency distribution that is read.
        shares = [1 - (1 - at / (points - 1)) ** 2 for at in range(points)]
        return [(self.quantile(share), share) for share in shares] if self.count else []


def cumulative_curve(samples: Sequence[float]) -> list[tuple[float, float]]:
    """The cumulative distribution of samples: pairs of a sample and the share of samples up to it."""
    return [(sample, (number + 1) / len(samples)) for number, sample in enumerate(sorted(samples))]
