"""Frames that arrive as a camera's would: at a rate, or one after the other, on the wall clock or on a virtual one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from edge_vseg.analysis.cpu_use import CpuMeter
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.scheduling.replay import VirtualClock
from edge_vseg.types import Frame, Result


class Timer(Protocol):
    """A clock that can be waited for."""

    def now_ns(self) -> int:
        """The time."""
        ...

    def wait_until(self, time_ns: int) -> None:
        """Idle until then; nothing if it has passed."""
        ...


class WallTimer:
    """The time of this machine."""

    def now_ns(self) -> int:
        """``time.monotonic_ns()``."""
        return time.monotonic_ns()

    def wait_until(self, time_ns: int) -> None:
        """Sleep."""
        time.sleep(max(0, time_ns - time.monotonic_ns()) / 1e9)


class VirtualTimer:
    """The time of replayed costs.

    Args:
        clock: The clock that the segmenter replays them on.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def now_ns(self) -> int:
        """The clock's time."""
        return self._clock()

    def wait_until(self, time_ns: int) -> None:
        """Advance the clock."""
        self._clock.advance_to(time_ns)


class FrameAnswerer(Protocol):
    """What answers frames, such as a :class:`~edge_vseg.Segmenter`."""

    def __call__(self, frame: Frame, /) -> Result:
        """Answer a frame."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """A policy's result for a frame.

    Attributes:
        result: The result.
        total_ms: Milliseconds from the arrival of the frame, including the time that it waited for those before it.
        begins: Whether the frame is the first of a stream: start-up, and no part of the stream's times.
    """

    result: Result
    total_ms: float
    begins: bool


class FrameStream:
    """Hands frames to a segmenter when they arrive.

    The stream's clock starts with the answer of its first frame: start-up is not the stream, and must not delay the
    frames behind it. With a rate, frame 1 arrives one period after frame 0, or with frame 0's answer if that is later;
    all others at the rate from there, and a late answer delays the next frame. Without a rate, each frame arrives when
    the one before it is answered.

    Frames come in turns, with pauses between them for other work. Nobody's camera pauses: on the wall clock, where time
    passes in a pause, a turn at a rate is a stream of its own, and without a rate the pauses are left out of the
    capture times.

    Another clip, or one whose time starts again, is a stream of its own: no map leads from one into the other.

    Args:
        segmenter: Answers the frames.
        rate: Frames per second that arrive; ``None`` for as fast as they are answered.
        timer: The time.
        cpu: Measures the streams at a rate, from frame 1 to one period after the last one.
    """

    def __init__(self, segmenter: FrameAnswerer, rate: float | None, timer: Timer, cpu: CpuMeter) -> None:
        self._segmenter = segmenter
        self._period_ns = None if rate is None else 1e9 / rate
        self._timer = timer
        self._cpu = cpu
        self._seq = 0
        self._last: LabelledFrame | None = None
        self._origin_ns = 0  # when frame 1 arrives
        self._left_ns: int | None = None
        self._paused_ns = 0

    def resume(self) -> None:
        """A turn begins."""
        if self._left_ns is None:
            return
        pause_ns = self._timer.now_ns() - self._left_ns
        if self._period_ns is None:
            self._paused_ns += pause_ns
        elif pause_ns > 0:
            self._seq = 0  # a number that does not grow makes the segmenter forget what it carries
        elif self._seq > 1:
            self._cpu.begin(self._left_ns)

    def pause(self) -> None:
        """A turn ends; at a rate, with the period of its last frame."""
        self._end_period()
        self._left_ns = self._timer.now_ns()

    def __call__(self, frame: LabelledFrame) -> Answer:
        """Wait for the arrival of the next frame, and answer it."""
        if self._last is not None and _begins_clip(frame, self._last):
            self._end_period()
            self._seq = 0  # as in a pause
        self._last = frame
        arrival_ns = self._arrival_ns()
        self._timer.wait_until(arrival_ns)
        late_ms = 0.0 if self._period_ns is None else (self._timer.now_ns() - arrival_ns) / 1e6
        if self._period_ns is not None and self._seq == 1:
            self._cpu.begin(arrival_ns)
        given = Frame(
            image=frame.image,
            seq=self._seq,
            capture_ns=arrival_ns - self._paused_ns,
            pts_ns=None if frame.time_s is None else round(1e9 * frame.time_s),
            motion=frame.motion,
        )
        result = self._segmenter(given)
        if self._seq == 0 and self._period_ns is not None:
            self._origin_ns = max(arrival_ns + round(self._period_ns), self._timer.now_ns())
        self._cpu.add(result)
        self._seq += 1
        return Answer(result=result, total_ms=result.latency_ms["total"] + late_ms, begins=self._seq == 1)

    def _end_period(self) -> None:
        if self._period_ns is not None and self._seq > 1:
            self._timer.wait_until(self._arrival_ns())
            self._cpu.end(self._timer.now_ns())

    def _arrival_ns(self) -> int:
        if self._period_ns is None or self._seq == 0:
            return self._timer.now_ns()
        return self._origin_ns + round((self._seq - 1) * self._period_ns)


def _begins_clip(frame: LabelledFrame, last: LabelledFrame) -> bool:
    if frame.clip != last.clip:
        return True
    return frame.time_s is not None and last.time_s is not None and frame.time_s <= last.time_s
