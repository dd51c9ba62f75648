"""A run by time, in a bounded number of intervals: at the limit, neighbours are merged and the width doubles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from edge_vseg.analysis.percentiles import Percentiles, PercentileSketch


class Interval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One interval of a run.

    Attributes:
        from_s: Its start, in seconds since the start of the run.
        to_s: Its end.
        latency_ms: Latency of its frames; ``None`` without frames.
        decisions: Frames by decision, as :attr:`edge_vseg.decision.Decision.summary` names it.
        dropped: Frames that arrived and were not segmented.
        missed: Frames over the limit.
    """

    from_s: float
    to_s: float
    latency_ms: Percentiles | None
    decisions: dict[str, int]
    dropped: int
    missed: int


class Timeline:
    """Counts frames by time.

    Args:
        width_s: Seconds per interval at first.
        max_intervals: Number of intervals at which neighbours are merged and the width doubles.
    """

    def __init__(self, width_s: float, max_intervals: int) -> None:
        self.width_s = width_s
        self._max_intervals = max_intervals
        self._rows: list[_Row] = []
        self._end_s = 0.0

    def add(self, at_s: float, milliseconds: float, decision: str, *, dropped: int, missed: bool) -> None:
        """Count a frame.

        Args:
            at_s: Seconds since the start of the run.
            milliseconds: Its latency.
            decision: What was done for it, in a few words.
            dropped: Frames dropped between the previous one and this one.
            missed: Whether it was over the limit.
        """
        while (index := int(at_s / self.width_s)) >= self._max_intervals:
            self._merge_neighbours()
        while len(self._rows) <= index:
            self._rows.append(_Row())
        self._end_s = max(self._end_s, at_s)
        row = self._rows[index]
        row.latency.add(milliseconds)
        row.decisions[decision] += 1
        row.dropped += dropped
        row.missed += missed

    def __iter__(self) -> Iterator[Interval]:
        """All intervals, including those without frames."""
        for index, row in enumerate(self._rows):
            start = index * self.width_s
            yield Interval(
                from_s=start,
                to_s=max(start, min(start + self.width_s, self._end_s)),
                latency_ms=row.latency.percentiles(),
                decisions=dict(row.decisions),
                dropped=row.dropped,
                missed=row.missed,
            )

    def _merge_neighbours(self) -> None:
        for index in range(0, len(self._rows) - 1, 2):
            self._rows[index].merge(self._rows[index + 1])
        self._rows = self._rows[::2]
        self.width_s *= 2


class _Row:
    __slots__ = ("decisions", "dropped", "latency", "missed")

    def __init__(self) -> None:
        self.latency = PercentileSketch()
        self.decisions: Counter[str] = Counter()
        self.dropped = 0
        self.missed = 0

    def merge(self, other: _Row) -> None:
        self.latency.merge(other.latency)
        self.decisions += other.decisions
        self.dropped += other.dropped
        self.missed += other.missed
