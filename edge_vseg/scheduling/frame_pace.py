"""How much of the time between frames the machine idles."""

from __future__ import annotations

from dataclasses import dataclass

MEMORY = 0.8
"""Weight of the past in the running mean: about the last five frames count."""


@dataclass(slots=True, kw_only=True, eq=False)
class FramePace:
    """Running mean of the idle share of the frame period.

    A video that is read as fast as it is segmented leaves no idle time; a camera does wherever answers take less than
    its period. Both are measured, so nobody has to say which it is.

    Attributes:
        idle_share: Share of the period in which nothing was done, 0 to 1; 0 before the second frame.
    """

    idle_share: float = 0.0
    _arrived_ns: int | None = None
    _finished_ns: int | None = None
    _periods: int = 0

    def arrive(self, time_ns: int) -> None:
        """A frame has arrived."""
        if self._arrived_ns is not None and self._finished_ns is not None:
            idle_ns, period_ns = max(0, time_ns - self._finished_ns), max(1, time_ns - self._arrived_ns)
            past = MEMORY if self._periods else 0.0
            self.idle_share = past * self.idle_share + (1 - past) * min(1.0, idle_ns / period_ns)
            self._periods += 1
        self._arrived_ns = time_ns

    def finish(self, time_ns: int) -> None:
        """The frame has its label map."""
        self._finished_ns = time_ns
