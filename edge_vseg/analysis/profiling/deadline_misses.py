"""Why a frame took longer than it may."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

PLANNED = "planned: every step took about as long as usual"
TOO_SMALL = "planned: what had to be done does not fit into the deadline"
WAITING = "waiting"
"""What is left of a frame's time outside its steps: for a worker, or for a core."""
PREEMPTED = "; the kernel took threads of this process off their cores meanwhile"
MAX_LATE_FRAMES = 12


class LateFrame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frame over the limit.

    Attributes:
        seq: Its number in the source.
        at_s: Seconds from the beginning of the run.
        total_ms: How long it took.
        cause: What made it late.
        decision: What the policy did, and why; empty without a policy.
        steps_ms: Milliseconds by step.
    """

    seq: int
    at_s: float
    total_ms: float
    cause: str
    decision: str
    steps_ms: dict[str, float]


def cause_of(
    steps: Mapping[str, float], limit_ms: float, usual_ms: Callable[[str], float], *, switches: int = 0
) -> str:
    """Name what made a frame late: the step that exceeds its usual time most, if that explains half of the excess.

    Args:
        steps: Milliseconds by step; together what the frame took.
        limit_ms: What the frame may take.
        usual_ms: The median of a step so far; NaN if there was none.
        switches: How often the kernel took the process off a core during the frame.
    """
    over = sum(steps.values()) - limit_ms
    usual = {name: usual_ms(name) for name in steps}
    known = {name: 0.0 if math.isnan(ms) else ms for name, ms in usual.items()}
    excess = {name: ms - known[name] for name, ms in steps.items()}
    slowest = max(excess, key=lambda name: excess[name], default="")
    if not slowest or excess[slowest] < max(0.5 * over, 0.1 * known[slowest]):
        return PLANNED
    if math.isnan(usual[slowest]):
        return f"{slowest}, whose usual time was not known yet"
    return f"{slowest} took longer than usual" + (PREEMPTED if switches else "")


class Misses:
    """Late frames: how many, why, and the worst of them."""

    def __init__(self) -> None:
        self.count = 0
        self.causes: Counter[str] = Counter()
        self._worst: list[tuple[float, int, int, LateFrame]] = []

    def add(self, frame: LateFrame) -> None:
        """Count a late frame."""
        self.count += 1
        self.causes[frame.cause] += 1
        entry = (frame.total_ms, frame.seq, self.count, frame)  # the count, for frames themselves have no order
        if len(self._worst) < MAX_LATE_FRAMES:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)

    def worst(self) -> list[LateFrame]:
        """The worst ones, the latest first."""
        return [frame for *_, frame in sorted(self._worst, reverse=True)]
