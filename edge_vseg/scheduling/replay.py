"""Replay recorded costs on a virtual clock: the same decisions on any machine, however busy.

Judges a policy on a workstation with the costs of the device, and gives the same result twice.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_vseg.errors import OptionError
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.background import BackgroundRun
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.device_profile import Contention, Cost, DeviceProfile
from edge_vseg.types import Tensor

_DRAWN_QUANTILES = (0.0, 0.5, 0.9, 0.99, 1.0)
_MIN_OF_MEDIAN = 0.6
"""No drawn cost is below this share of the median."""


class VirtualClock:
    """A clock in ns that stands still until :attr:`now` is set."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        """The time in ns."""
        return self.now

    def advance_to(self, time_ns: int) -> None:
        """Let time pass until then; nothing if it has passed already."""
        self.now = max(self.now, time_ns)


class ReplayMeter(CostMeter):
    """A cost meter that ignores measured durations and advances a virtual clock by recorded ones.

    Durations are drawn between the recorded quantiles, independently of each other: moments in which everything is slow
    for a while are not reproduced.

    Args:
        slice_count: Slices of the network.
        profile: The recorded costs.
        clock: The clock to advance.
        seed: Seed of the draws.
    """

    def __init__(self, slice_count: int, profile: DeviceProfile, clock: VirtualClock, seed: int = 0) -> None:
        super().__init__(slice_count, profile.expected_ms, safety_factor=1.0)
        self._costs = profile.costs
        self._clock = clock
        self._contention = profile.contention or Contention()
        self._background_due_ns = 0
        self._rng = np.random.default_rng(seed)

    def add(self, step: str, duration_ns: int) -> None:
        """Advance the clock by a recorded duration of the step, and record that one.

        Raises:
            OptionError: If the profile has no costs of the step.
        """
        drawn_ns = self._draw_ns(step)
        if self._clock.now < self._background_due_ns:
            drawn_ns = round(drawn_ns * self._contention.frame)
        self._clock.now += drawn_ns
        super().add(step, drawn_ns)

    def start_background(self) -> int:
        """Start a keyframe in the background; returns when it will be done, in ns of the clock."""
        self._background_due_ns = self._clock.now + round(self._draw_ns(steps.INFER) * self._contention.background)
        return self._background_due_ns

    def _draw_ns(self, step: str) -> int:
        if step not in self._costs:
            raise OptionError(f"the device profile has no costs of {step!r}; calibrate this bundle again")
        return round(_draw_ms(self._costs[step], float(self._rng.random())) * 1e6)


class ReplayedBackground:
    """Keyframes in the background of a virtual clock: done when the recorded duration of the network has passed.

    Args:
        run: Runs the network, at once and without any time passing.
        clock: The virtual clock.
        meter: Draws how long a keyframe takes.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], clock: VirtualClock, meter: ReplayMeter) -> None:
        self.available = True
        self._run = run
        self._clock = clock
        self._meter = meter

    def start(self, tensor: Tensor) -> BackgroundRun:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        return _ReplayedRun(self._run(tensor), self._meter.start_background(), self._clock)

    def close(self) -> None:
        """Nothing to end."""


class _ReplayedRun:
    def __init__(self, output: Tensor, due_ns: int, clock: VirtualClock) -> None:
        self.duration_ns = 0
        self._output = output
        self._due_ns = due_ns
        self._clock = clock

    def done(self) -> bool:
        return self._clock() >= self._due_ns

    def result(self) -> Tensor:
        self._clock.advance_to(self._due_ns)
        return self._output


def _draw_ms(cost: Cost, share: float) -> float:
    """A quantile, linear between the recorded ones; the minimum is as far below the median as p90 is above."""
    low = max(_MIN_OF_MEDIAN * cost.p50, 2 * cost.p50 - cost.p90)
    return float(np.interp(share, _DRAWN_QUANTILES, (low, cost.p50, cost.p90, cost.p99, cost.p99)))
