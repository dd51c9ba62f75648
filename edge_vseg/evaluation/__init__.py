"""How well a bundle does: against the truth, and against its own float graphs."""

from edge_vseg.evaluation.variants import VariantScore, compare_variants

__all__ = ["VariantScore", "compare_variants"]
