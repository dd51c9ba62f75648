"""Quantiles of any number of durations in constant memory.

Reference: Masson et al., DDSketch, VLDB 2019, by the library of its authors.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from edge_vseg.errors import BackendMissingError

ACCURACY = 0.005
"""Quantiles are off by no more than this share of their value."""
MAX_BINS = 2048


class Quantiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of some durations, in milliseconds; the mean and the largest are exact."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p99_9: float
    max: float


class Durations:
    """Durations in milliseconds, of which quantiles are asked.

    Raises:
        BackendMissingError: If the extra ``profile`` is not installed.
    """

    def __init__(self) -> None:
        self._sketch: Any = _new_sketch()
        self._usual, self._next_usual = math.nan, 1

    def add(self, milliseconds: float) -> None:
        """Count one."""
        self._sketch.add(milliseconds)

    def merge(self, other: Durations) -> None:
        """Count all of another one's."""
        self._sketch.merge(other._sketch)

    @property
    def count(self) -> int:
        """How many there were."""
        return int(self._sketch.count)

    def quantile(self, share: float) -> float:
        """The value that a share of them does not exceed, by ceiling rank, so that a p99 is never of the easier frame.

        NaN when there were none.
        """
        count = self.count
        if not count:
            return math.nan
        if count == 1 or math.ceil(share * count) >= count:
            return float(self._sketch._max)
        rank = max(0, math.ceil(share * count) - 1)
        # The sketch takes a share and multiplies it again: half a rank on top, or rounding may give the frame before.
        found = float(self._sketch.get_quantile_value((rank + 0.5) / (count - 1)))
        return min(max(found, float(self._sketch._min)), float(self._sketch._max))

    def usual(self) -> float:
        """The median, or that of a little while ago: it is looked up anew when a tenth has been added."""
        if self.count >= self._next_usual:
            self._usual = self.quantile(0.5)
            self._next_usual = self.count + 1 + self.count // 10
        return self._usual

    def quantiles(self) -> Quantiles | None:
        """All figures; ``None`` when there were no durations."""
        if not self.count:
            return None
        named = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999, "max": 1.0}
        found = {name: self.quantile(share) for name, share in named.items()}
        return Quantiles(count=self.count, mean=float(self._sketch.avg), **found)

    def curve(self, points: int = 200) -> list[tuple[float, float]]:
        """The cumulative distribution: pairs of milliseconds and the share of durations up to them."""
        # Denser at the end, where what matters of a latency is.
        shares = [1 - (1 - at / (points - 1)) ** 2 for at in range(points)]
        return [(self.quantile(share), share) for share in shares] if self.count else []


def _new_sketch() -> Any:
    try:
        from ddsketch import LogCollapsingLowestDenseDDSketch
    except ImportError as exc:
        raise BackendMissingError("profiling needs ddsketch: pip install 'edge-vseg[profile]'") from exc
    return LogCollapsingLowestDenseDDSketch(relative_accuracy=ACCURACY, bin_limit=MAX_BINS)
