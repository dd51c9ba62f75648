"""What a runtime's profiler says of an operator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An operator's time.

    Attributes:
        name: The node's name in the graph that the runtime made of the file.
        kind: What it computes, such as ``Conv``.
        kernel: What computes it, in the runtime's words.
        ms: Mean milliseconds per run.
        calls: How often it ran in the timed runs.
    """

    name: str
    kind: str
    kernel: str
    ms: float
    calls: int
