"""Counts results as they come, in constant memory and a small share of a frame's time."""

from __future__ import annotations

import resource
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from edge_vseg.profiling.durations import Durations
from edge_vseg.profiling.misses import WAITING, LateFrame, Misses, cause_of
from edge_vseg.profiling.timeline import Timeline
from edge_vseg.types import Image, Result, decided

MOST_SECONDS, MOST_MINUTES = 600, 120
LAST_FRAMES = 240


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """A frame that is shown in the report, and what was said of it."""

    image: Image
    result: Result
    at_s: float


class Recorder:
    """All figures of a run.

    Args:
        limit_ms: Milliseconds that a frame may take; ``None`` for no limit.
        seconds: About how long the run will be, for pictures from all of it.
        shots: How many pictures to keep.
    """

    def __init__(self, limit_ms: float | None, seconds: float, shots: int = 5) -> None:
        self.limit_ms = limit_ms
        self.frames = 0
        self.dropped = 0
        self.first_ms: float | None = None
        self.latency = Durations()
        self.age = Durations()
        self.change = Durations()
        self.steps: dict[str, Durations] = {}
        self.sources: Counter[str] = Counter()
        self.oldest_frames = 0
        self.misses = Misses()
        self.seconds = Timeline(1.0, MOST_SECONDS)
        self.minutes = Timeline(60.0, MOST_MINUTES)
        self.last: deque[tuple[str, float]] = deque(maxlen=LAST_FRAMES)
        self.shots: list[Shot] = []
        self.spent_ms = 0.0
        self._due = [seconds * (at + 0.5) / shots for at in range(shots)]
        self._last_seq = 0
        self._last_ms = 0.0
        self._waiting = Durations()
        self._switches = _switches()

    def add(self, image: Image, result: Result, at_s: float) -> None:
        """Count a frame.

        Args:
            image: The frame, which is kept if it is one of those to show.
            result: What the segmenter said.
            at_s: Seconds since the beginning of the run, when it was done.
        """
        begin = time.perf_counter()
        self.frames += 1
        self.sources[result.source] += 1
        self.oldest_frames = max(self.oldest_frames, result.age_frames)
        total = result.latency_ms["total"]
        if self.first_ms is None:
            self.first_ms = total  # told apart: runtimes allocate in it, and there is nothing to carry yet
        else:
            self._count(result, total, at_s)
        self._last_seq, self._last_ms, self._switches = result.seq, total, _switches()
        if self._due and at_s >= self._due[0]:
            self._due.pop(0)
            self.shots.append(Shot(image=image.copy(), result=result, at_s=at_s))
        self.spent_ms += (time.perf_counter() - begin) * 1e3

    def _count(self, result: Result, total: float, at_s: float) -> None:
        late = self.limit_ms is not None and total > self.limit_ms
        dropped = max(0, result.seq - self._last_seq - 1)
        steps = {name: ms for name, ms in result.latency_ms.items() if name != "total"}
        waiting = max(0.0, total - sum(steps.values()))
        if late:
            self._add_late(result, total, steps, waiting, at_s)
        if self.latency.count:
            self.change.add(abs(total - self._last_ms))
        self.latency.add(total)
        self._waiting.add(waiting)
        self.age.add(result.age_ms)
        self.dropped += dropped
        for name, ms in steps.items():
            self._step(name).add(ms)
        decision = decided(result)
        for timeline in (self.seconds, self.minutes):
            timeline.add(at_s, total, decision, dropped=dropped, missed=late)
        self.last.append((decision, total))

    def _step(self, name: str) -> Durations:
        if name not in self.steps:
            self.steps[name] = Durations()
        return self.steps[name]

    def _usual_ms(self, name: str) -> float:
        return (self._waiting if name == WAITING else self._step(name)).usual()

    def _add_late(self, result: Result, total: float, steps: Mapping[str, float], waiting: float, at_s: float) -> None:
        assert self.limit_ms is not None
        switches = _switches() - self._switches
        cause = cause_of({**steps, WAITING: waiting}, self.limit_ms, self._usual_ms, switches=switches)
        late = LateFrame(
            seq=result.seq,
            at_s=at_s,
            total_ms=total,
            cause=cause,
            decision=result.decision,
            steps_ms=dict(steps),
        )
        self.misses.add(late)


def _switches() -> int:
    """How often the kernel has taken this thread off a core."""
    who = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
    return resource.getrusage(who).ru_nivcsw
