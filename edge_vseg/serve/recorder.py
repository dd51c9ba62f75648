"""Keeps what the page and the metrics show of each result, in constant memory and at little cost to the frame lane."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_vseg.segmenter import Segmenter
from edge_vseg.types import BackgroundSpan, Frame, Image, LabelSource, Result

BUCKETS_MS = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.5, 15.0, 20.0, 25.0, 33.0, 50.0, 75.0, 100.0, 250.0, 500.0, 1000.0)
"""Upper bounds of the latency histograms; longer ones count in a last bucket."""
MAX_RECENT = 600
MAX_STEPS = 64
"""Steps with a histogram; a bundle has a few and its slices."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """A frame with its result.

    Attributes:
        number: Counts the results of this process, from 1, over all restarts and changes.
        image: The frame's image, ``(H, W, 3)`` uint8 BGR.
        result: Its result.
    """

    number: int
    image: Image
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the timeline shows of a result; no images.

    Attributes:
        done_ns: When its labels were there, ``time.monotonic_ns()``.
        latency_ms: By step, and the ``total``.
        source: Where its labels come from.
        deadline_ms: Its deadline; ``None`` if it had none.
        missed: Whether it took longer.
        background: What the background lane did since the frame before.
    """

    done_ns: int
    latency_ms: Mapping[str, float]
    source: LabelSource
    deadline_ms: float | None
    missed: bool
    background: tuple[BackgroundSpan, ...]

    @property
    def total_ms(self) -> float:
        """Milliseconds from the frame's turn to its labels."""
        return self.latency_ms.get("total", 0.0)


@dataclass(slots=True)
class Histogram:
    """Counts durations by bucket.

    Attributes:
        counts: By bucket of :data:`BUCKETS_MS`, and those beyond.
        sum_ms: All durations together.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_MS) + 1))
    sum_ms: float = 0.0

    def add(self, milliseconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_MS, milliseconds)] += 1
        self.sum_ms += milliseconds


class ResultLog:
    """Is told of every result by the thread that made it, and asked by any other.

    It takes no lock: a thread of low priority that holds one, and loses its core, would hold up the frame lane. Each
    attribute is replaced or appended to in one step.

    Attributes:
        newest: The newest frame and result; ``None`` before the first.
        missed: Frames over their deadline so far.
        background_ns: Time that the background lane has worked so far.
        histograms: Durations by step, and of the ``total``.
    """

    def __init__(self) -> None:
        self.newest: Seen | None = None
        self.missed = 0
        self.background_ns = 0
        self.histograms: dict[str, Histogram] = {"total": Histogram()}
        self._recent: deque[Moment] = deque(maxlen=MAX_RECENT)
        self._number = 0

    def add(self, frame: Frame, result: Result) -> None:
        """Record a result; one that is older than the newest comes from a worker that hung and was given up."""
        newest = self.newest
        if newest is not None and result.capture_ns < newest.result.capture_ns:
            return
        self._number += 1
        self.newest = Seen(number=self._number, image=frame.image, result=result)
        self.missed += result.deadline_missed
        self.background_ns += sum(span.end_ns - span.start_ns for span in result.background)
        for step, milliseconds in result.latency_ms.items():
            histogram = self.histograms.get(step)
            if histogram is None and len(self.histograms) < MAX_STEPS:
                histogram = self.histograms[step] = Histogram()
            if histogram is not None:
                histogram.add(milliseconds)
        self._recent.append(
            Moment(
                done_ns=result.done_ns,
                latency_ms=result.latency_ms,
                source=result.source,
                deadline_ms=result.deadline_ms,
                missed=result.deadline_missed,
                background=result.background,
            )
        )

    def recent(self) -> list[Moment]:
        """The last results, oldest first; at most :data:`MAX_RECENT`."""
        while True:
            try:
                return list(self._recent)
            except RuntimeError:  # it grew meanwhile
                continue

    def forget_recent(self) -> None:
        """Begin the percentiles again: the schedule has changed."""
        self._recent = deque(maxlen=MAX_RECENT)


class ObservedSegmenter(Segmenter):
    """A segmenter that tells a recorder of each result, in the thread that made it."""

    recorder: ResultLog

    def __call__(self, frame: Frame | Image) -> Result:
        """Segment a frame, and record it."""
        result = super().__call__(frame)
        if isinstance(frame, Frame):
            self.recorder.add(frame, result)
        return result
