"""Replay recorded costs instead of measuring: the same decisions on any machine, however busy it is.

A virtual clock goes on by what a device profile says that each step takes. So a policy can be judged on a workstation
with the costs of the device, and twice with the same result.
"""

from __future__ import annotations

import numpy as np

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.device_profile import Cost, DeviceProfile

SHARES = (0.0, 0.5, 0.9, 0.99, 1.0)


class VirtualClock:
    """Nanoseconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        """The time."""
        return self.now


class ReplayMeter(CostMeter):
    """A cost meter that moves a virtual clock by recorded costs, drawn between their quantiles.

    What a step really took is ignored. Draws are independent of each other, so bad moments that slow down
    everything for a while are not acted out.

    Args:
        slices: Number of slices of the network.
        profile: The recorded costs.
        clock: The clock to move.
        seed: For the draws.
    """

    def __init__(self, slices: int, profile: DeviceProfile, clock: VirtualClock, seed: int = 0) -> None:
        super().__init__(slices, profile.expected, caution=1.0)
        self._costs = profile.costs
        self._clock = clock
        self._rng = np.random.default_rng(seed)

    def add(self, name: str, nanoseconds: int) -> None:
        """Let the recorded duration of a step pass, and count it.

        Raises:
            OptionError: If the profile does not know the step.
        """
        if name not in self._costs:
            raise OptionError(f"the profile has no costs of {name!r}; calibrate again with this version and bundle")
        drawn = _draw(self._costs[name], float(self._rng.random()))
        self._clock.now += round(drawn * 1e6)
        super().add(name, round(drawn * 1e6))


def _draw(cost: Cost, share: float) -> float:
    """A quantile, linear between those known: as far below the median as the 90th is above, and never past the 99th."""
    low = max(0.6 * cost.p50, 2 * cost.p50 - cost.p90)
    return float(np.interp(share, SHARES, (low, cost.p50, cost.p90, cost.p99, cost.p99)))
