"""The demo: export a shipped network, run it with every runtime, and live at a size at which it is too slow."""

from __future__ import annotations

from edge_vseg.export.reference.demo.demo_pipeline import DemoOptions, DemoResult, run_demo
from edge_vseg.export.reference.demo.live_comparison import LiveComparison

__all__ = ["DemoOptions", "DemoResult", "LiveComparison", "run_demo"]
