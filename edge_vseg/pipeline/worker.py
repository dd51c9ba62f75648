"""The thread that segments frames, as long as it lives and is wanted."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from edge_vseg.errors import FrameError, OptionError, SessionError
from edge_vseg.pipeline.board import ResultBoard
from edge_vseg.pipeline.intake import FrameIntake
from edge_vseg.pipeline.monitor import PipelineMonitor
from edge_vseg.segmenter import Segmenter

log = logging.getLogger(__name__)


class SourceFailedError(Exception):
    """The source raised; its error is the cause."""


class SegmenterWorker:
    """Takes frames from the intake, segments them and posts the results, until the source ends or something dies.

    A frame that fails is counted and the next one taken. Anything that is not about one frame ends the thread, and
    :attr:`error` says what it was.

    Attributes:
        error: What it died of; ``None`` while it lives, and if the source has ended.
        since_ns: Since when it is in the frame or the opening at hand; ``None`` while it waits for a frame.
        opening: Whether it opens its segmenter, or is in its first frame, for which some runtimes compile.
        ended: Whether it takes no more frames.

    Args:
        open_segmenter: Opens its segmenter, in its thread.
        intake: Where frames come from.
        board: Where results go.
        monitor: Learns from results that are delivered.
        max_failures: So many failed frames in a row end it.
        on_end: Called when the thread ends.
    """

    def __init__(
        self,
        open_segmenter: Callable[[], Segmenter],
        intake: FrameIntake,
        board: ResultBoard,
        monitor: PipelineMonitor,
        *,
        max_failures: int,
        on_end: Callable[[], None],
    ) -> None:
        self.error: BaseException | None = None
        self.since_ns: int | None = time.monotonic_ns()
        self.opening = True
        self.ended = False
        self._open_segmenter = open_segmenter
        self._intake = intake
        self._board = board
        self._monitor = monitor
        self._max_failures = max_failures
        self._on_end = on_end
        self._token = board.take_over()
        self._thread = threading.Thread(target=self._work, name="edge-vseg-pipeline", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs; one that hangs does."""
        return self._thread.is_alive()

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller is its thread."""
        return threading.current_thread() is self._thread

    def join(self, timeout_s: float) -> None:
        """Wait for its end."""
        self._thread.join(timeout_s)

    def _work(self) -> None:
        segmenter: Segmenter | None = None
        try:
            segmenter = self._open_segmenter()
            self.since_ns = None
            self._segment_all(segmenter)
        except BaseException as exc:  # whatever it is belongs to the supervisor, which hears of it
            self.error = exc
        finally:
            self.since_ns, self.ended = None, True
            self._on_end()
            if segmenter is not None:
                with contextlib.suppress(Exception):  # of a runtime that is broken already
                    segmenter.close()

    def _segment_all(self, segmenter: Segmenter) -> None:
        failures = 0
        while self._board.owned_by(self._token):
            try:
                frame = self._intake.take()
            except Exception as exc:
                raise SourceFailedError(str(exc)) from exc
            if frame is None or not self._board.begin(self._token):
                return
            self.since_ns = time.monotonic_ns()
            try:
                result = segmenter(frame)
            except (FrameError, OptionError, SessionError) as exc:
                failures += 1
                if self._board.fail_frame(self._token):
                    self._monitor.add_failure()
                # Once for each run of failures: a camera of the wrong format would fill the log.
                log.log(logging.WARNING if failures == 1 else logging.DEBUG, "frame %d failed: %s", frame.seq, exc)
                if failures >= self._max_failures:
                    raise
            else:
                failures = 0
                result.labels.flags.writeable = False  # everybody gets the same one
                # Only what is delivered is learnt from: a worker that was given up as hung took far too long.
                self._board.post(self._token, frame, result, partial(self._monitor.add, result, segmenter))
            self.since_ns, self.opening = None, False
