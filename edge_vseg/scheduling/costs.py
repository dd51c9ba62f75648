"""The cost meter: what each step of a frame takes on this machine, as a high quantile of recent samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from edge_vseg.scheduling import steps
from edge_vseg.scheduling.quantiles import upper_quantile
from edge_vseg.scheduling.situation import Costs

COST_QUANTILE = 0.9
"""A mean would be exceeded every other time."""
WINDOW_SAMPLES = 32
MIN_SAMPLES = 4
SAFETY_FACTOR = 1.3
"""Multiplies figures of fewer than :data:`MIN_SAMPLES` samples, and those measured on another machine."""
HALF_LIFE_FRAMES = 12
"""While a step is not run, its cost decays towards its best sample with this half-life: else what was slow in a bad
moment would never be tried again."""


class CostMeter:
    """Keeps the recent durations of every step of a frame.

    Args:
        slice_count: Slices of the network.
        expected_ms: Known costs by step; used until the step has been measured here.
        safety_factor: Multiplies them; 1 if they were measured on this machine.
    """

    def __init__(
        self,
        slice_count: int,
        expected_ms: Mapping[str, float] | None = None,
        *,
        safety_factor: float = SAFETY_FACTOR,
    ) -> None:
        self._slice_count = slice_count
        self._safety_factor = safety_factor
        self._expected_ms = dict(expected_ms or {})
        self._measured: dict[str, _Samples] = {}
        self._frame = 0
        self._spent_ms: dict[str, float] = {}

    def add(self, step: str, duration_ns: int) -> None:
        """Record the duration of a step of the frame."""
        duration_ms = duration_ns / 1e6
        self.record(step, duration_ns)
        self._spent_ms[step] = self._spent_ms.get(step, 0.0) + duration_ms

    def record(self, step: str, duration_ns: int) -> None:
        """Record the duration of something that was done beside the frame, and is no part of its latency."""
        self._measured.setdefault(step, _Samples()).add(duration_ns / 1e6, self._frame)

    def pop_spent_ms(self) -> dict[str, float]:
        """Milliseconds by step since the last call."""
        spent_ms, self._spent_ms = self._spent_ms, {}
        return spent_ms

    def next_frame(self) -> None:
        """Count a frame: the costs of steps that it did not run decay."""
        self._frame += 1

    def expected_ms(self, step: str) -> float:
        """Milliseconds that a step will hardly exceed; 0 if it was neither measured nor known before."""
        samples = self._measured.get(step)
        if samples is None:
            return self._safety_factor * self._expected_ms.get(step, 0.0)
        return samples.expected_ms(self._frame)

    def costs(self, estimator: str = "") -> Costs:
        """All costs, as policies see them.

        Args:
            estimator: Motion estimator of this frame; empty for none.
        """
        expected_ms = self.expected_ms
        known = (*self._expected_ms, *self._measured)
        estimators = {name: step for step in known if (name := steps.estimator_of(step))}
        motion_ms = expected_ms(steps.motion_step(estimator)) if estimator else 0.0
        slices_ms = tuple(expected_ms(steps.slice_step(number)) for number in range(self._slice_count))
        infer_ms = expected_ms(steps.INFER)
        if steps.INFER not in self._measured:
            # A figure from a faster machine may be far too low; the slices were run here.
            infer_ms = max(infer_ms, sum(slices_ms))
        before_ms = expected_ms(steps.PREPROCESS) + motion_ms + expected_ms(steps.DECIDE)
        return Costs(
            infer_ms=infer_ms,
            slices_ms=slices_ms,
            tile_ms=expected_ms(steps.TILE),
            motions_ms={name: expected_ms(step) for name, step in estimators.items()},
            fixed_ms=before_ms + expected_ms(steps.CLOSE),
            before_actions_ms=before_ms,
            motion_ms=motion_ms,
            propagate_ms=expected_ms(steps.PROPAGATE),
            fuse_ms=expected_ms(steps.FUSE) + expected_ms(steps.LABELS),
            carry_ms=expected_ms(steps.CARRY),
        )

    def samples_ms(self) -> dict[str, list[float]]:
        """The recent durations of each step, in ms."""
        return {step: list(samples.recent_ms) for step, samples in self._measured.items()}

    def clear(self) -> None:
        """Drop all samples, such as those of slow first runs."""
        self._measured.clear()


class _Samples:
    """Recent durations of one step. The first, which allocates and fills caches, counts only until a second comes."""

    def __init__(self) -> None:
        self.recent_ms: deque[float] = deque(maxlen=WINDOW_SAMPLES)
        self._last_frame = 0
        self._cold = True
        self._high_ms: float | None = None
        self._best_ms = 0.0

    def add(self, duration_ms: float, frame: int) -> None:
        if self._cold and self.recent_ms:
            self.recent_ms.clear()
            self._cold = False
        self.recent_ms.append(duration_ms)
        self._last_frame = frame
        self._high_ms = None

    def expected_ms(self, frame: int) -> float:
        if self._high_ms is None:
            ascending = sorted(self.recent_ms)
            few = len(ascending) < MIN_SAMPLES
            self._high_ms = upper_quantile(ascending, COST_QUANTILE) * (SAFETY_FACTOR if few else 1.0)
            self._best_ms = ascending[0]
        decay: float = 0.5 ** ((frame - self._last_frame) / HALF_LIFE_FRAMES)
        return self._best_ms + (self._high_ms - self._best_ms) * decay
