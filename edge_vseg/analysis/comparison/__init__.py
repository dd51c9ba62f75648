"""Compare two latency profiles, or two evaluations: ratios, regressions, and a gate for CI."""

from edge_vseg.analysis.comparison.compare import Comparison, Row, compare_files
from edge_vseg.analysis.comparison.measures import MEASURES, NO_LIMITS, Limits, Measure

__all__ = ["MEASURES", "NO_LIMITS", "Comparison", "Limits", "Measure", "Row", "compare_files"]
