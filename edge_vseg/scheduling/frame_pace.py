"""The pace of the frames: how much of the time between them is idle, and when the next one is expected."""

from __future__ import annotations

from dataclasses import dataclass

MEMORY = 0.8
"""Weight of the past in the running means: about the last five frames count."""

MAX_PERIODS = 4.0
"""A pause longer than so many periods counts as so many."""


@dataclass(slots=True, kw_only=True, eq=False)
class FramePace:
    """Running means of the frame period and of its idle share.

    A video that is read as fast as it is segmented leaves no idle time; a camera does wherever answers take less than
    its period. Both are measured, so nobody has to say which it is.

    Attributes:
        idle_share: Share of the period in which nothing was done, 0 to 1; 1 before the second frame.
        period_ns: Time from frame to frame; 0 before the second.
    """

    idle_share: float = 1.0
    period_ns: float = 0.0
    _arrived_ns: int | None = None
    _finished_ns: int | None = None

    @property
    def next_arrival_ns(self) -> int | None:
        """When the next frame is expected; ``None`` before the second."""
        return None if self._arrived_ns is None or not self.period_ns else self._arrived_ns + round(self.period_ns)

    def arrive(self, time_ns: int) -> None:
        """A frame has arrived."""
        if self._arrived_ns is not None and self._finished_ns is not None:
            idle_ns, full_ns = max(0, time_ns - self._finished_ns), max(1, time_ns - self._arrived_ns)
            period_ns = full_ns
            past = MEMORY if self.period_ns else 0.0
            if self.period_ns:  # a stall is no pace
                period_ns = min(period_ns, round(MAX_PERIODS * self.period_ns))
            self.idle_share = past * self.idle_share + (1 - past) * min(1.0, idle_ns / full_ns)
            self.period_ns = past * self.period_ns + (1 - past) * period_ns
        self._arrived_ns = time_ns

    def finish(self, time_ns: int) -> None:
        """The frame has its label map."""
        self._finished_ns = time_ns
