"""Datasets by name: ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``."""

from __future__ import annotations

import importlib
from pathlib import Path

from edge_vseg.analysis.datasets.indexed import IndexedFrames, Layout
from edge_vseg.errors import DatasetError, OptionError

LAYOUTS = (
    "camvid",
    "cityscapes",
    "coco",
    "cvat",
    "folder",
    "labelme",
    "roboflow",
    "supervisely",
    "voc",
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


def open_dataset(address: str, split: str | None = None) -> IndexedFrames:
    """Open a split of a dataset.

    Args:
        address: ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``.
        split: The split where the address names none; ``None`` for ``val``, or the first if there is no ``val``.

    Returns:
        The frames, read on access.

    Raises:
        OptionError: If the address is incomplete or its layout unknown.
        DatasetError: If the folder is not of the layout, or the split is not there.
    """
    name, _, place = address.partition(":")
    if not place:
        raise OptionError(
            f"dataset {address!r}: expected LAYOUT:DIR or LAYOUT:DIR:SPLIT; layouts: {', '.join(LAYOUTS)}"
        )
    kind = layout(name)
    folder, named = _divide(kind, place)
    splits = kind.splits(folder)
    if not splits:
        where = "there is no such folder" if not folder.is_dir() else "its folders and files are others"
        raise DatasetError(f"{folder} does not hold {kind.about}, or not in the layout {name!r}: {where}")
    wanted = named or split or (kind.default if kind.default in splits else splits[0])
    if wanted not in splits:
        raise DatasetError(f"{folder} has no split {wanted!r}; it has {', '.join(splits)}")
    return kind.read(folder, wanted)


def _divide(kind: Layout, place: str) -> tuple[Path, str]:
    """Folder and split; a folder may have a colon in its name."""
    folder, _, split = place.rpartition(":")
    if folder and not Path(place).is_dir():
        return Path(folder), split
    return Path(place), ""
