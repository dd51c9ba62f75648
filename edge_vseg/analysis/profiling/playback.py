"""Play a recording in a loop at a camera's rate, and time its decoding."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from edge_vseg.types import Frame
from edge_vseg.video import Source


class Playback(Source):
    """An endless source: when the recording ends, it starts again.

    Args:
        open_recording: Opens the recording.
        fps: Frames per second; frame ``n`` gets the presentation time ``n / fps``.
        on_decoded: Called with the milliseconds that the reader waited for each frame. Decoders work ahead in threads
            of their own, so this is less than the time of decoding.

    Raises:
        VideoError: If the recording cannot be opened.
    """

    def __init__(self, open_recording: Callable[[], Source], fps: float, on_decoded: Callable[[float], None]) -> None:
        self._open = open_recording
        self._current = open_recording()
        self._next: Source | None = None
        super().__init__(name=self._current.name)
        self._rate = fps
        self._on_decoded = on_decoded
        self._seq = 0
        self._started = False
        self.rounds = 0

    @property
    def fps(self) -> float:
        """Frames per second at which it is played."""
        return self._rate

    @property
    def damaged(self) -> str | None:
        """What is wrong with the recording."""
        return self._current.damaged

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        frame = self._decode()
        if frame is None and self._started:
            self._current.close()
            self._current, self._next = self._next or self._open(), None
            self.rounds += 1
            frame = self._decode()
            # The codec has no motion vectors from the last frame to the first.
            frame = frame and replace(frame, motion=None)
        if frame is None:
            return None
        if not self._started or self._next is None:
            self._next = self._open()  # ahead of time: opening takes longer than a frame period
        self._started = True
        seq, self._seq = self._seq, self._seq + 1
        return replace(frame, seq=seq, capture_ns=time.monotonic_ns(), pts_ns=round(seq * 1e9 / self._rate))

    def _decode(self) -> Frame | None:
        start = time.perf_counter()
        frame = next(self._current, None)
        if frame is not None:
            self._on_decoded((time.perf_counter() - start) * 1e3)
        return frame

    def _release(self) -> None:
        self._current.close()
        if self._next is not None:
            self._next.close()
