"""Labelled datasets on disk."""

from edge_vseg.analysis.datasets.camvid import CamVid
from edge_vseg.analysis.datasets.labelled import LabelledFrame, follows, labelled_rate

__all__ = ["CamVid", "LabelledFrame", "follows", "labelled_rate"]
