"""A source that one thread reads and any thread may close."""

from __future__ import annotations

import threading

from edge_vseg.types import Frame
from edge_vseg.video import Source


class FrameIntake:
    """Reads a source, and closes it from wherever it can be closed.

    A live source may be closed while it is read, which ends the read. Any other must not be: its container would go
    away under the decoder. It is closed by the thread that reads it, after the frame.

    Args:
        source: Owned from now on.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._reading = threading.Lock()
        self._closing = threading.Event()

    def take(self) -> Frame | None:
        """The next frame; ``None`` at the end and after :meth:`close`.

        Raises:
            VideoError: If reading fails.
        """
        with self._reading:
            if self._closing.is_set():
                return None
            try:
                return next(self.source, None)
            finally:
                if self._closing.is_set():
                    self.source.close()

    def close(self) -> None:
        """Close the source, now or after the read under way."""
        self._closing.set()
        if self.source.is_live:
            self.source.close()
        elif self._reading.acquire(blocking=False):
            try:
                self.source.close()
            finally:
                self._reading.release()
