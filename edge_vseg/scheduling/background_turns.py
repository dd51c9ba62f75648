"""When the background lane may run: always or only between frames, and how long it rests between keyframes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from edge_vseg.scheduling.steps import Step

MIN_DUTY = 0.02
"""Share of the time that the background gets in any case: a keyframe that never ends helps nobody."""
MAX_WAIT_S = 0.5
"""Longest wait for a pause between frames; after it a part runs in any case."""


class BackgroundTurns:
    """Gives turns to the parts of a job. The frame lane tells when it begins and ends a frame.

    Beside frames, a part may run at any time. Between frames, it may run from the answer of a frame until the next one
    is expected, one part at a time: a frame that arrives early shares the core with one part at most. A part that is
    longer than the pause runs right after an answer.

    To keep to its duty it rests between jobs, not inside them: a keyframe that takes longer is older when it is done.

    Args:
        beside_frames: Whether parts may run while a frame is answered.
        clock: Monotonic time in ns.

    Attributes:
        beside_frames: Whether parts may run while a frame is answered.
        duty: Share of the time that parts may run, 0 to 1.
        clock: Monotonic time in ns.
    """

    def __init__(self, *, beside_frames: bool, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.beside_frames = beside_frames
        self.duty = 1.0
        self.clock = clock
        self._condition = threading.Condition()
        self._in_frame = False
        self._awaited = False
        self._stopped = False
        self._next_arrival_ns: int | None = None
        self._overdue_ns = 0
        self._ran_since_answer = True
        self._counted_from_ns = self._worked_ns = 0
        self._expected_ns: dict[str, int] = {}

    def share_cores(self, *, allowed: float, frame_lane: float, background: float) -> None:
        """Set the duty so that both lanes together keep to a number of cores.

        Args:
            allowed: Cores for both; infinite for no limit.
            frame_lane: Cores that the frame lane takes on average.
            background: Cores that a part takes while it runs.
        """
        self.duty = min(1.0, (allowed - frame_lane) / background)

    def begin_frame(self) -> None:
        """A frame has arrived."""
        with self._condition:
            self._in_frame = True

    def end_frame(self, next_arrival_ns: int | None) -> None:
        """The frame has its answer.

        Args:
            next_arrival_ns: When the next one is expected, by the clock; ``None`` if nobody knows.
        """
        with self._condition:
            self._in_frame = False
            self._next_arrival_ns = next_arrival_ns
            if next_arrival_ns is not None:  # a camera that has stopped must not stop the keyframe, too
                self._overdue_ns = next_arrival_ns + max(0, next_arrival_ns - self.clock())
            self._ran_since_answer = False
            self._condition.notify()

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """While the frame lane waits for the job, every part may run at once."""
        with self._condition:
            self._awaited = True
            self._condition.notify()
        try:
            yield
        finally:
            self._awaited = False

    @property
    def stopped(self) -> bool:
        """Whether there are no more turns."""
        return self._stopped

    def stop(self) -> None:
        """Give no more turns."""
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def wait(self, step: Step) -> bool:
        """Wait until a part may run; returns whether it may at all."""
        if self.beside_frames:
            return not self._stopped
        give_up_ns = self.clock() + round(MAX_WAIT_S * 1e9)
        with self._condition:
            while not self._stopped:
                now_ns = self.clock()
                wait_ns = self._wait_ns(self._expected_ns.get(step, 0), now_ns)
                if wait_ns == 0 or now_ns >= give_up_ns:
                    self._ran_since_answer = True
                    return True
                self._condition.wait(wait_ns / 1e9)
            return False

    def done(self, step: Step, duration_ns: int) -> None:
        """A part has run so long."""
        self._expected_ns[step] = duration_ns

    def job_done(self, begin_ns: int, worked_ns: int) -> None:
        """A job that began then has worked so long: it rests until that is its duty."""
        if begin_ns >= self._rest_until_ns():
            self._counted_from_ns, self._worked_ns = begin_ns, 0
        self._worked_ns += worked_ns

    def rests(self, now_ns: int, slack_ns: float) -> bool:
        """Whether it must rest for longer than a slack; what it begins too early it rests longer next time."""
        return self._rest_until_ns() - now_ns > slack_ns

    def _rest_until_ns(self) -> int:
        # By the duty of now: the one of a busy moment, such as the first frame, would make it rest for seconds.
        return self._counted_from_ns + round(self._worked_ns / max(self.duty, MIN_DUTY))

    def rest_ms(self, worked_ms: float) -> float:
        """How long it rests after a job of so many milliseconds, to keep to its duty."""
        return worked_ms * (1 / max(self.duty, MIN_DUTY) - 1)

    def _wait_ns(self, expected_ns: int, now_ns: int) -> int:
        """Nanoseconds until it is worth asking again; 0 for at once."""
        if self._awaited:
            return 0
        if self._in_frame:
            return round(MAX_WAIT_S * 1e9)  # the end of the frame wakes it
        arrival_ns = self._next_arrival_ns
        if arrival_ns is None or now_ns >= self._overdue_ns or now_ns + expected_ns <= arrival_ns:
            return 0
        return 0 if not self._ran_since_answer else self._overdue_ns - now_ns
