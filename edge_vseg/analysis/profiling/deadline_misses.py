"""Why frames took longer than the limit."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

PLANNED = "planned: every step took about as long as usual"
TOO_SMALL = "planned: the work of the frame does not fit into the deadline"
WAITING = "waiting"
"""Time of a frame outside its steps: waiting for a worker thread, or for a core."""
BESIDE_BACKGROUND = "; the background ran beside it for most of the frame"
PREEMPTED = "; the kernel preempted threads of this process during the frame"
MIN_SHARE_OF_OVERRUN = 0.5
"""A step is the cause if it explains half of the time over the limit."""
MIN_SHARE_OF_USUAL = 0.1
"""A step is slow if it takes a tenth longer than usual; less is noise."""
MAX_LATE_FRAMES = 12


class LateFrame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frame over the limit.

    Attributes:
        seq: Its number in the source.
        at_s: Seconds since the start of the run.
        total_ms: Its latency.
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


def miss_cause(
    steps: Mapping[str, float],
    limit_ms: float,
    usual_ms: Callable[[str], float],
    *,
    preemptions: int = 0,
    beside_background: bool = False,
) -> str:
    """Name the cause of a late frame: the step that exceeds its usual time most, if that explains half of the overrun.

    Args:
        steps: Milliseconds by step; their sum is the frame's latency.
        limit_ms: Milliseconds that the frame may take.
        usual_ms: Median milliseconds of a step so far; NaN if there is none.
        preemptions: How often the kernel preempted the process during the frame.
        beside_background: Whether the background lane ran during most of the frame.
    """
    overrun = sum(steps.values()) - limit_ms
    usual = {name: usual_ms(name) for name in steps}
    expected = {name: 0.0 if math.isnan(ms) else ms for name, ms in usual.items()}
    excess = {name: ms - expected[name] for name, ms in steps.items()}
    slowest = max(excess, key=lambda name: excess[name], default="")
    if not slowest:
        return PLANNED
    if excess[slowest] < max(MIN_SHARE_OF_OVERRUN * overrun, MIN_SHARE_OF_USUAL * expected[slowest]):
        return PLANNED
    if math.isnan(usual[slowest]):
        return f"{slowest}, whose usual time was not known yet"
    return (
        f"{slowest} took longer than usual"
        + (BESIDE_BACKGROUND if beside_background else "")
        + (PREEMPTED if preemptions else "")
    )


class DeadlineMisses:
    """Counts late frames by cause, and keeps the latest of them."""

    def __init__(self) -> None:
        self.count = 0
        self.causes: Counter[str] = Counter()
        self._heap: list[tuple[float, int, int, LateFrame]] = []

    def add(self, frame: LateFrame) -> None:
        """Count a late frame."""
        self.count += 1
        self.causes[frame.cause] += 1
        entry = (frame.total_ms, frame.seq, self.count, frame)  # the count breaks ties: frames have no order
        if len(self._heap) < MAX_LATE_FRAMES:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def worst(self) -> list[LateFrame]:
        """The frames with the largest latency, largest first."""
        return [frame for *_, frame in sorted(self._heap, reverse=True)]
