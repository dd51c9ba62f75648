"""Labelled frames of the command line: those to learn from, in the classes of a network."""

from __future__ import annotations

from collections.abc import Sequence

from edge_vseg.analysis.datasets import IndexedFrames, find_dataset, match_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError

TRAINING_SPLIT = "train"


def frames_to_learn(address: str, labels: Sequence[Label] | None) -> IndexedFrames:
    """The frames of ``LAYOUT:DIR``, split ``train`` unless the address names another.

    Args:
        address: ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``.
        labels: The network's classes, in whose ids the labels are given, which may be made of several of the
            dataset's; ``None`` for the dataset's own.

    Raises:
        OptionError: If the address is incomplete or its layout unknown.
        DatasetError: If the folder is not of the layout, the split is missing, or no class has the same name.
    """
    place = find_dataset(address)
    frames = place.open(place.split or TRAINING_SPLIT)
    return match_labels(frames, labels) if labels else frames


def frames_to_learn_and_score(
    address: str, labels: Sequence[Label] | None = None
) -> tuple[IndexedFrames, IndexedFrames]:
    """The frames of ``LAYOUT:DIR`` to learn from, and those of the layout's own split to score with.

    Where that is the same split, or is not there, one in four frames is set apart to score with.

    Args:
        address: As for :func:`frames_to_learn`.
        labels: Likewise.

    Raises:
        OptionError: If the address is incomplete or its layout unknown.
        DatasetError: If the folder is not of the layout, the split is missing or too small to be divided, or no class
            has the same name.
    """
    place = find_dataset(address)
    learnt = frames_to_learn(address, labels)
    usual = place.layout.default
    if usual not in {*place.splits} - {learnt.split}:
        return _divided(learnt)
    scored = place.open(usual)
    return learnt, match_labels(scored, labels) if labels else scored


def _divided(frames: IndexedFrames) -> tuple[IndexedFrames, IndexedFrames]:
    from edge_vseg.export.finetuning.training_frame import SET_ASIDE  # the command has checked that the extra is there

    if len(frames) < 2 * SET_ASIDE:
        raise DatasetError(
            f"split {frames.split!r} is the only one to learn from and to score with; that takes {2 * SET_ASIDE} frames"
            f" or more, and it has {len(frames)}"
        )
    rest = [entry for number, entry in enumerate(frames.entries) if number % SET_ASIDE]
    where = frames.entries[0].image.parent
    return IndexedFrames(rest, frames.labels, split=frames.split, where=where), frames[::SET_ASIDE]
