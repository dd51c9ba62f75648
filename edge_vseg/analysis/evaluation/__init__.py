"""Evaluate the accuracy of a bundle: its variants against ground truth and float, policies against every frame."""

from edge_vseg.analysis.evaluation.policy_evaluation import EvaluationOptions, evaluate_policy
from edge_vseg.analysis.evaluation.policy_score import PolicyScore
from edge_vseg.analysis.evaluation.variant_evaluation import VariantScore, compare_variants

__all__ = ["EvaluationOptions", "PolicyScore", "VariantScore", "compare_variants", "evaluate_policy"]
