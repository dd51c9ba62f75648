"""Datasets by name: ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.analysis.datasets.indexed import IndexedFrames, Layout
from edge_vseg.analysis.datasets.split_names import judging_split, learning_split
from edge_vseg.errors import DatasetError, OptionError

LAYOUTS = (
    "camvid",
    "cityscapes",
    "cityscapes-vps",
    "coco",
    "cvat",
    "davis",
    "folder",
    "freiburg-forest",
    "gatech",
    "gta5",
    "idd",
    "kitti-step",
    "labelme",
    "nyu-depth",
    "roboflow",
    "supervisely",
    "synthia",
    "voc",
    "vspw",
)
"""Each is a module of :mod:`edge_vseg.analysis.datasets.layouts`, with ``_`` for ``-``."""


def layout(name: str) -> Layout:
    """A layout by name.

    Raises:
        OptionError: If there is none of that name.
    """
    if name not in LAYOUTS:
        raise OptionError(f"unknown dataset layout {name!r}; known: {', '.join(LAYOUTS)}")
    found: Layout = importlib.import_module(f"edge_vseg.analysis.datasets.layouts.{name.replace('-', '_')}").LAYOUT
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPlace:
    """A dataset on disk.

    Attributes:
        layout: How it lies there.
        folder: Where.
        splits: The splits that are there.
        split: The one that the address names; empty if it names none.
    """

    layout: Layout
    folder: Path
    splits: tuple[str, ...]
    split: str

    def open(self, split: str) -> IndexedFrames:
        """Open a split.

        Raises:
            DatasetError: If it is not there, or cannot be listed.
        """
        if split not in self.splits:
            raise DatasetError(f"{self.folder} has no split {split!r}; it has {', '.join(self.splits)}")
        return self.layout.read(self.folder, split)

    def split_to_learn(self) -> str:
        """The split that the address names, or the one that is called as one to learn from, or is alone.

        Raises:
            DatasetError: If the names do not tell. A test split is learnt only where the address names it.
        """
        found = self.split or learning_split(self.splits)
        if found is None:
            raise DatasetError(
                f"{self.folder} has no split that is called train, only {', '.join(self.splits)}; name the one"
                f" to learn from: {self.layout.name}:{self.folder}:SPLIT"
            )
        return found

    def split_to_judge_by(self, learnt: str) -> str | None:
        """The split of the layout's authors, or one called ``val``, that is not what is learnt; ``None`` without."""
        return judging_split(self.splits, self.layout.default, learnt)


def find_dataset(address: str) -> DatasetPlace:
    """Find the dataset of ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``.

    Raises:
        OptionError: If the address is incomplete or its layout unknown.
        DatasetError: If the folder is not of the layout.
    """
    name, _, place = address.partition(":")
    if not place:
        raise OptionError(
            f"dataset {address!r}: expected LAYOUT:DIR or LAYOUT:DIR:SPLIT; layouts: {', '.join(LAYOUTS)}"
        )
    kind = layout(name)
    folder, split = _divide(place)
    splits = kind.splits(folder)
    if not splits:
        where = "there is no such folder" if not folder.is_dir() else "its folders and files are others"
        raise DatasetError(f"{folder} does not hold {kind.about}, or not in the layout {name!r}: {where}")
    return DatasetPlace(layout=kind, folder=folder, splits=splits, split=split)


def open_dataset(address: str, split: str | None = None) -> IndexedFrames:
    """Open a split of a dataset.

    Args:
        address: ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``.
        split: The split where the address names none; ``None`` for ``val`` in any spelling, or the first without one.

    Returns:
        The frames, read on access.

    Raises:
        OptionError: If the address is incomplete or its layout unknown.
        DatasetError: If the folder is not of the layout, or the split is not there.
    """
    place = find_dataset(address)
    usual = judging_split(place.splits, place.layout.default)
    return place.open(place.split or split or usual or place.splits[0])


def _divide(place: str) -> tuple[Path, str]:
    """Folder and split; a folder may have a colon in its name."""
    folder, _, split = place.rpartition(":")
    if folder and not Path(place).is_dir():
        return Path(folder), split
    return Path(place), ""
