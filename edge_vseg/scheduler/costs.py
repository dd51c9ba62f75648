"""What actions cost here: a high quantile of what they took lately, never a mean."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from edge_vseg.policies import Costs

QUANTILE = 0.95
LATELY = 64
FEW = 8
CAUTION = 1.3
"""Figures of fewer than :data:`FEW` samples, and those from elsewhere, are taken this many times as large."""


class CostMeter:
    """Keeps the last durations of everything that the scheduler does.

    Args:
        slices: Number of slices of the network.
        expected: Milliseconds by name, from calibration or from where the bundle was made; used until enough
            has been seen here.
    """

    def __init__(self, slices: int, expected: Mapping[str, float] | None = None) -> None:
        self._slices = slices
        self._expected = dict(expected or {})
        self._samples: dict[str, deque[float]] = {}
        self._cached: dict[str, tuple[int, float]] = {}
        self._count: dict[str, int] = {}

    def add(self, name: str, nanoseconds: int) -> None:
        """Count a duration."""
        self._samples.setdefault(name, deque(maxlen=LATELY)).append(nanoseconds / 1e6)
        self._count[name] = self._count.get(name, 0) + 1

    def expect(self, name: str) -> float:
        """Milliseconds that something will hardly exceed; 0 for what was never seen nor expected."""
        samples = self._samples.get(name)
        if samples is None or len(samples) < FEW:
            known: Sequence[float] = (*(samples or ()), self._expected.get(name, 0.0))
            return CAUTION * max(known)
        count, value = self._cached.get(name, (-FEW, 0.0))
        if self._count[name] - count >= FEW:  # a quantile of 64 numbers every frame would cost as much as a warp
            value = float(np.quantile(samples, QUANTILE))
            self._cached[name] = self._count[name], value
        return value

    def costs(self) -> Costs:
        """All figures, as policies see them."""
        return Costs(
            whole=self.expect("whole"),
            slices=tuple(self.expect(f"slice {number}") for number in range(self._slices)),
            every=self.expect("prepare") + self.expect("motion") + self.expect("labels"),
            propagate=self.expect("propagate"),
            fresh=self.expect("fresh"),
            carry=self.expect("carry"),
        )
