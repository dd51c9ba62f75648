"""The cost meter: what each step of a frame takes on this machine."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edge_vseg.scheduling import steps
from edge_vseg.scheduling.latency_margin import LatencyMargin
from edge_vseg.scheduling.quantiles import upper_quantile
from edge_vseg.scheduling.situation import Costs
from edge_vseg.scheduling.steps import Step, StepKind

WINDOW_SAMPLES = 32
MIN_SAMPLES = 4
SAFETY_FACTOR = 1.3
"""Multiplies figures of fewer than :data:`MIN_SAMPLES` samples, and those measured on another machine."""
TELLING_SHARE = 0.25
"""Of its deadline that a frame's steps take for its latency to tell how much longer frames take than their steps."""
HALF_LIFE_FRAMES = 12
"""While a step is not run, its cost decays towards its best sample with this half-life: else what was slow in a bad
moment would never be tried again."""
COSTS_KEPT_FRAMES = 4
"""Frames for which costs are not summed up anew: that takes a twentieth of a carried frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPace:
    """How often the network makes a map.

    Attributes:
        duration_ms: What it takes.
        wait_ms: How long it may have to wait from one map to the next, by the share of the machine that it may use and
            for other cameras.
        measured: Whether it has run in the background, where waits and other work are part of the duration.
    """

    duration_ms: float = 0.0
    wait_ms: float = 0.0
    measured: bool = False


class CostMeter:
    """Keeps the recent durations of every step of a frame: the median of each, and one margin for whole frames.

    Args:
        slice_count: Slices of the network.
        expected_ms: Known medians by step; used until the step has been measured here.
        safety_factor: Multiplies them; 1 if they were measured on this machine.
    """

    def __init__(
        self,
        slice_count: int,
        expected_ms: Mapping[Step, float] | None = None,
        *,
        safety_factor: float = SAFETY_FACTOR,
    ) -> None:
        self.margin = LatencyMargin()
        self._slice_count = slice_count
        self._safety_factor = safety_factor
        self._expected_ms = dict(expected_ms or {})
        self._measured: dict[Step, _Samples] = {}
        self._frame = 0
        self._kept: Costs | None = None
        self._kept_until = 0
        self._spent_ms: dict[Step, float] = {}
        self._runs: Counter[Step] = Counter()

    def add(self, step: Step, duration_ns: int) -> None:
        """Record the duration of a step of the frame."""
        self.record(step, duration_ns)
        self._spent_ms[step] = self._spent_ms.get(step, 0.0) + duration_ns / 1e6
        self._runs[step] += 1

    def record(self, step: Step, duration_ns: int) -> None:
        """Record the duration of something that was done beside the frame, and is no part of its latency."""
        samples = self._measured.get(step)
        if samples is None:
            samples, self._kept = self._measured.setdefault(step, _Samples()), None
        samples.add(duration_ns / 1e6, self._frame)

    def begin_frame(self) -> None:
        """Drop what a failed frame or the warm-up has left."""
        self._spent_ms = {}
        self._runs.clear()

    def end_frame(self, total_ms: float, deadline_ms: float | None = None) -> dict[str, float]:
        """Count a frame: learn the margin from it, and let the costs of steps that it did not run decay.

        Args:
            total_ms: Its latency.
            deadline_ms: The deadline that it was expected to keep.

        Returns:
            Milliseconds by step.
        """
        usual_ms = sum(count * self._measured[step].median_ms() for step, count in self._runs.items())
        missed = deadline_ms is not None and total_ms > deadline_ms
        # Half a millisecond more on a frame of half a millisecond says nothing about one that takes twenty.
        tells = missed or deadline_ms is None or usual_ms >= TELLING_SHARE * deadline_ms
        if usual_ms > 0:
            self.margin.add(total_ms / usual_ms if tells else None, missed=missed)
        self._frame += 1
        return {str(step): ms for step, ms in self._spent_ms.items()}

    def usual_ms(self, step: Step) -> float:
        """Median milliseconds of a step; 0 if it was neither measured nor known before."""
        samples = self._measured.get(step)
        if samples is None:
            return self._safety_factor * self._expected_ms.get(step, 0.0)
        return samples.usual_ms(self._frame)

    def network_ms(self) -> float:
        """What the network usually takes, in the lane in which it takes longer; 0 if nothing is known."""
        return max(self._whole_ms(self.usual_ms), self.usual_ms(steps.BACKGROUND))

    def has_measured(self, step: Step) -> bool:
        """Whether a step was run here."""
        return step in self._measured

    def expected_ms(self, step: Step) -> float:
        """Milliseconds of a step with the margin: sums of them are hardly exceeded."""
        return self.margin.factor * self.usual_ms(step)

    def costs(self, elapsed_ms: float = 0.0) -> Costs:
        """All costs, as policies see them.

        Args:
            elapsed_ms: Milliseconds since the frame's arrival: what it has spent already need not be expected.
        """
        if self._kept is None or self._frame >= self._kept_until:
            self._kept, self._kept_until = self._all_costs(), self._frame + COSTS_KEPT_FRAMES
        fixed_ms = elapsed_ms + self.expected_ms(steps.DECIDE)
        return replace(self._kept, fixed_ms=fixed_ms, motion_ms=elapsed_ms)

    def _all_costs(self) -> Costs:
        expected_ms = self.expected_ms
        known = (*self._expected_ms, *self._measured)
        estimators = {step.detail: step for step in known if step.kind is StepKind.MOTION}
        slices_ms = tuple(expected_ms(steps.slice_step(number)) for number in range(self._slice_count))
        infer_ms = self._whole_ms(expected_ms)
        input_ms = expected_ms(steps.PREPROCESS)
        return Costs(
            infer_ms=infer_ms + input_ms,
            slices_ms=slices_ms,
            tile_ms=expected_ms(steps.TILE),
            motions_ms={name: expected_ms(step) for name, step in estimators.items()},
            propagate_ms=expected_ms(steps.PROPAGATE),
            fuse_ms=expected_ms(steps.FUSE) + expected_ms(steps.LABELS),
            carry_ms=expected_ms(steps.CARRY),
            input_ms=input_ms,
            background_ms=expected_ms(steps.BACKGROUND) or infer_ms,
            companion_ms=expected_ms(steps.COMPANION) + expected_ms(steps.LABELS),
        )

    def _whole_ms(self, of: Callable[[Step], float]) -> float:
        whole_ms = of(steps.INFER)
        if steps.INFER in self._measured:
            return whole_ms
        # A figure from a faster machine may be far too low; the slices were run here.
        return max(whole_ms, sum(of(steps.slice_step(number)) for number in range(self._slice_count)))

    def samples_ms(self) -> dict[Step, list[float]]:
        """The recent durations of each step, in ms."""
        return {step: list(samples.recent_ms) for step, samples in self._measured.items()}

    def clear(self) -> None:
        """Drop all samples, such as those of slow first runs."""
        self._measured.clear()
        self._kept = None
        self._runs.clear()


class _Samples:
    """Recent durations of one step. The first, which allocates and fills caches, counts only until a second comes."""

    def __init__(self) -> None:
        self.recent_ms: deque[float] = deque(maxlen=WINDOW_SAMPLES)
        self._last_frame = 0
        self._cold = True
        self._median_ms: float | None = None
        self._best_ms = 0.0

    def add(self, duration_ms: float, frame: int) -> None:
        if self._cold and self.recent_ms:
            self.recent_ms.clear()
            self._cold = False
        self.recent_ms.append(duration_ms)
        self._last_frame = frame
        self._median_ms = None

    def median_ms(self) -> float:
        if self._median_ms is None:
            ascending = sorted(self.recent_ms)
            few = len(ascending) < MIN_SAMPLES
            self._median_ms = ascending[-1] * SAFETY_FACTOR if few else upper_quantile(ascending, 0.5)
            self._best_ms = ascending[0]
        return self._median_ms

    def usual_ms(self, frame: int) -> float:
        median_ms = self.median_ms()
        decay: float = 0.5 ** ((frame - self._last_frame) / HALF_LIFE_FRAMES)
        return self._best_ms + (median_ms - self._best_ms) * decay
