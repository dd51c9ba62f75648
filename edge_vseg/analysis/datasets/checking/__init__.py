"""Look a dataset over before training on it: what is in it, what is broken, what leaks from split to split."""

from edge_vseg.analysis.datasets.checking.dataset_check import DatasetCheck, SplitCheck, check_dataset

__all__ = ["DatasetCheck", "SplitCheck", "check_dataset"]
