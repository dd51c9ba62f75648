"""Converters in a process of their own, with limits: one that dies takes nothing with it."""

from __future__ import annotations

from edge_vseg.export.child_process.child_process import ChildProcess
from edge_vseg.export.child_process.conversion_limits import ConversionLimits

__all__ = ["ChildProcess", "ConversionLimits"]
