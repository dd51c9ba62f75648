"""The background lane: runs the network beside the frames, on a worker of low priority with sessions of its own."""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edge_vseg.errors import SessionError
from edge_vseg.machine.priority import lower_priority
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.scheduling.background_turns import BackgroundTurns
from edge_vseg.scheduling.steps import Step, StepKind
from edge_vseg.scheduling.variant_sessions import VariantSessions
from edge_vseg.types import BackgroundSpan

log = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NICENESS = 10
"""Of the worker and of the runtime's threads that it starts: the frame thread goes first wherever both want a core."""
CLOSE_TIMEOUT_S = 5.0
"""A worker that has not ended by then hangs in its runtime; closing goes on without it, and says so."""


class RunPart(Protocol):
    """Runs a part of a job when it is its turn; the parts of a job are its slices, or the whole network."""

    def __call__(self, step: Step, run: Callable[[], T], /, *, first: bool = False, patience_s: float = math.inf) -> T:
        """Wait for the turn, run the part, and return what it returns.

        Args:
            step: What it is.
            run: Does it.
            first: It is the first run of a graph, at which some runtimes compile: it counts as opening, and a job with
                one tells nothing about the duration of others.
            patience_s: For so long it counts as opening, and then as work, which may hang.
        """
        ...


Job = Callable[[VariantSessions, RunPart], T]
"""What the worker does for a frame, with sessions of its own."""


class BackgroundRun(Protocol[T_co]):
    """A job under way.

    Attributes:
        duration_ns: From its first part to its end, waits included, once it is done; without the opening of graphs. 0
            if it was the first to run a graph.
    """

    duration_ns: int

    @property
    def opening_ns(self) -> int:
        """How much of the time since it was handed over the worker has opened graphs or run new ones, up to now."""
        ...

    def done(self) -> bool:
        """Whether :meth:`result` returns at once."""
        ...

    def result(self, timeout: float | None = None) -> T_co:
        """What the job returned; waits for it.

        Raises:
            TimeoutError: If it takes longer than so many seconds.
            Exception: What the job raised.
        """
        ...

    def cancel_parts(self) -> None:
        """Let the job stop before its next part."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """What a keyframe begun with the frame at hand would be worth, for who shares a worker with others.

    Attributes:
        gain: Predicted share of outdated pixels that it would renew.
        cost_ms: How long the worker would be busy.
        period_ms: When the next frame comes.
    """

    gain: float
    cost_ms: float
    period_ms: float


class Background(Protocol):
    """Runs one job at a time beside the frames."""

    @property
    def turns(self) -> BackgroundTurns:
        """What decides when a part may run."""
        ...

    def grants(self, bid: Bid) -> bool:
        """Whether a job may be started now; asked on every frame on which there is none under way."""
        ...

    def wait_ms(self, job_ms: float) -> float:
        """How long a camera may have to wait from one job to the next: rests, and the jobs of other cameras.

        Args:
            job_ms: How long a job takes.
        """
        ...

    def start(self, job: Job[T]) -> BackgroundRun[T]:
        """Hand over a job.

        Raises:
            SessionError: If the worker cannot be started.
        """
        ...

    def take_spans(self) -> tuple[BackgroundSpan, ...]:
        """The parts that were done since the last call."""
        ...

    def abandon(self) -> None:
        """End the worker as :meth:`close` does, and do not wait for it."""
        ...

    def close(self) -> None:
        """End the worker after the part under way."""
        ...


class JobCancelledError(Exception):
    """The job was cancelled before it was done."""


class _OpeningTime:
    """How long a worker has spent on opening graphs, and on their first runs."""

    def __init__(self) -> None:
        self._done_since_most_ns: tuple[int, int | None, float] = 0, None, 0  # one value: another thread reads it

    def total_ns(self) -> int:
        """In all, up to now."""
        done_ns, since_ns, most_ns = self._done_since_most_ns
        return done_ns + (0 if since_ns is None else int(min(most_ns, time.monotonic_ns() - since_ns)))

    @contextlib.contextmanager
    def counted(self, patience_s: float) -> Iterator[None]:
        """While it opens some, for so long at most."""
        self._done_since_most_ns = self.total_ns(), time.monotonic_ns(), patience_s * 1e9
        try:
            yield
        finally:
            self._done_since_most_ns = self.total_ns(), None, 0


class _WorkerRun(Future[T]):
    duration_ns: int = 0
    begin_ns: int = 0
    worked_ns: int = 0
    cancelled_parts: bool = False
    ran_new_graph: bool = False

    def __init__(self, opening: _OpeningTime) -> None:
        super().__init__()
        self._opening = opening
        self._before_ns = opening.total_ns()

    @property
    def opening_ns(self) -> int:
        return self._opening.total_ns() - self._before_ns

    def cancel_parts(self) -> None:
        self.cancelled_parts = True


class BackgroundWorker:
    """A thread with sessions of its own, all of low priority.

    Threads inherit their priority from the thread that starts them, so the sessions are opened by the worker after it
    has lowered its own: the threads of the runtime are then low, too. The thread starts with the first job.

    Args:
        open_sessions: Makes the sessions.
        turns: Decides when a part may run; by default at once where there is a second core, else between frames.
    """

    def __init__(self, open_sessions: Callable[[], VariantSessions], turns: BackgroundTurns | None = None) -> None:
        self.turns = turns or BackgroundTurns(beside_frames=usable_cores() > 1)
        self._loop = _Loop(open_sessions, self.turns)
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._loop.end).atexit = False  # of whoever is dropped without being closed

    def grants(self, bid: Bid) -> bool:
        """Always: nobody else uses the worker."""
        return True

    def wait_ms(self, job_ms: float) -> float:
        """See :class:`Background`."""
        return self.turns.rest_ms(job_ms)

    def start(self, job: Job[T]) -> BackgroundRun[T]:
        """See :class:`Background`."""
        if self._thread is None:
            thread = threading.Thread(target=self._loop.work, name="edge-vseg-background", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError) as exc:
                raise SessionError(
                    f"the background worker cannot be started: {exc}; allow the process more threads and memory"
                ) from exc
            self._thread = thread
        return self._loop.add(job)

    def take_spans(self) -> tuple[BackgroundSpan, ...]:
        """See :class:`Background`."""
        return self._loop.take_spans()

    def abandon(self) -> None:
        """See :class:`Background`."""
        self._loop.end()

    def close(self) -> None:
        """End the worker after the part under way, and close its sessions; give up on one that hangs."""
        thread, self._thread = self._thread, None
        self.abandon()
        if thread is None:
            return
        thread.join(CLOSE_TIMEOUT_S)
        if thread.is_alive():
            log.error("the background worker hangs in its runtime; it is left behind until the process ends")


class _Loop:
    """What the thread has of a worker: not the worker itself, which would then never be dropped."""

    def __init__(self, open_sessions: Callable[[], VariantSessions], turns: BackgroundTurns) -> None:
        self._turns = turns
        self._open_sessions = open_sessions
        self._opening = _OpeningTime()
        self._waiting: queue.SimpleQueue[tuple[Job[object], _WorkerRun[object]] | None] = queue.SimpleQueue()
        self._spans: queue.SimpleQueue[BackgroundSpan] = queue.SimpleQueue()

    def add(self, job: Job[T]) -> _WorkerRun[T]:
        run: _WorkerRun[T] = _WorkerRun(self._opening)
        self._waiting.put((job, run))  # type: ignore[arg-type]
        return run

    def end(self) -> None:
        self._waiting.put(None)
        self._turns.stop()

    def take_spans(self) -> tuple[BackgroundSpan, ...]:
        spans: list[BackgroundSpan] = []
        with contextlib.suppress(queue.Empty):
            while True:
                spans.append(self._spans.get_nowait())
        return tuple(spans)

    def work(self) -> None:
        lower_priority(NICENESS)
        sessions: VariantSessions | None = None
        while (item := self._waiting.get()) is not None:
            job, run = item
            try:
                sessions = sessions or self._open_sessions()
                begin_ns, made = self._turns.clock(), job(sessions, self._part_of(run))
                self._turns.job_done(begin_ns, run.worked_ns)
                run.set_result(made)
                del made
            except BaseException as exc:  # whatever it is belongs to the frame thread, which hears of it
                with contextlib.suppress(InvalidStateError):  # it was told already that the worker hangs
                    run.set_exception(exc)
            del item, job, run  # they hold images and maps, and whoever waits for the next may wait for long
        if sessions is not None:
            try:
                sessions.close()
            except Exception:  # of a third party's runtime; nobody waits for it any more
                log.exception("a session of the background could not be closed")

    def _part_of(self, run: _WorkerRun[object]) -> RunPart:
        def part(step: Step, work: Callable[[], T], /, *, first: bool = False, patience_s: float = math.inf) -> T:
            if run.cancelled_parts or not self._turns.wait(step):
                raise JobCancelledError("the keyframe in the background was dropped")
            opens = first or step.kind is StepKind.OPEN
            if first:
                run.ran_new_graph, run.duration_ns = True, 0
            start_ns = time.monotonic_ns()
            with self._opening.counted(patience_s) if opens else contextlib.nullcontext():
                made = work()
            end_ns = time.monotonic_ns()
            if self._turns.stopped:  # it hung, and another worker makes maps with the same buffers now
                raise JobCancelledError("the worker was replaced")
            if not opens:  # which happens once, and tells nothing about the next keyframe
                run.begin_ns = run.begin_ns or start_ns
                run.duration_ns = 0 if run.ran_new_graph else end_ns - run.begin_ns
                run.worked_ns += end_ns - start_ns
                self._turns.done(step, end_ns - start_ns)
            self._spans.put(BackgroundSpan(step=str(step), start_ns=start_ns, end_ns=end_ns))
            return made

        return part


def describe_failure(error: BaseException) -> SessionError:
    """The error that the frame thread raises for a job that failed."""
    reason = "it hangs in its runtime" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return SessionError(f"the keyframe in the background failed: {reason}")
