"""What happened when, in a bounded number of intervals: when there are too many, each two become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from edge_vseg.analysis.profiling.durations import Durations, Quantiles


class Interval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stretch of a run.

    Attributes:
        from_s: When it began, seconds from the beginning of the run.
        to_s: When it ended.
        latency_ms: Of its frames; ``None`` without any.
        decisions: Frames by what was done for them, as :func:`edge_vseg.types.describe_decision` has it.
        dropped: Frames that came and were not segmented.
        missed: Frames over the limit.
    """

    from_s: float
    to_s: float
    latency_ms: Quantiles | None
    decisions: dict[str, int]
    dropped: int
    missed: int


class Timeline:
    """Frames by time.

    Args:
        width_s: Seconds of an interval at first.
        most: Intervals that are kept; with more to come, neighbours are merged and the width doubles.
    """

    def __init__(self, width_s: float, most: int) -> None:
        self.width_s = width_s
        self._most = most
        self._rows: list[_Row] = []
        self._end_s = 0.0

    def add(self, at_s: float, milliseconds: float, decision: str, *, dropped: int, missed: bool) -> None:
        """Count a frame.

        Args:
            at_s: Seconds from the beginning of the run.
            milliseconds: Its latency.
            decision: What was done for it.
            dropped: Frames lost between the one before and this one.
            missed: Whether it was over the limit.
        """
        while (index := int(at_s / self.width_s)) >= self._most:
            self._halve()
        while len(self._rows) <= index:
            self._rows.append(_Row())
        self._end_s = max(self._end_s, at_s)
        row = self._rows[index]
        row.durations.add(milliseconds)
        row.decisions[decision] += 1
        row.dropped += dropped
        row.missed += missed

    def __iter__(self) -> Iterator[Interval]:
        """The intervals, those without frames too."""
        for index, row in enumerate(self._rows):
            begin = index * self.width_s
            yield Interval(
                from_s=begin,
                to_s=max(begin, min(begin + self.width_s, self._end_s)),
                latency_ms=row.durations.quantiles(),
                decisions=dict(row.decisions),
                dropped=row.dropped,
                missed=row.missed,
            )

    def _halve(self) -> None:
        for index in range(0, len(self._rows) - 1, 2):
            self._rows[index].merge(self._rows[index + 1])
        self._rows = self._rows[::2]
        self.width_s *= 2


class _Row:
    __slots__ = ("decisions", "dropped", "durations", "missed")

    def __init__(self) -> None:
        self.durations = Durations()
        self.decisions: Counter[str] = Counter()
        self.dropped = 0
        self.missed = 0

    def merge(self, other: _Row) -> None:
        self.durations.merge(other.durations)
        self.decisions += other.decisions
        self.dropped += other.dropped
        self.missed += other.missed
