"""Functions in a process of their own, with limits: one that dies takes nothing with it."""

from __future__ import annotations

from edge_vseg.child_process.child_process import ChildFailures, ChildProcess
from edge_vseg.child_process.process_limits import ProcessLimits

__all__ = ["ChildFailures", "ChildProcess", "ProcessLimits"]
