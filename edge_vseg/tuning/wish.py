"""What a user asks of a tuned bundle: limits that hold, and three figures to trade off."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_vseg.errors import OptionError

OBJECTIVES = ("quality", "p99_ms", "cpu_share")
"""What a study trades off: quality is maximized, the others minimized."""
DIRECTIONS = ("maximize", "minimize", "minimize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a trial gave.

    Attributes:
        quality: mIoU of what is shown in time, in percent: against the truth, or else against the reference network on
            every frame, without classes that it hardly sees.
        accuracy: Share of pixels that are equal to it, in percent.
        p50_ms: Median latency from the arrival of a frame to its label map.
        p99_ms: Its 99th percentile.
        cpu_share: Share of the device's cores, 0 to 1.
        misses: Share of frames that came after the deadline; 0 without one.
        age_frames: Mean age of what is shown.
        oldest_frames: Largest age of a label map.
        frames: Frames that were run.
        stopped: Whether the trial was ended early, because it broke a limit clearly.
    """

    quality: float
    accuracy: float
    p50_ms: float
    p99_ms: float
    cpu_share: float
    misses: float
    age_frames: float
    oldest_frames: int
    frames: int
    stopped: bool = False

    @property
    def objectives(self) -> tuple[float, float, float]:
        """The values of :data:`OBJECTIVES`."""
        return self.quality, self.p99_ms, self.cpu_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of the result.

    Attributes:
        rate: Frames per second that arrive.
        deadline_ms: 99 of 100 frames must have their label map within so many milliseconds; ``None`` for no limit.
        cpu_share: Share of the device's cores that may be used, 0 to 1; ``None`` for no limit.
    """

    rate: float
    deadline_ms: float | None = None
    cpu_share: float | None = None

    def __post_init__(self) -> None:
        """Raise OptionError if a number is out of range."""
        if not 0 < self.rate < math.inf:
            raise OptionError(f"the rate must be positive, in frames per second, got {self.rate}")
        if self.deadline_ms is not None and not 0 < self.deadline_ms < math.inf:
            raise OptionError(f"the deadline must be positive, in milliseconds, got {self.deadline_ms}")
        if self.cpu_share is not None and not 0 < self.cpu_share <= 1:
            raise OptionError(f"the share of the cores must be in (0, 1], got {self.cpu_share}; 0.5 is half of them")

    def excess(self, figures: Figures) -> tuple[float, ...]:
        """By how much each limit is broken, as a share of it; not above 0 where it is kept."""
        limits = ((figures.p99_ms, self.deadline_ms), (figures.cpu_share, self.cpu_share))
        return tuple(value / limit - 1 for value, limit in limits if limit is not None)

    def allows(self, figures: Figures) -> bool:
        """Whether all limits are kept."""
        return not figures.stopped and all(part <= 0 for part in self.excess(figures))

    def __str__(self) -> str:
        """In words."""
        parts = [f"{self.rate:g} frames a second"]
        if self.deadline_ms is not None:
            parts.append(f"{self.deadline_ms:g} ms in 99 of 100 frames")
        if self.cpu_share is not None:
            parts.append(f"{self.cpu_share:.0%} of the cores")
        return ", ".join(parts)
