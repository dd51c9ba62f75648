"""An operator's time, as a runtime's profiler gives it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An operator's time.

    Attributes:
        name: The node's name in the runtime's graph.
        kind: What it computes, such as ``Conv``.
        kernel: The implementation, under the runtime's name.
        ms: Mean milliseconds per run.
        calls: Calls in the timed runs.
        median_ms: Median milliseconds per run, which a busy machine disturbs less; the mean where a runtime gives no
            more.
    """

    name: str
    kind: str
    kernel: str
    ms: float
    calls: int
    median_ms: float
