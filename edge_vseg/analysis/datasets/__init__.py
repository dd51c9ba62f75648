"""Labelled frames on disk, in the layouts that datasets come in."""

from edge_vseg.datasets.camvid import CamVid
from edge_vseg.datasets.labelled import LabelledFrame, follows, labelled_rate

__all__ = ["CamVid", "LabelledFrame", "follows", "labelled_rate"]
