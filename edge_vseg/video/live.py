"""Reading a live source so that a slow reader gets the newest frame, not an ever older one."""

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

_JOIN_S = 2.0


class Pacer:
    """Holds the frames of a recording back until their time has come, as a camera would."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Start with no frame seen.

        Args:
            clock: Gives the current time in ns.
        """
        self._clock = clock
        self._origin_ns: int | None = None

    def delay_s(self, frame: Frame) -> float:
        """Seconds from now until the frame is due, 0 when it is late; the first frame is due at once.

        Raises:
            OptionError: If the frame has no presentation time.
        """
        if frame.pts_ns is None:
            raise OptionError(
                f"{frame.source_name}: its frames have no times, so it cannot be played live; for images set image_fps"
            )
        now_ns = self._clock()
        if self._origin_ns is None:
            self._origin_ns = now_ns - frame.pts_ns
        return max(0.0, (self.due_ns(frame) - now_ns) / 1e9)

    def due_ns(self, frame: Frame) -> int:
        """When a camera would have captured the frame, by the clock; after :meth:`delay_s` of the first one."""
        assert self._origin_ns is not None
        assert frame.pts_ns is not None
        return self._origin_ns + frame.pts_ns


class _Mailbox:
    """Room for one frame, shared by the reading thread and the consumer."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._error: Exception | None = None
        self._ended = False
        self.stopped = threading.Event()

    def put(self, frame: Frame) -> None:
        """Replace whatever frame is waiting."""
        with self._changed:
            if self._frame is not None and frame.motion is not None:
                frame = replace(frame, motion=None)  # it leads to the frame that is dropped here
            self._frame = frame
            self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """Say that no frame follows, and why."""
        with self._changed:
            self._ended = True
            self._error = error
            self._changed.notify_all()

    def take(self) -> Frame | None:
        """Wait for a frame; ``None`` at the end. An error comes after the last frame."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._ended or self.stopped.is_set())
            frame, self._frame = self._frame, None
            if frame is None and self._error is not None:
                error, self._error = self._error, None
                raise error
            return frame

    def stop(self) -> None:
        """Wake both sides up for good."""
        self.stopped.set()
        with self._changed:
            self._changed.notify_all()


def _pump(source: Source, mailbox: _Mailbox, pacer: Pacer | None) -> None:
    # The thread owns the source from here on: closing a container while another thread reads it crashes.
    error: Exception | None = None
    try:
        for frame in source:
            if mailbox.stopped.wait(pacer.delay_s(frame) if pacer else 0.0):
                break
            # A frame that is decoded too late was captured in time all the same.
            mailbox.put(replace(frame, capture_ns=pacer.due_ns(frame)) if pacer else frame)
    except Exception as exc:  # handed to the consumer, who raises it
        error = exc
    finally:
        source.close()
        mailbox.end(error)


class LatestSource(Source):
    """Another source, read by a thread of its own that keeps only the newest frame.

    Reading starts at once, as a camera does. Frames that the consumer was too slow for are dropped, visible
    as gaps in ``seq``, and the frame after has no ``motion``. A frame is given out once. A consumer faster than
    the source waits.
    """

    def __init__(self, source: Source, *, pacer: Pacer | None = None) -> None:
        """Take the source over and start to read it.

        Args:
            source: Read and closed by the thread; leave it alone from here on.
            pacer: Plays a recording at its own pace; ``None`` for what has a pace anyway.
        """
        super().__init__(name=source.name)
        self._source = source
        self._fps = source.fps
        self._expected_frames = source.frame_count
        self._mailbox = _Mailbox()
        self._thread = threading.Thread(
            target=_pump, args=(source, self._mailbox, pacer), name=f"read {source.name}", daemon=True
        )
        self._thread.start()

    @property
    def fps(self) -> float | None:
        """The rate of the source."""
        return self._fps

    @property
    def is_live(self) -> bool:
        """Always."""
        return True

    @property
    def damaged(self) -> str | None:
        """What the thread found wrong so far."""
        return self._source.damaged

    def _expected(self) -> int | None:
        return self._expected_frames

    def _read(self) -> Frame | None:
        return self._mailbox.take()

    def _release(self) -> None:
        self._mailbox.stop()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            # It sits in a read that only the device or the network timeout ends; it closes the source then.
            logger.warning("%s: still waiting for the stream; its thread ends when that read does", self.name)
