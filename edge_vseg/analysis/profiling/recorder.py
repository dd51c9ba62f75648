"""Counts results as they come, in constant memory and a small share of a frame's time."""

from __future__ import annotations

import resource
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edge_vseg.analysis.profiling.deadline_misses import TOO_SMALL, WAITING, LateFrame, Misses, cause_of
from edge_vseg.analysis.profiling.durations import Durations
from edge_vseg.analysis.profiling.timeline import Timeline
from edge_vseg.analysis.report.blocks import PICTURE_WIDTH
from edge_vseg.imaging.label_maps import resize_labels
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.scheduling.policies.deadline import OVER_DEADLINE
from edge_vseg.types import Image, Result, describe_decision

MAX_INTERVALS = 120
"""Of a timeline: some 6 kB each, so that the profile itself does not look like a leak."""
LAST_FRAMES = 240
BATCH_FRAMES = 16
"""Frames that are counted at once: by then the runtime has taken the caches, and cold code takes five times as long."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameRecord:
    """A frame that is shown in the report, and what was said of it."""

    image: Image
    result: Result
    at_s: float

    @classmethod
    def of(cls, image: Image, result: Result, at_s: float) -> FrameRecord:
        """As large as a page shows it: a run is not to grow by the pictures that are kept of it."""
        height, width = image.shape[:2]
        size_hw = (max(1, round(height * min(1.0, PICTURE_WIDTH / width))), min(width, PICTURE_WIDTH))
        small = replace(result, labels=resize_labels(result.labels, size_hw))
        return cls(image=resize_image(image, size_hw).copy(), result=small, at_s=at_s)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Taken:
    """What there is to count of a frame."""

    seq: int
    at_s: float
    latency_ms: Mapping[str, float]
    age_ms: float
    age_frames: int
    source: str
    decision: str
    done: str
    switches: int
    late: bool


class Recorder:
    """All figures of a run; what comes before it, such as first frames, is the caller's to leave out.

    Args:
        limit_ms: Milliseconds that a frame may take; ``None`` for no limit.
        seconds: About how long the run will be, for pictures from all of it.
        shots: How many pictures to keep.
    """

    def __init__(self, limit_ms: float | None, seconds: float, shots: int = 5) -> None:
        self.limit_ms = limit_ms
        self.frames = 0
        self.dropped = 0
        self.latency = Durations()
        self.age = Durations()
        self.change = Durations()
        self.steps: dict[str, Durations] = {}
        self.sources: Counter[str] = Counter()
        self.oldest_frames = 0
        self.misses = Misses()
        self.seconds = Timeline(1.0, MAX_INTERVALS)
        self.minutes = Timeline(60.0, MAX_INTERVALS)
        self.last: deque[tuple[str, float]] = deque(maxlen=LAST_FRAMES)
        self.shots: list[FrameRecord] = []
        self.spent_ms = 0.0
        self._due = [seconds * (at + 0.5) / shots for at in range(shots)]
        self._taken: list[_Taken] = []
        self._last: _Taken | None = None
        self._waiting = Durations()
        self._switches = _switches()

    def begin(self) -> None:
        """A frame is about to be segmented: what the kernel does from now on is counted against it."""
        self._switches = _switches()

    def add(self, image: Image, result: Result, at_s: float) -> None:
        """Take a frame; it is counted with the next dozen, or by :meth:`settle`.

        Args:
            image: The frame, which is kept, made small, if it is one of those to show.
            result: What the segmenter said.
            at_s: Seconds since the beginning of the run, when it was done.
        """
        begin = time.perf_counter()
        total = result.latency_ms["total"]
        late = self.limit_ms is not None and total > self.limit_ms
        self.frames += 1
        self._taken.append(
            _Taken(
                seq=result.seq,
                at_s=at_s,
                latency_ms=result.latency_ms,
                age_ms=result.age_ms,
                age_frames=result.age_frames,
                source=result.source,
                decision=result.decision,
                done=describe_decision(result),
                switches=_switches() - self._switches if late else 0,
                late=late,
            )
        )
        if self._due and at_s >= self._due[0]:
            self._due.pop(0)
            self.shots.append(FrameRecord.of(image, result, at_s))
        if len(self._taken) >= BATCH_FRAMES:
            self._count()
        self.spent_ms += (time.perf_counter() - begin) * 1e3

    def settle(self) -> None:
        """Count all frames that were taken; figures are to be read after this."""
        begin = time.perf_counter()
        self._count()
        self.spent_ms += (time.perf_counter() - begin) * 1e3

    def _count(self) -> None:
        taken, self._taken = self._taken, []
        for each in taken:
            self._count_one(each)

    def _count_one(self, frame: _Taken) -> None:
        total = frame.latency_ms["total"]
        steps = {name: ms for name, ms in frame.latency_ms.items() if name != "total"}
        waiting = max(0.0, total - sum(steps.values()))
        dropped = 0
        if self._last is not None:
            dropped = max(0, frame.seq - self._last.seq - 1)
            self.change.add(abs(total - self._last.latency_ms["total"]))
        if frame.late:
            self._count_late(frame, steps, waiting)
        self.dropped += dropped
        self.sources[frame.source] += 1
        self.oldest_frames = max(self.oldest_frames, frame.age_frames)
        self.latency.add(total)
        self._waiting.add(waiting)
        self.age.add(frame.age_ms)
        for name, ms in steps.items():
            self._step(name).add(ms)
        for timeline in (self.seconds, self.minutes):
            timeline.add(frame.at_s, total, frame.done, dropped=dropped, missed=frame.late)
        self.last.append((frame.done, total))
        self._last = frame

    def _step(self, name: str) -> Durations:
        if name not in self.steps:
            self.steps[name] = Durations()
        return self.steps[name]

    def _usual_ms(self, name: str) -> float:
        return (self._waiting if name == WAITING else self._step(name)).usual()

    def _count_late(self, frame: _Taken, steps: Mapping[str, float], waiting: float) -> None:
        assert self.limit_ms is not None
        if f": {OVER_DEADLINE}" in frame.decision:
            cause = TOO_SMALL
        else:
            cause = cause_of({**steps, WAITING: waiting}, self.limit_ms, self._usual_ms, switches=frame.switches)
        late = LateFrame(
            seq=frame.seq,
            at_s=frame.at_s,
            total_ms=frame.latency_ms["total"],
            cause=cause,
            decision=frame.decision,
            steps_ms=dict(steps),
        )
        self.misses.add(late)


def _switches() -> int:
    """How often the kernel has taken a thread of this process off a core while it wanted to go on."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
