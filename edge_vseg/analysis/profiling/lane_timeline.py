"""Both lanes of the frame engine on a time axis: the worst second of a run, and the last one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from edge_vseg.types import BackgroundSpan

SECOND_NS = 1_000_000_000


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
        missed_ms: Ends of the frames that took longer than the limit, in ms from the start of the second.
        worst_ms: The largest latency.
    """

    from_s: float
    spans: list[LaneSpan]
    missed_ms: list[float]
    worst_ms: float


@dataclass(slots=True, kw_only=True, eq=False)
class LaneTimeline:
    """Keeps the second with most misses, or else the largest latency, and the last full one."""

    worst: LaneSecond | None = None
    last: LaneSecond | None = None
    frame_ms: float = 0.0
    background_ms: float = 0.0
    _begin_ns: int | None = None
    _second: int = 0
    _spans: list[LaneSpan] = field(default_factory=list)
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
        for step, milliseconds in steps_ms.items():
            self._spans.append(LaneSpan(lane="frame", step=str(step), start_ms=at_ms, end_ms=at_ms + milliseconds))
            at_ms += milliseconds
        for span in background:
            start_ms, end_ms = (span.start_ns - offset_ns) / 1e6, (span.end_ns - offset_ns) / 1e6
            self._spans.append(LaneSpan(lane="background", step=str(span.step), start_ms=start_ms, end_ms=end_ms))
            self.background_ms += end_ms - start_ms
        self.frame_ms += total_ms
        self._worst_ms = max(self._worst_ms, total_ms)
        if late:
            self._missed_ms.append(begin_ms + total_ms)

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
            missed_ms=list(self._missed_ms),
            worst_ms=self._worst_ms,
        )

    def _close_second(self) -> None:
        if self._spans:
            self.last = self._current()
            self.worst = max(filter(None, (self.worst, self.last)), key=_badness)
        self._second += 1
        self._spans, self._missed_ms, self._worst_ms = [], [], 0.0


def _badness(second: LaneSecond) -> tuple[int, float]:
    return len(second.missed_ms), second.worst_ms
