"""A recording played over and over at a camera's rate, and how long its frames take to decode."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from edge_vseg.types import Frame
from edge_vseg.video import Source


class Playback(Source):
    """A source without end: when the recording is over, it begins anew.

    Args:
        opener: Opens the recording.
        fps: Frames a second; frame ``n`` gets the presentation time ``n / fps``.
        decoded: Told how many milliseconds the reading thread waited for each frame: decoders have threads of their
            own that work ahead.

    Raises:
        VideoError: If the recording cannot be opened.
    """

    def __init__(self, opener: Callable[[], Source], fps: float, decoded: Callable[[float], None]) -> None:
        self._opener = opener
        self._current = opener()
        self._following: Source | None = None
        super().__init__(name=self._current.name)
        self._rate = fps
        self._decoded = decoded
        self._seq = 0
        self._begun = False
        self.rounds = 0

    @property
    def fps(self) -> float:
        """The rate that it is played at."""
        return self._rate

    @property
    def damaged(self) -> str | None:
        """What is wrong with the recording."""
        return self._current.damaged

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        frame = self._decode()
        if frame is None and self._begun:
            self._current.close()
            self._current, self._following = self._following or self._opener(), None
            self.rounds += 1
            frame = self._decode()
            # The first frame after the last one: no codec knows the motion between them.
            frame = frame and replace(frame, motion=None)
        if frame is None:
            return None
        if not self._begun or self._following is None:
            self._following = self._opener()  # ahead, for opening takes longer than a camera waits
        self._begun = True
        seq, self._seq = self._seq, self._seq + 1
        return replace(frame, seq=seq, capture_ns=time.monotonic_ns(), pts_ns=round(seq * 1e9 / self._rate))

    def _decode(self) -> Frame | None:
        begin = time.perf_counter()
        frame = next(self._current, None)
        if frame is not None:
            self._decoded((time.perf_counter() - begin) * 1e3)
        return frame

    def _release(self) -> None:
        self._current.close()
        if self._following is not None:
            self._following.close()
