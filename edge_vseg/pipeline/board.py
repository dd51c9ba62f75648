"""The newest result, who waits for it, and where every frame went."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_vseg.errors import PipelineClosedError, PipelineEndedError, PipelineError, PipelineFailedError
from edge_vseg.types import Frame, Result
from edge_vseg.video import FrameCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCounts:
    """Where the frames went, at one moment; ``captured == delivered + dropped + failed + in_flight``.

    Attributes:
        captured: Frames that the source has given.
        delivered: Frames that have a result.
        dropped: Frames that a newer one replaced before they were segmented, or that were left at the end.
        failed: Frames that could not be segmented, or whose worker hung.
        in_flight: Frames in the source's buffer or in the segmenter.
    """

    captured: int
    delivered: int
    dropped: int
    failed: int
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posted:
    """A result on the board.

    Attributes:
        number: Counts the results of the pipeline, from 1.
        frame: The frame.
        result: Its result.
    """

    number: int
    frame: Frame
    result: Result


Accept = Callable[[Posted], bool]


class ResultBoard:
    """Shared by the worker that posts results and everybody who wants them; all of it holds at one moment.

    One worker at a time owns the board, by a token. What a worker that was given up posts later is left out.

    Args:
        source_counts: Frame counts of the source.
    """

    def __init__(self, source_counts: Callable[[], FrameCounts]) -> None:
        self._source_counts = source_counts
        self._changed = threading.Condition()
        self._newest: Posted | None = None
        self._owner = 0
        self._at_work = False
        self._delivered = self._failed = 0
        self._final: PipelineCounts | None = None
        self._end: PipelineError | None = None
        self._listeners: list[Callable[[], None]] = []

    # For workers.

    def take_over(self) -> int:
        """Own the board from now on; a frame that the last owner is still in has failed.

        Returns:
            The token of the new owner.
        """
        with self._changed:
            self._failed += self._at_work
            self._at_work = False
            self._owner += 1
            return self._owner

    def owned_by(self, token: int) -> bool:
        """Whether a worker still owns the board, and the pipeline goes on."""
        with self._changed:
            return token == self._owner and self._end is None

    def begin(self, token: int) -> bool:
        """Begin to segment a frame; returns whether the worker still owns the board."""
        with self._changed:
            owns = token == self._owner and self._end is None
            self._at_work = self._at_work or owns
            return owns

    def post(self, token: int, frame: Frame, result: Result, learn: Callable[[], None] = lambda: None) -> bool:
        """Deliver the result of the frame that was begun.

        Args:
            token: The worker's.
            frame: The frame.
            result: Its result.
            learn: Called before anybody sees the result, and only if it is delivered: by what it teaches, such as how
                old results may be, those who wait for it judge it.

        Returns:
            Whether the worker still owns the board.
        """
        with self._changed:
            if token != self._owner or self._end is not None:
                return False
            learn()
            self._at_work = False
            self._delivered += 1
            self._newest = Posted(number=self._delivered, frame=frame, result=result)
            self._changed.notify_all()
        self._tell()
        return True

    def fail_frame(self, token: int) -> bool:
        """Count the frame that was begun as failed; returns whether the worker still owns the board."""
        with self._changed:
            if token != self._owner or self._end is not None:
                return False
            self._at_work = False
            self._failed += 1
            return True

    # For the pipeline.

    def end(self, error: PipelineError) -> None:
        """Let nothing be posted any more; a failure stays, and so does closing.

        Frames that were in flight are dropped.
        """
        with self._changed:
            if self._end is None:
                left = self._count()
                self._final = PipelineCounts(
                    captured=left.captured,
                    delivered=left.delivered,
                    dropped=left.dropped + left.in_flight,
                    failed=left.failed,
                    in_flight=0,
                )
            if not isinstance(self._end, PipelineFailedError | PipelineClosedError):
                self._end = error
            self._changed.notify_all()
        self._tell()

    @property
    def ended_by(self) -> PipelineError | None:
        """Why nothing is posted any more; ``None`` while there is."""
        return self._end

    @property
    def newest(self) -> Posted | None:
        """The newest result; ``None`` before the first."""
        return self._newest

    @property
    def counts(self) -> PipelineCounts:
        """Where the frames went."""
        with self._changed:
            return self._final or self._count()

    def _count(self) -> PipelineCounts:
        source = self._source_counts()  # takes the source's lock, and never ours
        return PipelineCounts(
            captured=source.captured,
            delivered=self._delivered,
            dropped=source.dropped,
            failed=self._failed,
            in_flight=source.waiting + source.read - self._delivered - self._failed,
        )

    # For whoever wants results.

    def peek(self, accept: Accept) -> Posted | None:
        """The newest result if it is accepted, else ``None``.

        Raises:
            PipelineFailedError: If the pipeline has given up.
            PipelineClosedError: If it is closed.
            PipelineEndedError: If the source has ended, and the newest result is not accepted.
        """
        with self._changed:
            return self._peek(accept)

    def wait(self, accept: Accept, timeout_s: float | None) -> Posted | None:
        """Wait until :meth:`peek` gives a result or raises; ``None`` if that takes longer."""
        with self._changed:
            found: list[Posted] = []

            def ready() -> bool:
                posted = self._peek(accept)
                found.extend([posted] if posted else [])
                return posted is not None

            self._changed.wait_for(ready, timeout_s)
            return found[-1] if found else None

    def _peek(self, accept: Accept) -> Posted | None:
        if isinstance(self._end, PipelineFailedError | PipelineClosedError):
            raise _again(self._end)
        if self._newest is not None and accept(self._newest):
            return self._newest
        if isinstance(self._end, PipelineEndedError):
            raise _again(self._end)
        return None

    @contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call a listener at every change; it must return at once, and may be called once more after the block."""
        with self._changed:
            self._listeners.append(listener)
        try:
            yield
        finally:
            with self._changed:
                self._listeners.remove(listener)

    def _tell(self) -> None:
        with self._changed:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


def _again(error: PipelineError) -> PipelineError:
    """A new error of the same kind: one object raised in many threads would collect all their tracebacks."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
