"""Labelled datasets on disk."""

from edge_vseg.analysis.datasets.indexed import IndexedFrames
from edge_vseg.analysis.datasets.labelled import LabelledFrame, follows, labelled_rate
from edge_vseg.analysis.datasets.matching import match_labels
from edge_vseg.analysis.datasets.registry import LAYOUTS, find_dataset, open_dataset

__all__ = [
    "LAYOUTS",
    "IndexedFrames",
    "LabelledFrame",
    "find_dataset",
    "follows",
    "labelled_rate",
    "match_labels",
    "open_dataset",
]
