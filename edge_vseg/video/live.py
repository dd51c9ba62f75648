"""Read a live source in a thread, so that a slow reader never lags behind the camera."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace

from edge_vseg.errors import ForkError, OptionError
from edge_vseg.types import Frame
from edge_vseg.video.frame_buffer import FrameBuffer
from edge_vseg.video.options import BufferOptions
from edge_vseg.video.port import Connection, FrameCounts, Source

logger = logging.getLogger(__name__)

_JOIN_TIMEOUT_S = 2.0
_NEWEST = BufferOptions()
_MAX_GAP_NS = 60 * 10**9
"""A longer gap in the times of a recording is damage, not something to wait for."""
_MAX_BACK_NS = 10**9
"""Times that go back by more begin anew, as those of files that were put together."""


class Pacer:
    """Delays the frames of a recording to real time."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Start before the first frame.

        Args:
            clock: Nanoseconds.
        """
        self._clock = clock
        self._origin_ns: int | None = None
        self._latest_ns: int | None = None

    def delay_s(self, frame: Frame) -> float:
        """Seconds until the frame is due, 0 if it is late; the first one, and one after a jump of the times, at once.

        Raises:
            OptionError: If the frame has no presentation time.
        """
        if frame.pts_ns is None:
            raise OptionError(
                f"{frame.source_name}: its frames have no times, so it cannot be played live; set image_fps for images"
            )
        now_ns, before_ns, self._latest_ns = self._clock(), self._latest_ns, frame.pts_ns
        jumped = before_ns is not None and not -_MAX_BACK_NS <= frame.pts_ns - before_ns <= _MAX_GAP_NS
        if self._origin_ns is None or jumped:
            self._origin_ns = now_ns - frame.pts_ns
        return max(0.0, (self.due_ns(frame) - now_ns) / 1e9)

    def due_ns(self, frame: Frame) -> int:
        """When a camera would have captured the frame, by the clock; call :meth:`delay_s` first."""
        assert self._origin_ns is not None
        assert frame.pts_ns is not None
        return self._origin_ns + frame.pts_ns


def _read_all(source: Source, buffer: FrameBuffer, pacer: Pacer | None) -> None:
    # The thread owns the source: closing a container while another thread reads it crashes.
    error: Exception | None = None
    try:
        for frame in source:
            if buffer.stopped.wait(pacer.delay_s(frame) if pacer else 0.0):
                break
            # A frame that is decoded late was still captured on time.
            buffer.put(replace(frame, capture_ns=pacer.due_ns(frame)) if pacer else frame)
    except Exception as exc:  # raised in the consumer's thread
        error = exc
    finally:
        error = _close(source, error)
        buffer.end(error)


def _close(source: Source, error: Exception | None) -> Exception | None:
    """Close the source; the reader must hear of the end even if that fails. The first error is the cause."""
    try:
        source.close()
    except Exception as exc:
        if error is None:
            return exc
        logger.warning("%s: closing it failed, too (%s)", source.name, type(exc).__name__)
    return error


def _let_go(source: Source, buffer: FrameBuffer, pid: int) -> None:
    """End the thread, which closes the source."""
    if os.getpid() == pid:
        source.interrupt()
        buffer.stop()


class LatestSource(Source):
    """Reads another source in its own thread, into a buffer that by default keeps only the newest frame.

    Reading starts at once. Frames that the consumer misses are dropped: a gap in ``seq``, over which the ``motion`` of
    the next frame leads. A consumer that is faster than the source waits; it never gets a frame twice. One that is
    dropped without being closed ends its thread, too.
    """

    def __init__(self, source: Source, *, pacer: Pacer | None = None, buffer: BufferOptions = _NEWEST) -> None:
        """Take over the source and start reading.

        Args:
            source: Read and closed by the thread; do not use it any more.
            pacer: Plays a recording in real time; ``None`` for a camera or stream.
            buffer: Which frames a slow reader gets.
        """
        super().__init__(name=source.name)
        self._source = source
        self._source_frame_count = source.frame_count
        self._buffer = FrameBuffer(buffer)
        self._thread = threading.Thread(
            target=_read_all, args=(source, self._buffer, pacer), name=f"read {source.name}", daemon=True
        )
        self._pid = os.getpid()
        self._thread.start()
        weakref.finalize(self, _let_go, source, self._buffer, self._pid).atexit = False

    @property
    def fps(self) -> float | None:
        """Frames per second of the source."""
        return self._source.fps

    @property
    def is_live(self) -> bool:
        """Always true."""
        return True

    @property
    def damaged(self) -> str | None:
        """What was wrong with the frames read so far; ``None`` if nothing."""
        return self._source.damaged

    @property
    def counts(self) -> FrameCounts:
        """Where the frames went so far."""
        return self._buffer.counts

    @property
    def connection(self) -> Connection:
        """Whether frames come; ``ended`` once the last one was taken."""
        if self._end_seen is not None:
            return self._end_seen
        inner = self._source.connection
        if inner.state == "ended" and self._buffer.counts.waiting:
            return Connection(state="connected", since_ns=self._opened_ns, reconnects=inner.reconnects)
        return inner

    def _expected_frames(self) -> int | None:
        return self._source_frame_count

    def _read(self) -> Frame | None:
        if os.getpid() != self._pid:
            raise ForkError(
                f"{self.name} was opened before the process was forked, and the thread that reads it is not in the"
                " child; open it in the child, or start children by multiprocessing's method 'spawn'"
            )
        return self._buffer.take()

    def _release(self) -> None:
        if os.getpid() != self._pid:  # the thread and the camera are the parent's
            return
        _let_go(self._source, self._buffer, self._pid)
        self._thread.join(_JOIN_TIMEOUT_S)
        if self._thread.is_alive():
            # It blocks in a read that only the device or the stall timeout ends, and closes the source afterwards.
            logger.warning("%s: a read is still blocking; the reading thread ends when it returns", self.name)
