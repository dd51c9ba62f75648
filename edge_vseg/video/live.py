"""Read a live source in a thread, so that a slow reader always gets the newest frame."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from edge_vseg.errors import OptionError
from edge_vseg.types import Frame
from edge_vseg.video.port import Source

logger = logging.getLogger(__name__)

_JOIN_TIMEOUT_S = 2.0


class Pacer:
    """Delays the frames of a recording to real time."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Start before the first frame.

        Args:
            clock: Nanoseconds.
        """
        self._clock = clock
        self._origin_ns: int | None = None

    def delay_s(self, frame: Frame) -> float:
        """Seconds until the frame is due, 0 if it is late; the first frame is due at once.

        Raises:
            OptionError: If the frame has no presentation time.
        """
        if frame.pts_ns is None:
            raise OptionError(
                f"{frame.source_name}: its frames have no times, so it cannot be played live; set image_fps for images"
            )
        now_ns = self._clock()
        if self._origin_ns is None:
            self._origin_ns = now_ns - frame.pts_ns
        return max(0.0, (self.due_ns(frame) - now_ns) / 1e9)

    def due_ns(self, frame: Frame) -> int:
        """When a camera would have captured the frame, by the clock; call :meth:`delay_s` first."""
        assert self._origin_ns is not None
        assert frame.pts_ns is not None
        return self._origin_ns + frame.pts_ns


class _LatestFrame:
    """A slot for one frame, shared by the reading thread and the consumer."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._error: Exception | None = None
        self._ended = False
        self.stopped = threading.Event()

    def put(self, frame: Frame) -> None:
        """Replace the waiting frame, if any."""
        with self._changed:
            if self._frame is not None and frame.motion is not None:
                frame = replace(frame, motion=None)  # it refers to the frame that is dropped here
            self._frame = frame
            self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """Mark the end, with its cause if it is an error."""
        with self._changed:
            self._ended = True
            self._error = error
            self._changed.notify_all()

    def take(self) -> Frame | None:
        """Wait for a frame; ``None`` at the end. An error is raised after the last frame."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._ended or self.stopped.is_set())
            frame, self._frame = self._frame, None
            if frame is None and self._error is not None:
                error, self._error = self._error, None
                raise error
            return frame

    def stop(self) -> None:
        """Wake and end both sides."""
        self.stopped.set()
        with self._changed:
            self._changed.notify_all()


def _read_all(source: Source, latest: _LatestFrame, pacer: Pacer | None) -> None:
    # The thread owns the source: closing a container while another thread reads it crashes.
    error: Exception | None = None
    try:
        for frame in source:
            if latest.stopped.wait(pacer.delay_s(frame) if pacer else 0.0):
                break
            # A frame that is decoded late was still captured on time.
            latest.put(replace(frame, capture_ns=pacer.due_ns(frame)) if pacer else frame)
    except Exception as exc:  # raised in the consumer's thread
        error = exc
    finally:
        source.close()
        latest.end(error)


class LatestSource(Source):
    """Reads another source in its own thread and keeps only the newest frame.

    Reading starts at once. Frames that the consumer misses are dropped: a gap in ``seq``, and no ``motion`` in the next
    frame. A consumer that is faster than the source waits; it never gets a frame twice.
    """

    def __init__(self, source: Source, *, pacer: Pacer | None = None) -> None:
        """Take over the source and start reading.

        Args:
            source: Read and closed by the thread; do not use it any more.
            pacer: Plays a recording in real time; ``None`` for a camera or stream.
        """
        super().__init__(name=source.name)
        self._source = source
        self._fps = source.fps
        self._source_frame_count = source.frame_count
        self._latest = _LatestFrame()
        self._thread = threading.Thread(
            target=_read_all, args=(source, self._latest, pacer), name=f"read {source.name}", daemon=True
        )
        self._thread.start()

    @property
    def fps(self) -> float | None:
        """Frames per second of the source."""
        return self._fps

    @property
    def is_live(self) -> bool:
        """Always true."""
        return True

    @property
    def damaged(self) -> str | None:
        """What was wrong with the frames read so far; ``None`` if nothing."""
        return self._source.damaged

    def _expected_frames(self) -> int | None:
        return self._source_frame_count

    def _read(self) -> Frame | None:
        return self._latest.take()

    def _release(self) -> None:
        self._latest.stop()
        self._thread.join(_JOIN_TIMEOUT_S)
        if self._thread.is_alive():
            # It blocks in a read that only the device or the network timeout ends, and closes the source afterwards.
            logger.warning("%s: a read is still blocking; the reading thread ends when it returns", self.name)
