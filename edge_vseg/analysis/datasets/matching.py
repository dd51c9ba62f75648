"""Labels of a dataset in other classes, such as a bundle's: ids are compared only where the names agree."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_vseg.analysis.datasets.indexed import IndexedFrames
from edge_vseg.analysis.datasets.label_sources import LabelSource, Stray
from edge_vseg.bundle.labels import MergedLabel, comparable_name, plain_labels, taken_names
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError
from edge_vseg.types import IGNORE_ID, LabelMap, Size

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Renamed:
    """Labels with other ids."""

    source: LabelSource
    ids: tuple[int, ...]

    def read(self, size_hw: Size) -> LabelMap:
        return np.array(self.ids, np.uint8)[self.source.read(size_hw)]

    def stray(self, size_hw: Size) -> Stray:
        return self.source.stray(size_hw)


def match_labels(frames: IndexedFrames, labels: Sequence[Label]) -> IndexedFrames:
    """Frames whose class ids are those of other classes, by name: ``Traffic-Sign`` is ``traffic_sign``.

    Pixels of a class that is not among them become 255. Classes without names (``class_0`` and so on) are taken by
    their number, if there are as many.

    Args:
        frames: A split of a dataset.
        labels: The classes of a bundle, or of a file for ``--classes``, which may be made of several of the dataset's.

    Raises:
        DatasetError: If no class has the same name, or one is made of classes that the dataset does not have.
    """
    if not any(isinstance(each, MergedLabel) for each in labels):
        if [comparable_name(each.name) for each in frames.labels] == [comparable_name(each.name) for each in labels]:
            return frames
        numbered = all(re.fullmatch(r"class_\d+", each.name) for each in labels)
        if numbered and len(labels) == len(frames.labels):
            log.warning("the bundle's classes have no names; they are taken in the order of the dataset's")
            return frames
    ids = matched_ids(frames.labels, labels)
    missing = [label.name for label, each in zip(frames.labels, ids, strict=True) if each == IGNORE_ID]
    if missing:
        log.warning("not in the bundle, and not judged: %s", ", ".join(missing))
    known = {comparable_name(each.name) for each in frames.labels}
    unseen = [name for label in labels for name in taken_names(label) if comparable_name(name) not in known]
    if unseen:
        log.warning("not in the dataset: %s", ", ".join(unseen))
    table = (*ids, *[IGNORE_ID] * (256 - len(ids)))
    entries = [
        entry if entry.truth is None else replace(entry, truth=_Renamed(source=entry.truth, ids=table))
        for entry in frames.entries
    ]
    return IndexedFrames(entries, plain_labels(labels), split=frames.split, where=frames.entries[0].image.parent)


def matched_ids(own: Sequence[Label], labels: Sequence[Label]) -> list[int]:
    """For each class of a dataset the id of the one that takes it, by name; 255 where none does.

    Args:
        own: The dataset's classes.
        labels: The classes to have.

    Raises:
        DatasetError: If none takes any, or one is made of classes that the dataset does not have.
    """
    known = {comparable_name(each.name) for each in own}
    for label in labels:
        if isinstance(label, MergedLabel) and known.isdisjoint(map(comparable_name, label.of)):
            raise DatasetError(
                f"class {label.name!r} is made of {', '.join(label.of)}, and the dataset has none of them; put some of"
                f" its classes into `of`: {', '.join(each.name for each in own)}"
            )
    wanted = {comparable_name(name): each.id for each in labels for name in taken_names(each)}
    ids = [wanted.get(comparable_name(each.name), IGNORE_ID) for each in own]
    if all(each == IGNORE_ID for each in ids):
        raise DatasetError(
            f"no class of the dataset ({_names(own)}) is among the bundle's ({_names(labels)}); export with"
            " --classes and the names that the dataset has"
        )
    return ids


def _names(labels: Sequence[Label]) -> str:
    first = ", ".join(label.name for label in labels[:5])
    return first if len(labels) <= 5 else f"{first}, … {len(labels)} in all"
