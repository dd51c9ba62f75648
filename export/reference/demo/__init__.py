"""The demo: the shipped network on a rendered street, exported, run on every runtime, inside a deadline, and judged."""

from __future__ import annotations

from edge_vseg.export.reference.demo.demo import DemoOptions, DemoResult, run_demo

__all__ = ["DemoOptions", "DemoResult", "run_demo"]
