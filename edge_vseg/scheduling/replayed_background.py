"""The background lane on a virtual clock.

It gets on while the frame lane idles, more slowly while a frame is answered, and not at all while the frame lane runs
the network, which takes all cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Generic

from edge_vseg.errors import SessionError
from edge_vseg.scheduling.background import BackgroundRun, Bid, Job, T
from edge_vseg.scheduling.background_turns import BackgroundTurns
from edge_vseg.scheduling.replay import ReplayMeter, VirtualClock
from edge_vseg.scheduling.steps import Step, StepKind
from edge_vseg.scheduling.variant_sessions import VariantSessions
from edge_vseg.types import BackgroundSpan


class ReplayedBackground:
    """Jobs that are done when their recorded duration has been worked off.

    Args:
        sessions: Runs the network, at once and without any time passing.
        clock: The virtual clock.
        meter: Draws how long parts take.
        turns: Says whether parts run beside frames, and with which duty.
    """

    def __init__(
        self, sessions: VariantSessions, clock: VirtualClock, meter: ReplayMeter, turns: BackgroundTurns
    ) -> None:
        self.turns = turns
        self._sessions = sessions
        self._clock = clock
        self._meter = meter
        self._run: _ReplayedRun[Any] | None = None
        self._spans: list[BackgroundSpan] = []
        self._seen = clock.now, clock.frame_ns, clock.network_ns
        meter.crowded = lambda: turns.beside_frames and self.works()

    def grants(self, bid: Bid) -> bool:
        """Always: nobody else uses the worker."""
        return True

    def wait_ms(self, job_ms: float) -> float:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        return self.turns.rest_ms(job_ms)

    def start(self, job: Job[T]) -> BackgroundRun[T]:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        self.works()
        run = self._drawn(job)
        run.start_ns = self._clock.now
        self._run = run
        return run

    def take_spans(self) -> tuple[BackgroundSpan, ...]:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        spans = tuple(self._spans)
        self._spans.clear()
        return spans

    def abandon(self) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """Nothing to end."""

    def works(self) -> bool:
        """Work off the time that has passed since the last question; returns whether there is work left."""
        seen = self._clock.now, self._clock.frame_ns, self._clock.network_ns
        passed, frame, network = (now - then for now, then in zip(seen, self._seen, strict=True))
        self._seen = seen
        beside = 1 / self._meter.contention.background if self.turns.beside_frames else 0.0
        done_ns = passed - frame - network + beside * frame
        if self._run is None:
            return False
        self._run.left_ns -= done_ns
        if self._run.left_ns > 0:
            return True
        self._finish(self._run, self._clock.now + round(self._run.left_ns))
        return False

    def wait_for(self, run: _ReplayedRun[Any]) -> None:
        """Idle until a job is done."""
        while self.works() and run.left_ns > 0 and self._run is not None:
            self._clock.advance_to(self._clock.now + round(self._run.left_ns) + 1)

    def drop(self, run: _ReplayedRun[Any]) -> None:
        """End a job."""
        run.left_ns = 0
        if self._run is run:
            self._run = None

    def _finish(self, run: _ReplayedRun[Any], end_ns: int) -> None:
        self._spans.append(BackgroundSpan(step="background", start_ns=run.start_ns, end_ns=end_ns))
        run.duration_ns = end_ns - run.start_ns
        self.turns.job_done(run.start_ns, run.work_ns)
        self._run = None

    def _drawn(self, job: Job[T]) -> _ReplayedRun[T]:
        duration_ns = 0

        def part(step: Step, run: Callable[[], Any], /, *, first: bool = False, patience_s: float = math.inf) -> Any:
            nonlocal duration_ns
            if step.kind is not StepKind.OPEN:
                duration_ns += self._meter.draw_ns(step)
            return run()

        output: T | SessionError
        try:
            output = job(self._sessions, part)
        except SessionError as exc:  # as on a worker, whoever takes the job hears of it
            output = exc
        return _ReplayedRun(output, duration_ns, self)


class _ReplayedRun(Generic[T]):
    opening_ns: int = 0

    def __init__(self, output: T | SessionError, work_ns: int, background: ReplayedBackground) -> None:
        self.duration_ns = 0
        self.work_ns = work_ns
        self.left_ns = float(work_ns)
        self.start_ns = 0
        self._output = output
        self._background = background

    def done(self) -> bool:
        self._background.works()
        return self.left_ns <= 0

    def result(self, timeout: float | None = None) -> T:
        self._background.wait_for(self)
        if isinstance(self._output, SessionError):
            raise self._output
        return self._output

    def cancel_parts(self) -> None:
        self._background.drop(self)
