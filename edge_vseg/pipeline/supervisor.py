"""Keeps a worker at work: starts it, replaces one that dies or hangs, and gives up within limits."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from edge_vseg.errors import PipelineEndedError, PipelineFailedError
from edge_vseg.machine.throttle import Throttle
from edge_vseg.pipeline.board import ResultBoard
from edge_vseg.pipeline.intake import FrameIntake
from edge_vseg.pipeline.monitor import PipelineMonitor
from edge_vseg.pipeline.options import PipelineOptions
from edge_vseg.pipeline.worker import SegmenterWorker, SourceFailedError
from edge_vseg.segmenter import Segmenter

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the supervisor looks, at least; it hears at once of a worker that ends."""
THROTTLE_S = 2.0
"""How often it reads whether the machine throttles: up to hundreds of small files."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 5.0
"""Before a restart; doubled with each one in the window: a device that resets needs a moment."""
NOTICED_S = 1.0
"""A frame that takes so long is named as the reason for results that do not come."""


class Supervisor:
    """Watches one worker at a time, from a thread of its own.

    A native call that hangs cannot be ended: its thread is left behind with its session, and another worker opens the
    bundle again. So the number of those that still hang is limited as restarts are.

    Attributes:
        restarts: How often the worker was restarted.
        failed_ns: When the supervisor gave up; 0 while it has not.

    Args:
        open_segmenter: Opens the segmenter of another worker.
        intake: Where frames come from.
        board: Where results go.
        monitor: Learns from results, and is told what the machine says.
        options: The limits.
    """

    def __init__(
        self,
        open_segmenter: Callable[[], Segmenter],
        intake: FrameIntake,
        board: ResultBoard,
        monitor: PipelineMonitor,
        options: PipelineOptions,
    ) -> None:
        self.restarts = 0
        self.failed_ns = 0
        self._open_segmenter = open_segmenter
        self._intake = intake
        self._board = board
        self._monitor = monitor
        self._options = options
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._restarted_ns: deque[int] = deque()
        self._hung: list[SegmenterWorker] = []
        self._reason = ""
        self._throttle = Throttle(Path("/"))
        self._throttle_ns = 0
        self._thread = threading.Thread(target=self._run, name="edge-vseg-supervisor", daemon=True)

    def start(self, first: Segmenter, on_look: Callable[[], object]) -> None:
        """Start with a segmenter that is open; ``on_look`` is called at every look."""
        self._on_look = on_look
        self._worker = self._make_worker(lambda: first)
        self._worker.start()
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Why no result can come just now; empty if there is no reason here."""
        worker, since_ns = self._worker, self._worker.since_ns
        if self._reason and (worker.opening or worker.ended):
            return f"the segmenter is opened again: {self._reason}"
        seconds = 0.0 if since_ns is None else (time.monotonic_ns() - since_ns) / 1e9
        return f"the segmenter has been in one frame for {seconds:.1f} s" if seconds > NOTICED_S else ""

    def stop(self, timeout_s: float) -> None:
        """End the threads; those that hang are left behind."""
        self._closing.set()
        self._wake.set()
        until = time.monotonic() + timeout_s
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        if self._worker.is_current_thread:
            return
        self._worker.join(max(0.0, until - time.monotonic()))
        if self._worker.alive:
            log.error("the pipeline's worker hangs in its runtime or source; it is left behind until the process ends")

    def _make_worker(self, open_segmenter: Callable[[], Segmenter]) -> SegmenterWorker:
        return SegmenterWorker(
            open_segmenter,
            self._intake,
            self._board,
            self._monitor,
            max_failures=self._options.max_frame_failures,
            on_end=self._wake.set,
        )

    def _run(self) -> None:
        try:
            self._watch()
        except Exception as exc:  # such as no memory for the thread of another worker: nobody would look any more
            self._fail(f"its supervisor died of {type(exc).__name__}: {exc}", exc)

    def _watch(self) -> None:
        look_s = min(LOOK_S, self._options.hang_s / 4)
        while not self._closing.is_set() and self._board.ended_by is None:
            self._wake.wait(look_s)
            self._wake.clear()
            self._read_throttle()
            self._look()
            self._on_look()

    def _read_throttle(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns - self._throttle_ns >= THROTTLE_S * 1e9:
            self._throttle_ns = now_ns
            self._monitor.throttled = self._throttle.read()

    def _look(self) -> None:
        worker, since_ns = self._worker, self._worker.since_ns
        if worker.ended:
            self._after(worker.error)
            return
        limit_s = self._options.open_s if worker.opening else self._options.hang_s
        if since_ns is not None and time.monotonic_ns() - since_ns > limit_s * 1e9:
            self._hung.append(worker)
            where = "opening the bundle or its first frame" if worker.opening else "a frame"
            self._replace(f"it hung in {where} for more than {limit_s:g} s", None)

    def _after(self, error: BaseException | None) -> None:
        """Go on after a worker has ended."""
        name = self._intake.source.name
        if error is None:
            self._board.end(PipelineEndedError(f"{name} has ended; open the pipeline again for another source"))
            self._intake.close()
        elif isinstance(error, SourceFailedError):
            self._fail(f"{name} failed: {error}", error.__cause__)
        else:
            self._replace(f"it died of {type(error).__name__}: {error}", error)

    def _replace(self, reason: str, cause: BaseException | None) -> None:
        """Start another worker, if that is still within the limits."""
        self._board.take_over()
        options, now_ns = self._options, time.monotonic_ns()
        while self._restarted_ns and now_ns - self._restarted_ns[0] > options.restart_window_s * 1e9:
            self._restarted_ns.popleft()
        done = len(self._restarted_ns)
        if done >= options.max_restarts or sum(worker.alive for worker in self._hung) > options.max_restarts:
            self._fail(f"the segmenter cannot be kept alive: {reason} ({self.restarts} restarts so far)", cause)
            return
        log.error("the segmenter is opened again: %s", reason)
        self._reason = reason
        self._restarted_ns.append(now_ns)
        self.restarts += 1
        if not self._closing.wait(min(MAX_PAUSE_S, FIRST_PAUSE_S * 2**done)):
            worker = self._make_worker(self._open_segmenter)
            worker.start()
            self._worker = worker  # not before it has started, which may fail

    def _fail(self, reason: str, cause: BaseException | None) -> None:
        error = PipelineFailedError(f"the pipeline has failed and stays closed: {reason}; start the process again")
        error.__cause__ = cause
        log.error("%s", error)
        self.failed_ns = time.monotonic_ns()
        self._board.end(error)
        self._intake.close()
