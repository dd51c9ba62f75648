"""Count results as they come, in constant memory and a small share of a frame's time."""

from __future__ import annotations

import resource
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from edge_vseg.analysis.percentiles import PercentileSketch
from edge_vseg.analysis.profiling.deadline_misses import TOO_SMALL, WAITING, DeadlineMisses, LateFrame, miss_cause
from edge_vseg.analysis.profiling.lane_timeline import LaneTimeline
from edge_vseg.analysis.profiling.timeline import Timeline
from edge_vseg.analysis.report.example_frames import ExampleFrame
from edge_vseg.types import BackgroundSpan, Image, Result

MAX_INTERVALS = 120
"""Of a timeline: about 6 kB each, so that the profile itself does not look like a memory leak."""
LAST_FRAMES = 240
BATCH_FRAMES = 16
"""Frames counted at a time: after inference the caches are cold, and counting a single frame takes five times as
long."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Record:
    """What is counted of one frame."""

    seq: int
    at_s: float
    latency_ms: Mapping[str, float]
    age_ms: float
    age_frames: int
    source: str
    decision: str
    action: str
    over_budget: bool
    done_ns: int
    background: tuple[BackgroundSpan, ...]
    preemptions: int
    late: bool


class Recorder:
    """All figures of a run. Do not add warm-up frames.

    Args:
        limit_ms: Milliseconds that a frame may take; ``None`` for no limit.
        seconds: Expected length of the run, to spread the example frames over it.
        examples: Number of example frames to keep.
    """

    def __init__(self, limit_ms: float | None, seconds: float, examples: int = 5) -> None:
        self.limit_ms = limit_ms
        self.frames = 0
        self.dropped = 0
        self.latency = PercentileSketch()
        self.age = PercentileSketch()
        self.change = PercentileSketch()
        self.steps: dict[str, PercentileSketch] = {}
        self.sources: Counter[str] = Counter()
        self.oldest_frames = 0
        self.misses = DeadlineMisses()
        self.seconds = Timeline(1.0, MAX_INTERVALS)
        self.minutes = Timeline(60.0, MAX_INTERVALS)
        self.lanes = LaneTimeline()
        self.last: deque[tuple[str, float]] = deque(maxlen=LAST_FRAMES)
        self.examples: list[ExampleFrame] = []
        self.overhead_ms = 0.0
        self._examples_due_s = [seconds * (at + 0.5) / examples for at in range(examples)]
        self._batch: list[_Record] = []
        self._previous: _Record | None = None
        self._waiting = PercentileSketch()
        self._preemptions = _preemptions()

    def begin(self) -> None:
        """Call before a frame is segmented: preemptions are counted from here."""
        self._preemptions = _preemptions()

    def add(self, image: Image, result: Result, at_s: float) -> None:
        """Add a frame. It is counted with its batch, or by :meth:`flush`.

        Args:
            image: ``(H, W, 3)`` uint8 BGR; a small copy is kept of example frames.
            result: The segmenter's result.
            at_s: Seconds since the start of the run when it was done.
        """
        start = time.perf_counter()
        total = result.latency_ms["total"]
        late = self.limit_ms is not None and total > self.limit_ms
        self.frames += 1
        self._batch.append(
            _Record(
                seq=result.seq,
                at_s=at_s,
                latency_ms=result.latency_ms,
                age_ms=result.age_ms,
                age_frames=result.age_frames,
                source=result.source,
                decision=str(result.decision),
                action=result.decision.summary,
                over_budget=result.over_budget,
                done_ns=result.done_ns,
                background=result.background,
                preemptions=_preemptions() - self._preemptions if late else 0,
                late=late,
            )
        )
        if self._examples_due_s and at_s >= self._examples_due_s[0]:
            self._examples_due_s.pop(0)
            self.examples.append(ExampleFrame.downscaled(image, result, f"{at_s:.1f} s"))
        if len(self._batch) > BATCH_FRAMES:
            # What ran in the background beside the newest frame is told by the next one.
            newest = self._batch.pop()
            self._count_batch(then=newest)
            self._batch.append(newest)
        self.overhead_ms += (time.perf_counter() - start) * 1e3

    def flush(self) -> None:
        """Count all added frames. Call before reading figures."""
        start = time.perf_counter()
        self._count_batch(then=None)
        self.overhead_ms += (time.perf_counter() - start) * 1e3

    def _count_batch(self, then: _Record | None) -> None:
        batch, self._batch = self._batch, []
        for record, following in zip(batch, [*batch[1:], then], strict=False):
            self._count(record, following)

    def _count(self, frame: _Record, following: _Record | None) -> None:
        total = frame.latency_ms["total"]
        steps = {name: ms for name, ms in frame.latency_ms.items() if name != "total"}
        waiting = max(0.0, total - sum(steps.values()))
        dropped = 0
        if self._previous is not None:
            dropped = max(0, frame.seq - self._previous.seq - 1)
            self.change.add(abs(total - self._previous.latency_ms["total"]))
        if frame.late:
            self._count_late(frame, following, steps, waiting)
        self.dropped += dropped
        self.sources[frame.source] += 1
        self.oldest_frames = max(self.oldest_frames, frame.age_frames)
        self.latency.add(total)
        self._waiting.add(waiting)
        self.age.add(frame.age_ms)
        for name, ms in steps.items():
            self._step(name).add(ms)
        for timeline in (self.seconds, self.minutes):
            timeline.add(frame.at_s, total, frame.action, dropped=dropped, missed=frame.late)
        self.last.append((frame.action, total))
        self.lanes.add(frame.done_ns, steps, total, frame.background, late=frame.late)
        self._previous = frame

    def _step(self, name: str) -> PercentileSketch:
        if name not in self.steps:
            self.steps[name] = PercentileSketch()
        return self.steps[name]

    def _usual_ms(self, name: str) -> float:
        return (self._waiting if name == WAITING else self._step(name)).recent_median()

    def _count_late(
        self, frame: _Record, following: _Record | None, steps: Mapping[str, float], waiting: float
    ) -> None:
        assert self.limit_ms is not None
        if frame.over_budget:
            cause = TOO_SMALL
        else:
            with_waiting = {**steps, WAITING: waiting}
            spans = (*frame.background, *(following.background if following else ()))
            cause = miss_cause(
                with_waiting,
                self.limit_ms,
                self._usual_ms,
                preemptions=frame.preemptions,
                beside_background=2 * _overlap_ns(frame, spans) > frame.latency_ms["total"] * 1e6,
            )
        late = LateFrame(
            seq=frame.seq,
            at_s=frame.at_s,
            total_ms=frame.latency_ms["total"],
            cause=cause,
            decision=frame.decision,
            steps_ms=dict(steps),
        )
        self.misses.add(late)


def _overlap_ns(frame: _Record, spans: tuple[BackgroundSpan, ...]) -> int:
    """Nanoseconds of a frame during which the background ran."""
    start_ns = frame.done_ns - round(frame.latency_ms["total"] * 1e6)
    return sum(max(0, min(frame.done_ns, span.end_ns) - max(start_ns, span.start_ns)) for span in spans)


def _preemptions() -> int:
    """How often the kernel has preempted a thread of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
