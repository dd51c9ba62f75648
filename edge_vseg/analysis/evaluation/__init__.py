"""How well a bundle does: against the truth, against its own float graphs, and scheduled against every frame."""

from edge_vseg.analysis.evaluation.policy_evaluation import PolicyScore, evaluate_policy
from edge_vseg.analysis.evaluation.variant_evaluation import VariantScore, compare_variants

__all__ = ["PolicyScore", "VariantScore", "compare_variants", "evaluate_policy"]
