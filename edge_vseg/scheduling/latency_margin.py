"""How much longer frames take than the sum of their steps' medians: the margin that keeps a deadline."""

from __future__ import annotations

from collections import deque

from edge_vseg.scheduling.quantiles import upper_quantile

QUANTILE = 0.99
"""Of whole frames. Sums of each step's own high quantile would leave a quarter of the deadline unused: steps are not
slow all at once."""
WINDOW_FRAMES = 128
MIN_FRAMES = 16
UNMEASURED = 1.3
"""Margin until :data:`MIN_FRAMES` frames were measured."""
MAX_MARGIN = 2.0
"""A machine that stalls now and then would otherwise stop computing; what is left then is missed, and counted."""
UPDATE_FRAMES = 8
TARGET_MISSES = 0.005
"""Share of frames that may miss the deadline, at which the controller rests."""
GAIN = 0.05
"""Every miss widens the margin by so much; :data:`TARGET_MISSES` of that is taken back on every frame in time."""


class LatencyMargin:
    """Ratio of a frame's latency to the sum of the medians of its steps, as a high quantile, corrected by the misses.

    Reference: Gibbs & Candès, Adaptive Conformal Inference Under Distribution Shift, NeurIPS 2021, eq. 2, whose
    update of the level is applied to the margin here.
    """

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=WINDOW_FRAMES)
        self._frames = 0
        self._quantile = UNMEASURED
        self._correction = 0.0

    @property
    def factor(self) -> float:
        """Multiplies medians of steps; 1 or more."""
        return min(MAX_MARGIN, max(1.0, self._quantile) * (1 + self._correction))

    def add(self, ratio: float | None, *, missed: bool) -> None:
        """Learn from a frame.

        Args:
            ratio: Its latency over the sum of the medians of its steps; ``None`` if the frame was too cheap to tell.
            missed: Whether it missed its deadline, although it was expected to keep it.
        """
        self._correction = min(1.0, max(0.0, self._correction + GAIN * (missed - TARGET_MISSES)))
        if ratio is None:
            return
        self._ratios.append(ratio)
        self._frames += 1
        if len(self._ratios) >= MIN_FRAMES and self._frames % UPDATE_FRAMES == 0:
            self._quantile = upper_quantile(sorted(self._ratios), QUANTILE)
