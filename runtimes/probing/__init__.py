"""Graphs are tried out in a process of their own before this one opens them: a graph can kill what runs it."""

from __future__ import annotations

from edge_vseg.runtimes.probing.probe_record import ProbeRecord
from edge_vseg.runtimes.probing.probe_rule import ProbeRule
from edge_vseg.runtimes.probing.variant_probe import FAILURES, VariantProbe

__all__ = ["FAILURES", "ProbeRecord", "ProbeRule", "VariantProbe"]
