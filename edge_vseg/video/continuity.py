"""Numbers and times of a live source that only grow, whatever its stream does."""

from __future__ import annotations

import logging
from dataclasses import replace

from edge_vseg.types import Frame

logger = logging.getLogger(__name__)


class Continuity:
    """Renumbers the frames of one connection after another into one sequence.

    The first frame after a reconnect leaves a gap of one in ``seq``, however long the outage was, and its presentation
    time follows the last one by the time between the two captures. The same is done where a stream's time stamps go
    back, with one warning per source.
    """

    def __init__(self, name: str) -> None:
        """Start before the first frame.

        Args:
            name: The source, for the warning.
        """
        self._name = name
        self._last: Frame | None = None
        self._seq_shift = 0
        self._pts_shift_ns = 0
        self._broken = False
        self._warned = False

    def break_off(self) -> None:
        """The frames that come next are of another connection."""
        self._broken = self._last is not None

    def follow(self, frame: Frame) -> Frame:
        """The frame with the number and times that follow the last one's."""
        last = self._last
        if self._broken and last is not None:
            self._seq_shift = last.seq + 2 - frame.seq
            self._pts_shift_ns = self._shift_behind(last, frame)
            frame = replace(frame, motion=None, motion_to=None)
        self._broken = False
        if frame.pts_ns is None and last is not None and last.pts_ns is not None:
            # FFmpeg takes the time from a packet where a stream goes back.
            passed_ns = max(1, frame.capture_ns - last.capture_ns)
            frame = replace(frame, pts_ns=last.pts_ns + passed_ns - self._pts_shift_ns)
        shift_ns = self._pts_shift_ns
        went_back = (
            last is not None
            and last.pts_ns is not None
            and frame.pts_ns is not None
            and frame.pts_ns + shift_ns <= last.pts_ns
        )
        if went_back and last is not None:
            self._warn(last.seq + 1)
            shift_ns = self._pts_shift_ns = self._shift_behind(last, frame)
        seq = frame.seq + self._seq_shift
        motion_to = None if frame.motion_to is None else frame.motion_to + self._seq_shift
        pts_ns = None if frame.pts_ns is None else frame.pts_ns + shift_ns
        self._last = replace(frame, seq=seq, motion_to=motion_to, pts_ns=pts_ns)
        return self._last

    def _shift_behind(self, last: Frame, frame: Frame) -> int:
        """What is to be added to a stream's times so that the frame follows the last one by the time that passed."""
        if last.pts_ns is None or frame.pts_ns is None:
            return self._pts_shift_ns
        return last.pts_ns + max(1, frame.capture_ns - last.capture_ns) - frame.pts_ns

    def _warn(self, seq: int) -> None:
        if not self._warned:
            logger.warning("%s: time stamps go back at frame %d; they are counted on, now and later", self._name, seq)
        self._warned = True
