"""Labelled frames of the command line: those to learn from, in the classes of a network."""

from __future__ import annotations

from collections.abc import Sequence

from edge_vseg.analysis.datasets import IndexedFrames, find_dataset, match_labels
from edge_vseg.analysis.datasets.divided_split import LEAST_FRAMES, divide_split
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError


def frames_to_learn(address: str, labels: Sequence[Label] | None) -> IndexedFrames:
    """The frames of ``LAYOUT:DIR``, split ``train`` in any spelling unless the address names another.

    Args:
        address: ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``.
        labels: The network's classes, in whose ids the labels are given, which may be made of several of the
            dataset's; ``None`` for the dataset's own.

    Raises:
        OptionError: If the address is incomplete or its layout unknown.
        DatasetError: If the folder is not of the layout, the split is missing, or no class has the same name.
    """
    place = find_dataset(address)
    frames = place.open(place.split_to_learn())
    return match_labels(frames, labels) if labels else frames


def frames_to_learn_and_score(
    address: str, labels: Sequence[Label] | None = None
) -> tuple[IndexedFrames, IndexedFrames]:
    """The frames of ``LAYOUT:DIR`` to learn from, and those of the layout's own split, or ``val``, to score with.

    Where that is the same split, or is not there, about a quarter of the frames is set apart to score with.

    Args:
        address: As for :func:`frames_to_learn`.
        labels: Likewise.

    Raises:
        OptionError: If the address is incomplete or its layout unknown.
        DatasetError: If the folder is not of the layout, the split is missing or too small to be divided, or no class
            has the same name.
    """
    place, learnt = find_dataset(address), frames_to_learn(address, labels)
    usual = place.split_to_judge_by(learnt.split)
    if usual is not None:
        scored = place.open(usual)
        return learnt, match_labels(scored, labels) if labels else scored
    divided = divide_split(learnt)
    if divided is None:
        count = sum(entry.truth is not None for entry in learnt.entries)
        raise DatasetError(
            f"split {learnt.split!r} is the only one to learn from and to score with; that takes {LEAST_FRAMES} frames"
            f" or more, and it has {count} with labels"
        )
    return divided.learnt, divided.judged
