"""How long the steps of an export that are still to come take, learnt from those that are done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_LEARNT = 0.05
"""Nothing is said before this share of the work is done: how fast a machine is cannot be known before."""
_OWN_S = 5.0
"""With so many planned seconds done, steps of one kind count as much as all others do together."""
_SKIPPED = 0.05
"""A step that takes less than this share of its plan was found in the work folder, and tells nothing."""
_OVERDUE = 0.25
"""A step that takes longer than planned goes on for this share of the time it has taken, as far as anybody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step of an export.

    Attributes:
        line: How its line of progress begins.
        phase: Steps of one phase come in any order, and some do not come; then the next phase begins.
        seconds: What it takes on some machine; only proportions between steps matter.
    """

    line: str
    phase: int
    seconds: float

    @property
    def kind(self) -> str:
        """What is done, and for which runtime: such steps are wrong by about the same factor."""
        return self.line.partition("/")[0]

    @property
    def runtime(self) -> str:
        """The runtime that it is done for, or another last word."""
        return self.kind.rpartition(" ")[2]


class TimeLeft:
    """Estimates the time left.

    Args:
        plan: The steps in the order in which they are likely to come.
        clock: Gives seconds.
    """

    def __init__(self, plan: Sequence[PlannedStep], clock: Callable[[], float] = time.monotonic) -> None:
        self._waiting = list(plan)
        self._total_s = sum(step.seconds for step in plan)
        self._clock = clock
        self._done: list[tuple[PlannedStep, float]] = []
        self._now: PlannedStep | None = None
        self._since = clock()

    def begin(self, line: str) -> None:
        """A step begins, and the one before is done."""
        now = self._clock()
        phase = 0
        if self._now is not None:
            self._done.append((self._now, now - self._since))
            phase = self._now.phase
        found = next((step for step in self._waiting if line.startswith(step.line)), None)
        if found is not None:
            self._waiting.remove(found)
            # What is skipped has been found in the work folder, or was not needed.
            self._waiting = [step for step in self._waiting if step.phase >= found.phase]
        self._now = found or PlannedStep(line=line, phase=phase, seconds=0.0)
        self._since = now

    @property
    def seconds(self) -> float | None:
        """Seconds left, rather too many than too few; ``None`` while too little is done to tell."""
        if self._now is None or sum(step.seconds for step, _ in self._done) < _LEARNT * self._total_s:
            return None
        elapsed = self._clock() - self._since
        known = [(step, spent) for step, spent in self._done if spent >= _SKIPPED * step.seconds]
        if elapsed > self._now.seconds * self._factor(known, self._now):
            known.append((self._now, elapsed))  # it has taken at least that already
        current = self._now.seconds * self._factor(known, self._now)
        rest = sum(step.seconds * self._factor(known, step) for step in self._waiting)
        return max(current - elapsed, _OVERDUE * elapsed if elapsed >= current else 0.0) + rest

    @property
    def text(self) -> str:
        """``about 3 min left``; empty while too little is done to tell."""
        left_s = self.seconds
        if left_s is None:
            return ""
        if left_s <= 90:
            return f"about {max(10, 10 * math.ceil(left_s / 10))} s left"
        return f"about {math.ceil(left_s / 60)} min left"

    @staticmethod
    def _factor(known: Sequence[tuple[PlannedStep, float]], step: PlannedStep) -> float:
        """How many seconds of this machine one planned second of a step takes.

        That of all steps, drawn towards that of the step's runtime, and then towards that of its kind, the more of
        them are done.
        """
        factor, prior_s = 0.0, 0.0
        for alike in (
            lambda done: True,
            lambda done: done.runtime == step.runtime,
            lambda done: done.kind == step.kind,
        ):
            chosen = [(done.seconds, spent) for done, spent in known if alike(done)]
            planned, spent = (sum(column) for column in zip(*chosen, strict=True)) if chosen else (0.0, 0.0)
            if planned + prior_s > 0:
                factor = (spent + prior_s * factor) / (planned + prior_s)
                prior_s = _OWN_S
        return factor if prior_s else 1.0
