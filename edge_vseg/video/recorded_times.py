"""Times of recorded images that only grow, whatever was done to the robot's clock while they were recorded."""

from __future__ import annotations

import bisect
import logging

logger = logging.getLogger(__name__)

STEPPED_NS = 10_000_000_000
"""Stamps that go on by so much more than the recorder's clock tell of a clock that was stepped, not of a pause."""
USUAL_STEP_NS = 33_333_333
"""Where the second image tells nothing."""


class RecordedTimes:
    """Presentation times from the stamps of a recording's images.

    From one image to the next, time passes by the difference of their stamps. Where that goes back, stands still, or
    goes on by ten seconds more than the clock of the recorder, somebody has set the clock: then it is the recorder's
    difference, or, where its clock went back at once, that of the images before.
    """

    def __init__(self) -> None:
        self.start_ns: int | None = None
        self._last: tuple[int, int, int] | None = None
        self._step_ns = USUAL_STEP_NS
        self._begins_ns: list[int] = []
        self._offsets_ns: list[int] = []

    def follow(self, stamp_ns: int, log_ns: int) -> int:
        """The next image's time in ns since the first one.

        Args:
            stamp_ns: Stamp of its message.
            log_ns: When it was recorded.
        """
        if self.start_ns is None or self._last is None:
            self.start_ns, pts_ns = stamp_ns, 0
        else:
            last_stamp_ns, last_log_ns, last_pts_ns = self._last
            self._step_ns = self._passed_ns(stamp_ns - last_stamp_ns, log_ns - last_log_ns)
            pts_ns = last_pts_ns + self._step_ns
        self._last = stamp_ns, log_ns, pts_ns
        if not self._offsets_ns or self._offsets_ns[-1] != stamp_ns - pts_ns:
            self._begins_ns.append(pts_ns)
            self._offsets_ns.append(stamp_ns - pts_ns)
        return pts_ns

    def stamp_ns(self, pts_ns: int) -> int:
        """The stamp of an image that was followed, by its time."""
        return pts_ns + self._offsets_ns[bisect.bisect_right(self._begins_ns, pts_ns) - 1]

    def _passed_ns(self, by_stamp_ns: int, by_log_ns: int) -> int:
        if by_stamp_ns > 0 and (by_log_ns <= 0 or by_stamp_ns <= by_log_ns + STEPPED_NS):
            return by_stamp_ns
        return by_log_ns if by_log_ns > 0 else self._step_ns


class FileTimes:
    """Presentation times of a video file, counted on by its rate where they go back or stand still.

    As of videos that were joined, or whose maker gave their frames no times: all are at 0. Ages and the pace of a
    camera come from these times.
    """

    def __init__(self, name: str, fps: float | None) -> None:
        """Start before the first frame.

        Args:
            name: The file, for the warning, of which there is one.
            fps: Its frames per second; ``None`` if it does not tell.
        """
        self._name = name
        self._period_ns = round(1e9 / fps) if fps else USUAL_STEP_NS
        self._last_ns: int | None = None
        self._shift_ns = 0
        self._warned = False

    def follow(self, pts_ns: int, seq: int) -> int:
        """The time of the next frame, which has the number ``seq``."""
        last_ns = self._last_ns
        if last_ns is not None and pts_ns + self._shift_ns <= last_ns:
            self._shift_ns = last_ns + self._period_ns - pts_ns
            if not self._warned:
                logger.warning(
                    "%s: its times go back or stand still at frame %d; frames are counted on by %.4g ms, now and later",
                    self._name,
                    seq,
                    self._period_ns / 1e6,
                )
            self._warned = True
        self._last_ns = pts_ns + self._shift_ns
        return self._last_ns
