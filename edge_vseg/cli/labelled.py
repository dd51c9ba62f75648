"""Labelled frames of the command line: those to learn from, in the classes of a network."""

from __future__ import annotations

from collections.abc import Sequence

from edge_vseg.analysis.datasets import IndexedFrames, find_dataset, match_labels
from edge_vseg.bundle.manifest import Label

TRAINING_SPLIT = "train"


def frames_to_learn(address: str, labels: Sequence[Label] | None) -> IndexedFrames:
    """The frames of ``LAYOUT:DIR``, split ``train`` unless the address names another.

    Args:
        address: ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``.
        labels: The network's classes, in whose ids the labels are given; ``None`` for the dataset's own.

    Raises:
        OptionError: If the address is incomplete or its layout unknown.
        DatasetError: If the folder is not of the layout, the split is missing, or no class has the same name.
    """
    place = find_dataset(address)
    frames = place.open(place.split or TRAINING_SPLIT)
    return match_labels(frames, labels) if labels else frames
