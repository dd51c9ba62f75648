"""What actions cost here: a high quantile of what they took lately, never a mean."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import numpy as np

from edge_vseg.policies import Costs

QUANTILE = 0.9
LATELY = 32
FEW = 4
CAUTION = 1.3
"""Figures of fewer than :data:`FEW` samples, and those from elsewhere, are taken this many times as large."""
FORGETTING = 12
"""Frames in which half of what lies between a figure and the best sample is forgotten while an action is not run:
what was slow in a bad moment would else never be tried again."""


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
        self._known: dict[str, _Samples] = {}
        self._frame = 0

    def add(self, name: str, nanoseconds: int) -> None:
        """Count a duration."""
        self._known.setdefault(name, _Samples()).add(nanoseconds / 1e6, self._frame)

    def next_frame(self) -> None:
        """A frame has passed."""
        self._frame += 1

    def expect(self, name: str) -> float:
        """Milliseconds that something will hardly exceed; 0 for what was never seen nor expected."""
        samples = self._known.get(name)
        if samples is None:
            return CAUTION * self._expected.get(name, 0.0)
        return samples.expect(self._frame)

    def costs(self) -> Costs:
        """All figures, as policies see them."""
        before = self.expect("prepare") + self.expect("motion")
        return Costs(
            whole=self.expect("whole"),
            slices=tuple(self.expect(f"slice {number}") for number in range(self._slices)),
            every=before + self.expect("labels"),
            before=before,
            propagate=self.expect("propagate"),
            fresh=self.expect("fresh"),
            carry=self.expect("carry"),
        )

    def table(self) -> dict[str, float]:
        """Median milliseconds by name, for people."""
        return {name: float(np.median(samples.kept)) for name, samples in self._known.items()}


class _Samples:
    """The last durations of one thing."""

    def __init__(self) -> None:
        self.kept: deque[float] = deque(maxlen=LATELY)
        self._last_frame = 0
        self._high: float | None = None

    def add(self, milliseconds: float, frame: int) -> None:
        self.kept.append(milliseconds)
        self._last_frame = frame
        self._high = None

    def expect(self, frame: int) -> float:
        if self._high is None:
            ranked = sorted(self.kept)
            at = QUANTILE * (len(ranked) - 1)
            self._high = ranked[math.ceil(at)] * (CAUTION if len(ranked) < FEW else 1.0)
        low = min(self.kept)
        kept: float = 0.5 ** ((frame - self._last_frame) / FORGETTING)
        return low + (self._high - low) * kept
