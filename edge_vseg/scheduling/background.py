"""Run keyframes in the background, on a worker of low priority."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from edge_vseg.runtimes import Session
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.types import Tensor

log = logging.getLogger(__name__)

NICENESS = 10
"""Of the worker and of the runtime's threads that it starts: the frame thread goes first wherever both want a core."""
CLOSE_TIMEOUT_S = 5.0
"""A worker that has not ended by then hangs in its runtime; closing goes on without it, and says so."""


class BackgroundRun(Protocol):
    """A keyframe in the background.

    Attributes:
        duration_ns: How long the network took, once it is done; 0 where it was not measured.
    """

    duration_ns: int

    def done(self) -> bool:
        """Whether :meth:`result` returns at once."""
        ...

    def result(self) -> Tensor:
        """The raw output of the network; waits for it.

        Raises:
            SessionError: If the runtime failed.
        """
        ...


class Background(Protocol):
    """Runs one keyframe at a time beside the frames.

    Attributes:
        available: Whether there is a core to run it on while frames are answered.
    """

    available: bool

    def start(self, tensor: Tensor) -> BackgroundRun:
        """Start the network on an input tensor, which is not changed until the run is done."""
        ...

    def close(self) -> None:
        """End the worker."""
        ...


class _WorkerRun(Future[Tensor]):
    duration_ns: int = 0


class BackgroundWorker:
    """A thread with a session of its own, both of low priority.

    Threads inherit their priority from the thread that starts them, so the session is opened by the worker after it has
    lowered its own: the threads of the runtime are then low, too. The thread starts with the first keyframe.

    Args:
        open_session: Opens the whole graph.
        run: Runs a tensor in that session.
    """

    def __init__(self, open_session: Callable[[], Session], run: Callable[[Session, Tensor], Tensor]) -> None:
        self.available = usable_cores() > 1
        self._open_session = open_session
        self._run = run
        self._waiting: queue.SimpleQueue[tuple[Tensor, _WorkerRun] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, tensor: Tensor) -> BackgroundRun:
        """See :class:`Background`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="edge-vseg-background", daemon=True)
            self._thread.start()
        run = _WorkerRun()
        self._waiting.put((tensor, run))
        return run

    def close(self) -> None:
        """End the worker after its keyframe, and close its session; give up on one that hangs."""
        if self._thread is None:
            return
        self._waiting.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            log.error("the background worker hangs in its runtime; it is left behind until the process ends")
        self._thread = None

    def _work(self) -> None:
        _lower_priority()
        session: Session | None = None
        while (item := self._waiting.get()) is not None:
            tensor, run = item
            try:
                session = session or self._open_session()
                begin_ns = time.perf_counter_ns()
                output = self._run(session, tensor)
                run.duration_ns = time.perf_counter_ns() - begin_ns
                run.set_result(output)
            except Exception as exc:  # whatever it is belongs to the frame thread, which collects the keyframe
                run.set_exception(exc)
        if session is not None:
            session.close()


def _lower_priority() -> None:
    # Linux counts niceness by thread; elsewhere it would lower the whole process, so nothing is done there.
    if hasattr(os, "sched_getaffinity"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
