"""Replay recorded costs on a virtual clock: the same decisions on any machine, however busy.

Judges a policy on a workstation with the costs of the device, and gives the same result twice. Both lanes are replayed,
the background by :mod:`edge_vseg.scheduling.replayed_background`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.device_profile import Contention, Cost, DeviceProfile
from edge_vseg.scheduling.steps import ALL_THREADS, Step, StepKind

_DRAWN_QUANTILES = (0.0, 0.5, 0.9, 0.99, 1.0)
_MIN_OF_MEDIAN = 0.6
"""No drawn cost is below this share of the median."""


class VirtualClock:
    """A clock in ns that stands still until it is told to go on.

    Attributes:
        now: The time in ns.
        frame_ns: Time that the frame lane has spent on anything but the network.
        network_ns: Time that it has spent on the network.
    """

    def __init__(self) -> None:
        self.now = 0
        self.frame_ns = 0
        self.network_ns = 0

    def __call__(self) -> int:
        """The time in ns."""
        return self.now

    def advance_to(self, time_ns: int) -> None:
        """Idle until then; nothing if it has passed already."""
        self.now = max(self.now, time_ns)

    def spend(self, kind: StepKind, duration_ns: int) -> None:
        """Let the frame lane spend time on a step."""
        self.now += duration_ns
        if kind in ALL_THREADS:
            self.network_ns += duration_ns
        else:
            self.frame_ns += duration_ns


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
        self.contention = profile.contention or Contention()
        self.crowded: Callable[[], bool] = lambda: False
        self._costs = profile.costs
        self._clock = clock
        self._rng = np.random.default_rng(seed)

    def add(self, step: Step, duration_ns: int) -> None:
        """Advance the clock by a recorded duration of the step, and record that one.

        Raises:
            OptionError: If the profile has no costs of the step.
        """
        drawn_ns = self.draw_ns(step)
        if step.kind not in ALL_THREADS and self.crowded():
            drawn_ns = round(drawn_ns * self.contention.frame)
        self._clock.spend(step.kind, drawn_ns)
        super().add(step, drawn_ns)

    def draw_ns(self, step: Step) -> int:
        """A duration of a step.

        Raises:
            OptionError: If the profile has no costs of the step.
        """
        if step not in self._costs:
            raise OptionError(f"the device profile has no costs of {step!s}; calibrate this bundle again")
        return round(_draw_ms(self._costs[step], float(self._rng.random())) * 1e6)


def _draw_ms(cost: Cost, share: float) -> float:
    """A quantile, linear between the recorded ones; the minimum is as far below the median as p90 is above."""
    low = max(_MIN_OF_MEDIAN * cost.p50, 2 * cost.p50 - cost.p90)
    return float(np.interp(share, _DRAWN_QUANTILES, (low, cost.p50, cost.p90, cost.p99, cost.p99)))
