"""What actions cost here: a high quantile of what they took lately, never a mean."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from edge_vseg.scheduling.situation import Costs

MOTION = "motion "
"""What comes before an estimator's name."""
QUANTILE = 0.9
WINDOW_SAMPLES = 32
MIN_SAMPLES = 4
CAUTION = 1.3
"""Figures of fewer than :data:`MIN_SAMPLES` samples, and those from elsewhere, are taken this many times as large."""
FORGET_HALF_LIFE_FRAMES = 12
"""Frames in which half of what lies between a figure and the best sample is forgotten while an action is not run:
what was slow in a bad moment would else never be tried again."""


class CostMeter:
    """Keeps the last durations of everything that the scheduler does.

    Args:
        slices: Number of slices of the network.
        expected: Milliseconds by name; used until something has been seen here.
        caution: What they are multiplied by: 1 if they were measured on this machine.
    """

    def __init__(self, slices: int, expected: Mapping[str, float] | None = None, *, caution: float = CAUTION) -> None:
        self._slices = slices
        self._caution = caution
        self._expected = dict(expected or {})
        self._known: dict[str, _Samples] = {}
        self._frame = 0
        self._spent: dict[str, float] = {}

    def add(self, name: str, nanoseconds: int) -> None:
        """Count a duration."""
        milliseconds = nanoseconds / 1e6
        self._known.setdefault(name, _Samples()).add(milliseconds, self._frame)
        self._spent[name] = self._spent.get(name, 0.0) + milliseconds

    def spent(self) -> dict[str, float]:
        """Milliseconds by name since this was last asked."""
        spent, self._spent = self._spent, {}
        return spent

    def next_frame(self) -> None:
        """A frame has passed."""
        self._frame += 1

    def expect(self, name: str) -> float:
        """Milliseconds that something will hardly exceed; 0 for what was never seen nor expected."""
        samples = self._known.get(name)
        if samples is None:
            return self._caution * self._expected.get(name, 0.0)
        return samples.expect(self._frame)

    def costs(self, estimator: str = "") -> Costs:
        """All figures, as policies see them.

        Args:
            estimator: Where this frame's motion comes from; empty for nowhere.
        """
        names = {name: name.removeprefix(MOTION) for name in (*self._expected, *self._known) if name.startswith(MOTION)}
        motion = self.expect(f"{MOTION}{estimator}") if estimator else 0.0
        slices = tuple(self.expect(f"slice {number}") for number in range(self._slices))
        # Until the whole was run here, no less than its slices, which were: a figure from elsewhere may be of a faster
        # machine.
        whole = self.expect("whole") if "whole" in self._known else max(self.expect("whole"), sum(slices))
        before = self.expect("prepare") + motion + self.expect("deciding")
        return Costs(
            infer_ms=whole,
            slices_ms=slices,
            tile_ms=self.expect("tile"),
            motions_ms={short: self.expect(name) for name, short in names.items()},
            fixed_ms=before + self.expect("labels") + self.expect("closing"),
            before_actions_ms=before,
            motion_ms=motion,
            propagate_ms=self.expect("propagate"),
            fuse_ms=self.expect("fresh"),
            carry_ms=self.expect("carry"),
        )

    def samples(self) -> dict[str, list[float]]:
        """The last milliseconds of each thing, by name."""
        return {name: list(samples.kept) for name, samples in self._known.items()}

    def forget(self) -> None:
        """Forget what was seen, such as first runs, which are slow."""
        self._known.clear()


class _Samples:
    """The last durations of one thing; the first, which allocates and fills caches, counts while it is the only one."""

    def __init__(self) -> None:
        self.kept: deque[float] = deque(maxlen=WINDOW_SAMPLES)
        self._last_frame = 0
        self._cold = True
        self._high: float | None = None
        self._low = 0.0

    def add(self, milliseconds: float, frame: int) -> None:
        if self._cold and self.kept:
            self.kept.clear()
            self._cold = False
        self.kept.append(milliseconds)
        self._last_frame = frame
        self._high = None

    def expect(self, frame: int) -> float:
        if self._high is None:
            ranked = sorted(self.kept)
            at = QUANTILE * (len(ranked) - 1)
            self._high = ranked[math.ceil(at)] * (CAUTION if len(ranked) < MIN_SAMPLES else 1.0)
            self._low = ranked[0]
        kept: float = 0.5 ** ((frame - self._last_frame) / FORGET_HALF_LIFE_FRAMES)
        return self._low + (self._high - self._low) * kept
