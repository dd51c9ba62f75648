"""The buffer between the thread that reads a live source and the program that takes its frames."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

from edge_vseg.motion.composition import compose_fields
from edge_vseg.types import Frame
from edge_vseg.video.options import BufferOptions
from edge_vseg.video.port import FrameCounts


class FrameBuffer:
    """Holds frames until they are taken; which ones is said by :class:`~edge_vseg.video.options.BufferOptions`.

    One thread puts, any number take. Where a frame is dropped, the motion of the next one leads on to the frame before
    it.
    """

    def __init__(self, options: BufferOptions) -> None:
        """Start empty.

        Args:
            options: What happens to frames that come while the buffer is full.
        """
        self._options = options
        self._changed = threading.Condition()
        self._waiting: deque[Frame] = deque()
        self._refused: list[Frame] = []  # the last frame that `oldest` dropped, with the motion of those before it
        self._error: Exception | None = None
        self._ended = False
        self._captured = self._dropped = self._taken = 0
        self.stopped = threading.Event()

    @property
    def counts(self) -> FrameCounts:
        """Where the frames went, at one moment."""
        with self._changed:
            return FrameCounts(
                captured=self._captured, dropped=self._dropped, waiting=len(self._waiting), read=self._taken
            )

    def put(self, frame: Frame) -> None:
        """Add a frame; with ``every``, wait for room. After :meth:`stop` it is dropped."""
        with self._changed:
            if self._options.keep == "every":
                self._changed.wait_for(lambda: self.stopped.is_set() or len(self._waiting) < self._options.bound)
            # A frame that waits for room is in no other count yet.
            self._captured += 1
            if self.stopped.is_set():
                self._dropped += 1
                return
            if self._refused:
                frame = _without(self._refused.pop(), frame)
            if len(self._waiting) >= self._options.bound:
                self._dropped += 1
                if self._options.keep == "oldest":
                    self._refused.append(frame)
                    return
                dropped = self._waiting.popleft()
                if self._waiting:
                    self._waiting[0] = _without(dropped, self._waiting[0])
                else:
                    frame = _without(dropped, frame)
            self._waiting.append(frame)
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
            self._changed.wait_for(lambda: self._waiting or self._ended or self.stopped.is_set())
            if self._waiting:
                self._taken += 1
                self._changed.notify_all()
                return self._waiting.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    def stop(self) -> None:
        """Wake and end both sides."""
        self.stopped.set()
        with self._changed:
            self._changed.notify_all()


def _without(dropped: Frame, frame: Frame) -> Frame:
    """The frame as it follows what came before a dropped one."""
    comparable = dropped.image.shape == frame.image.shape
    if frame.motion is None or dropped.motion is None or not comparable:
        return replace(frame, motion=None, motion_to=None)
    origin = dropped.seq - 1 if dropped.motion_to is None else dropped.motion_to
    return replace(frame, motion=compose_fields(frame.motion, dropped.motion), motion_to=origin)
