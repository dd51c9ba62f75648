"""The demo: export a shipped network, run it on a rendered street with every runtime and under a deadline."""

from __future__ import annotations

from edge_vseg.export.reference.demo.demo_pipeline import DemoOptions, DemoResult, run_demo

__all__ = ["DemoOptions", "DemoResult", "run_demo"]
