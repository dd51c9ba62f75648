"""A callback in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from edge_vseg.errors import PipelineError
from edge_vseg.pipeline.board import Accept, Posted, ResultBoard

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionCounts:
    """Where the results went since the subscription; ``posted == handled + dropped + failed + in_flight``.

    Attributes:
        posted: Results of the pipeline.
        handled: Results that the callback has returned from.
        dropped: Results that a newer one replaced first, or that were left at the end.
        failed: Results that the callback raised for.
        in_flight: The result in the callback, and one that waits for it.
    """

    posted: int
    handled: int
    dropped: int
    failed: int
    in_flight: int


class Subscription:
    """Calls a function with each newest result, until it is closed or the pipeline ends.

    A slow function loses results; nobody else does. One that raises is reported in the log and called again, unless it
    raises too often in a row. The counts are its own.

    Attributes:
        error: What the function raised last; ``None`` if nothing.

    Args:
        function: Called in a thread of this subscription, with what is new on the board.
        board: Where results are.
        fresh: Whether a result may still be handed out.
        max_failures: The function is called no more after so many failures in a row.
        name: Of the function, for messages.
    """

    def __init__(
        self,
        function: Callable[[Posted], object],
        board: ResultBoard,
        fresh: Accept,
        *,
        max_failures: int,
        name: str = "callback",
    ) -> None:
        self.error: BaseException | None = None
        self._function = function
        self._board = board
        self._fresh = fresh
        self._max_failures = max_failures
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopped = False
        self._first = self._last = _number(board)
        self._handled = self._failed = self._skipped = 0
        self._running = False
        self._end: int | None = None
        self._thread = threading.Thread(target=self._run, name=f"edge-vseg {name}", daemon=True)
        self._thread.start()

    @property
    def active(self) -> bool:
        """Whether the function is still called."""
        return self._end is None

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller is in the function."""
        return threading.current_thread() is self._thread

    @property
    def counts(self) -> SubscriptionCounts:
        """Where the results went."""
        with self._lock:
            newest = _number(self._board) if self._end is None else self._end
            unseen = newest - self._last
            waiting = min(1, unseen) if self._end is None else 0
            return SubscriptionCounts(
                posted=newest - self._first,
                handled=self._handled,
                dropped=self._skipped + unseen - waiting,
                failed=self._failed,
                in_flight=self._running + waiting,
            )

    def close(self, timeout_s: float = 5.0) -> None:
        """Call the function no more, and wait until it has returned; from any thread, its own too."""
        self._stopped = True
        self._changed.set()
        if not self.is_current_thread:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                log.warning("callback %s does not return; it is left behind", self._thread.name)

    def _run(self) -> None:
        try:
            with self._board.listening(self._changed.set):
                self._call_all()
        except PipelineError:
            pass  # the source has ended, or the pipeline is closed or has failed: who asks it is told why
        finally:
            with self._lock:
                self._end = _number(self._board)

    def _call_all(self) -> None:
        failures = 0
        while not self._stopped and failures < self._max_failures:
            posted = self._board.peek(lambda new: new.number > self._last and self._fresh(new))
            if posted is None:
                self._changed.wait()
                self._changed.clear()
            else:
                failures = 0 if self._call(posted) else failures + 1
        if failures:
            log.error("callback %s failed %d times in a row and is called no more", self._thread.name, failures)

    def _call(self, posted: Posted) -> bool:
        with self._lock:
            self._skipped += posted.number - self._last - 1
            self._last, self._running = posted.number, True
        failed = False
        try:
            self._function(posted)
        except BaseException as exc:  # the user's code may raise anything
            log.exception("callback %s failed for frame %d", self._thread.name, posted.result.seq)
            self.error, failed = exc, True
        with self._lock:
            self._running = False
            self._handled += not failed
            self._failed += failed
        return not failed


def _number(board: ResultBoard) -> int:
    return board.newest.number if board.newest is not None else 0
