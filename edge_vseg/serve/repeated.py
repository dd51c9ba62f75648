"""A recording that begins again at its end, for demonstrations and long tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edge_vseg.errors import OptionError
from edge_vseg.types import Frame
from edge_vseg.video import Source
from edge_vseg.video.live import LatestSource, Pacer

_USUAL_PERIOD_NS = 33_333_333


class RepeatedSource(Source):
    """Reads a recording again and again; frame numbers and times go on.

    Args:
        open_recording: Opens it, flat out.

    Raises:
        OptionError: If it is live, and so has no end to begin again from.
    """

    def __init__(self, open_recording: Callable[[], Source]) -> None:
        self._open = open_recording
        self._source = open_recording()
        super().__init__(name=self._source.name)
        if self._source.is_live:
            self._source.close()
            raise OptionError(f"{self.name} is live and has no end; --repeat is for recordings")
        self._next_seq = self._first_seq = 0
        self._next_pts_ns = self._first_pts_ns = 0

    @property
    def fps(self) -> float | None:
        """Frames per second of the recording."""
        return self._source.fps

    @property
    def has_capture_times(self) -> bool:
        """As of the recording."""
        return self._source.has_capture_times

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        frame = next(self._source, None)
        if frame is None:
            self._source.close()
            self._source = self._open()
            self._first_seq, self._first_pts_ns = self._next_seq, self._next_pts_ns
            frame = next(self._source, None)
        if frame is None:
            return None
        period_ns = round(1e9 / self.fps) if self.fps else _USUAL_PERIOD_NS
        pts_ns = None if frame.pts_ns is None else self._first_pts_ns + frame.pts_ns
        frame = replace(frame, seq=self._first_seq + frame.seq, pts_ns=pts_ns)
        self._next_seq, self._next_pts_ns = frame.seq + 1, (pts_ns or 0) + period_ns
        return frame

    def _release(self) -> None:
        self._source.close()


def play_repeatedly(open_recording: Callable[[], Source]) -> Source:
    """A recording in real time, again and again.

    Args:
        open_recording: Opens it, flat out.

    Raises:
        OptionError: If it is live.
        VideoError: If it cannot be opened.
    """
    return LatestSource(RepeatedSource(open_recording), pacer=Pacer())
