"""When maps are there: of a network that takes the newest frame whenever it is free, and of answers frame by frame.

Both count frames from 0, which arrive one period apart. Frame 0 is start-up: its map is there at once, and the clock
starts with it. Then each frame asks which frame's map is shown so many milliseconds after its arrival.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_vseg.errors import OptionError

TIE_PERIODS = 1e-6
"""Times closer than this share of a period are equal, because ``1000 / rate`` milliseconds is rounded."""


class NewestFrame:
    """Newest-frame-and-drop: what programs do that have no scheduler.

    The network takes the newest frame whenever it is free, also in the middle of a period; a waiting frame that a newer
    one replaces is dropped; the newest finished map is shown, and held until the next is done. At equal times, the
    network finishes before the frame arrives, and takes that one rather than the one that waited.

    With two requests in flight (the AsyncInferQueue of OpenVINO and the AsyncPipeline of its Model API), each takes a
    frame in the same way. The model: while both run, each takes ``slowdown`` times as long. Where every request has
    cores of its own, ``slowdown`` is 1: a network of W milliseconds is answered as late as with one request, and gives
    a map every max(T, W / 2) on average. Where one request takes all cores already, as with one thread for each core,
    it is 2: W doubles, and maps come no more often. What a runtime gains by running two lies between.

    Args:
        period_ms: From one arrival to the next, T.
        lag_ms: What is shown is asked so long after each arrival; counts as T at most, when the next frame arrives.
        requests: Frames that the network takes at the same time.
        slowdown: How many times as long they take while more than one is in it, 1 or more.

    Raises:
        OptionError: If a value is out of range.

    Reference: Li et al., Towards Streaming Perception, ECCV 2020: the newest finished answer at the time of each frame.
    """

    def __init__(self, period_ms: float, *, lag_ms: float = 0.0, requests: int = 1, slowdown: float = 1.0) -> None:
        if not (period_ms > 0 and lag_ms >= 0 and requests >= 1 and slowdown >= 1):
            raise OptionError(
                "expected a positive period_ms, lag_ms of 0 or more, requests and slowdown of 1 or more, got"
                f" {period_ms}, {lag_ms}, {requests}, {slowdown}"
            )
        self._period_ms = period_ms
        self._lag_ms = min(lag_ms, period_ms)
        self._requests = requests
        self._slowdown = slowdown
        self._tie_ms = TIE_PERIODS * period_ms
        self.dropped = 0
        self._work_ms = 0.0
        self._elapsed_ms = 0.0
        self.cut()

    def cut(self) -> None:
        """The next frame is frame 0 of another stream; unfinished maps are discarded."""
        self._seq = 0
        self._shown = 0
        self._running: list[_Request] = []
        self._waiting: _Request | None = None
        self._now_ms = 0.0  # after the last arrival

    @property
    def oldest(self) -> int:
        """No frame before this one is shown any more."""
        return self._shown

    @property
    def load(self) -> float:
        """Share of the time that the network would be busy with one request at a time; NaN before there was any."""
        return self._work_ms / self._elapsed_ms if self._elapsed_ms else math.nan

    def add(self, latency_ms: float) -> int:
        """Let the next frame arrive.

        Args:
            latency_ms: How long the network takes for it, alone.

        Returns:
            The number of the frame whose map is shown :attr:`lag_ms` after the arrival.
        """
        seq, self._seq = self._seq, self._seq + 1
        if seq == 0:
            return 0
        if seq > 1:
            self._run_until(self._period_ms)
        self._now_ms = 0.0
        self.dropped += self._waiting is not None
        self._waiting = _Request(seq=seq, left_ms=latency_ms)
        self._start_waiting()
        self._run_until(self._lag_ms)
        return self._shown

    def _run_until(self, time_ms: float) -> None:
        while self._running:
            pace = 1 / self._slowdown if len(self._running) > 1 else 1.0
            first = min(self._running, key=lambda request: request.left_ms)
            end_ms = self._now_ms + first.left_ms / pace
            if end_ms > time_ms + self._tie_ms:
                self._progress(time_ms - self._now_ms, pace)
                return
            self._progress(end_ms - self._now_ms, pace)
            self._running.remove(first)
            self._shown = max(self._shown, first.seq)
            if end_ms < self._period_ms - self._tie_ms:
                self._start_waiting()
        self._progress(max(0.0, time_ms - self._now_ms), 1.0)

    def _progress(self, duration_ms: float, pace: float) -> None:
        self._now_ms += duration_ms
        self._elapsed_ms += duration_ms
        self._work_ms += pace * duration_ms * len(self._running)
        for request in self._running:
            request.left_ms -= pace * duration_ms

    def _start_waiting(self) -> None:
        if self._waiting is not None and len(self._running) < self._requests:
            self._running.append(self._waiting)
            self._waiting = None


class AnswerTimes:
    """Answers that are there so long after each frame, one for every frame and none before the last one.

    Args:
        period_ms: From one arrival to the next.
        lag_ms: What is shown is asked so long after each arrival.
    """

    dropped = 0
    load = math.nan

    def __init__(self, period_ms: float, *, lag_ms: float = 0.0) -> None:
        self._period_ms = period_ms
        self._lag_ms = lag_ms
        self._tie_ms = TIE_PERIODS * period_ms
        self.cut()

    def cut(self) -> None:
        """See :meth:`NewestFrame.cut`."""
        self._seq = 0
        self._shown = 0
        self._left_ms: dict[int, float] = {}

    @property
    def oldest(self) -> int:
        """See :attr:`NewestFrame.oldest`."""
        return self._shown

    def add(self, latency_ms: float) -> int:
        """See :meth:`NewestFrame.add`; ``latency_ms`` is from the arrival of the frame to its answer."""
        seq, self._seq = self._seq, self._seq + 1
        if seq == 0:
            return 0
        self._left_ms = {number: ms - self._period_ms for number, ms in self._left_ms.items()} | {seq: latency_ms}
        done = [number for number, ms in self._left_ms.items() if ms <= self._lag_ms + self._tie_ms]
        self._shown = max([self._shown, *done])
        self._left_ms = {number: ms for number, ms in self._left_ms.items() if number > self._shown}
        return self._shown


@dataclass(slots=True, kw_only=True, eq=False)
class _Request:
    seq: int
    left_ms: float
