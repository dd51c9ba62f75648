"""Replay recorded costs on a virtual clock: the same decisions on any machine, however busy.

Judges a policy on a workstation with the costs of the device, and gives the same result twice. Both lanes are replayed:
the background gets on while the frame lane idles, and, where a core is free for it, while a frame is answered without
the network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_vseg.errors import OptionError, SessionError
from edge_vseg.scheduling.background import BackgroundRun, Job, T
from edge_vseg.scheduling.background_turns import MIN_DUTY, BackgroundTurns
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.device_profile import Contention, Cost, DeviceProfile
from edge_vseg.scheduling.steps import Step, StepKind
from edge_vseg.scheduling.variant_sessions import VariantSessions
from edge_vseg.types import BackgroundSpan

_DRAWN_QUANTILES = (0.0, 0.5, 0.9, 0.99, 1.0)
_MIN_OF_MEDIAN = 0.6
"""No drawn cost is below this share of the median."""
_NETWORK = (StepKind.INFER, StepKind.SLICE, StepKind.TILE)
"""Steps that take all cores: the background, whose priority is lower, waits for them."""


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
        if kind in _NETWORK:
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
        if step.kind not in _NETWORK and self.crowded():
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


class ReplayedBackground:
    """The background lane on a virtual clock: a job is done when its recorded duration has been worked off.

    Args:
        sessions: Runs the network, at once and without any time passing.
        clock: The virtual clock.
        meter: Draws how long parts take.
        turns: Says whether parts run beside frames, and with which duty.
    """

    def __init__(
        self, sessions: VariantSessions, clock: VirtualClock, meter: ReplayMeter, turns: BackgroundTurns
    ) -> None:
        self.turns = turns
        self._sessions = sessions
        self._clock = clock
        self._meter = meter
        self._run: _ReplayedRun[object] | None = None
        self._spans: list[BackgroundSpan] = []
        meter.crowded = lambda: turns.beside_frames and self._run is not None and not self._run.done()

    def start(self, job: Job[T]) -> BackgroundRun[T]:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        duration_ns = 0

        def part(step: Step, run: Callable[[], object], /) -> object:
            nonlocal duration_ns
            duration_ns += self._meter.draw_ns(step)
            return run()

        output: T | SessionError
        try:
            output = job(self._sessions, part)  # type: ignore[arg-type]
        except SessionError as exc:  # as on a worker, whoever takes the job hears of it
            output = exc
        slowdown = self._meter.contention.background if self.turns.beside_frames else 1.0
        run = _ReplayedRun(output, round(duration_ns * slowdown), self._clock, self.turns, self._spans)
        self._run = run  # type: ignore[assignment]
        return run

    def take_spans(self) -> tuple[BackgroundSpan, ...]:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        spans = tuple(self._spans)
        self._spans.clear()
        return spans

    def abandon(self) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """Nothing to end."""


class _ReplayedRun(BackgroundRun[T]):
    def __init__(
        self,
        output: T | SessionError,
        work_ns: int,
        clock: VirtualClock,
        turns: BackgroundTurns,
        spans: list[BackgroundSpan],
    ) -> None:
        self.duration_ns = work_ns
        self._output = output
        self._left_ns = float(work_ns)
        self._clock = clock
        self._turns = turns
        self._spans = spans
        self._start_ns = clock.now
        self._seen = (clock.now, clock.frame_ns, clock.network_ns)

    def done(self) -> bool:
        """Whether the work is done; counts what was done since the last question."""
        if self._left_ns <= 0:
            return True
        seen = (self._clock.now, self._clock.frame_ns, self._clock.network_ns)
        passed, frame, network = (now - then for now, then in zip(seen, self._seen, strict=True))
        self._seen = seen
        idle = passed - frame - network
        self._left_ns -= self._duty * (idle + (frame if self._turns.beside_frames else 0))
        if self._left_ns <= 0:
            self._spans.append(BackgroundSpan(step="background", start_ns=self._start_ns, end_ns=self._clock.now))
        return self._left_ns <= 0

    def result(self, timeout: float | None = None) -> T:
        """What the job returned; idles until the work is done."""
        if not self.done():
            self._clock.advance_to(self._clock.now + round(self._left_ns / self._duty) + 1)
        if isinstance(self._output, SessionError):
            raise self._output
        return self._output

    def cancel_parts(self) -> None:
        """The work ends here."""
        self._left_ns = 0

    @property
    def _duty(self) -> float:
        return max(MIN_DUTY, self._turns.duty)


def _draw_ms(cost: Cost, share: float) -> float:
    """A quantile, linear between the recorded ones; the minimum is as far below the median as p90 is above."""
    low = max(_MIN_OF_MEDIAN * cost.p50, 2 * cost.p50 - cost.p90)
    return float(np.interp(share, _DRAWN_QUANTILES, (low, cost.p50, cost.p90, cost.p99, cost.p99)))
