"""Both lanes of the frame engine on a time axis: the worst second of a run, and the last one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from edge_vseg.types import BackgroundSpan

SECOND_NS, SECOND_MS = 1_000_000_000, 1000.0
MAX_SPANS = 4000
"""Kept of a second; a run that is flat out on a tiny network has more, and nobody can tell them apart."""


class LaneSpan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of a frame, or a part of a keyframe in the background.

    Attributes:
        lane: Where it ran.
        step: Its name.
        start_ms: Its start, in ms from the start of the second.
        end_ms: Its end.
    """

    lane: Literal["frame", "background"]
    step: str
    start_ms: float
    end_ms: float


class LaneSecond(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One second of a run.

    Attributes:
        from_s: Its start, in seconds since the first frame.
        spans: What ran.
        begun_ms: Starts of the frames, in ms from the start of the second.
        missed_ms: Ends of the frames that took longer than the limit, in ms from the start of the second.
        worst_ms: The largest latency.
    """

    from_s: float
    spans: list[LaneSpan]
    begun_ms: list[float]
    missed_ms: list[float]
    worst_ms: float


@dataclass(slots=True, kw_only=True, eq=False)
class LaneTimeline:
    """Keeps the second with most misses, or else the largest latency, and the last full one."""

    worst: LaneSecond | None = None
    last: LaneSecond | None = None
    _begin_ns: int | None = None
    _second: int = 0
    _spans: list[LaneSpan] = field(default_factory=list)
    _begun_ms: list[float] = field(default_factory=list)
    _missed_ms: list[float] = field(default_factory=list)
    _worst_ms: float = 0.0

    def add(
        self, done_ns: int, steps_ms: Mapping[str, float], total_ms: float, background: tuple[BackgroundSpan, ...], *,
        late: bool,
    ) -> None:  # fmt: skip
        """Add a frame.

        Args:
            done_ns: When its label map was there, ``time.monotonic_ns()``.
            steps_ms: Milliseconds by step, in order.
            total_ms: Its latency.
            background: What the background did since the last frame.
            late: Whether it took longer than the limit.
        """
        start_ns = done_ns - round(total_ms * 1e6)
        if self._begin_ns is None:
            self._begin_ns = start_ns
        while start_ns >= self._begin_ns + (self._second + 1) * SECOND_NS:
            self._close_second()
        offset_ns = self._begin_ns + self._second * SECOND_NS
        at_ms = begin_ms = (start_ns - offset_ns) / 1e6
        if len(self._begun_ms) < MAX_SPANS:
            self._begun_ms.append(begin_ms)
        for step, milliseconds in steps_ms.items():
            self._keep(LaneSpan(lane="frame", step=str(step), start_ms=at_ms, end_ms=at_ms + milliseconds))
            at_ms += milliseconds
        for span in background:
            self._add_background(span, offset_ns)
        self._worst_ms = max(self._worst_ms, total_ms)
        if late:
            self._missed_ms.append(begin_ms + total_ms)

    def _keep(self, span: LaneSpan) -> None:
        if len(self._spans) < MAX_SPANS:
            self._spans.append(span)

    def _add_background(self, span: BackgroundSpan, offset_ns: int) -> None:
        """Add a part; one that has begun in the second before belongs to both."""
        start_ms, end_ms = (span.start_ns - offset_ns) / 1e6, (span.end_ns - offset_ns) / 1e6
        self._keep(LaneSpan(lane="background", step=str(span.step), start_ms=max(0.0, start_ms), end_ms=end_ms))
        before = self.last
        if start_ms < 0 and before is not None and before.from_s == self._second - 1:
            begun = LaneSpan(lane="background", step=str(span.step), start_ms=start_ms + SECOND_MS, end_ms=SECOND_MS)
            before.spans.append(begun)

    def seconds(self) -> list[LaneSecond]:
        """The worst second, and the last one if it is another."""
        current = self._current()
        last = self.last if self.last is not None and len(self._spans) < len(self.last.spans) else current
        found = [max(filter(None, (self.worst, current)), key=_badness), last]
        return found[:1] if found[0].from_s == found[1].from_s else found

    def _current(self) -> LaneSecond:
        return LaneSecond(
            from_s=float(self._second),
            spans=list(self._spans),
            begun_ms=list(self._begun_ms),
            missed_ms=list(self._missed_ms),
            worst_ms=self._worst_ms,
        )

    def _close_second(self) -> None:
        if self._spans:
            self.last = self._current()
            self.worst = max(filter(None, (self.worst, self.last)), key=_badness)
        self._second += 1
        self._spans, self._begun_ms, self._missed_ms, self._worst_ms = [], [], [], 0.0


def _badness(second: LaneSecond) -> tuple[int, float]:
    return len(second.missed_ms), second.worst_ms
