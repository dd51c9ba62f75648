"""Roboflow's semantic segmentation masks: folders ``train``, ``valid`` and ``test``.

In each are ``NAME.jpg``, ``NAME_mask.png`` and ``_classes.csv``, whose lines are a value of the masks and a class.
"""

from __future__ import annotations

import csv
from pathlib import Path

from edge_vseg.analysis.datasets.annotation_files import annotation_text
from edge_vseg.analysis.datasets.export_classes import export_classes
from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames, Layout, folders_in, images_in
from edge_vseg.analysis.datasets.label_sources import IdFile, IdTable
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError
from edge_vseg.input_files import whole_number

_CLASSES = "_classes.csv"
_MASK = "_mask"


def _splits(folder: Path) -> tuple[str, ...]:
    """Folders with a list of classes."""
    return tuple(name for name in folders_in(folder) if (folder / name / _CLASSES).is_file())


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split.

    Raises:
        DatasetError: If the list of classes is wrong, or no image has a mask.
    """
    root = folder / split
    labels, table = _classes(root / _CLASSES)
    entries = []
    for image in images_in(root):
        if not image.stem.endswith(_MASK):
            mask = root / f"{image.stem}{_MASK}.png"
            truth = IdFile(path=mask, table=table) if mask.is_file() else None
            entries.append(FrameEntry(image=image, truth=truth, name=image.stem, clip=image.stem))
    if entries and all(entry.truth is None for entry in entries):
        raise DatasetError(f"no image of {root} has a mask; expected NAME{_MASK}.png beside NAME.jpg")
    return IndexedFrames(entries, labels, split=split, where=root)


def _classes(path: Path) -> tuple[tuple[Label, ...], IdTable]:
    try:
        lines = [
            [each.strip() for each in line] for line in csv.reader(annotation_text(path).splitlines()) if any(line)
        ]
    except csv.Error as exc:
        raise DatasetError(f"{path} is not CSV: {exc}; export the dataset again") from exc
    if not lines or [each.lower() for each in lines[0]] != ["pixel value", "class"]:
        raise DatasetError(f"{path} does not begin with `Pixel Value, Class`; export as semantic segmentation masks")
    values: dict[int, str] = {}
    for line in lines[1:]:
        value = whole_number(line[0], most=255) if len(line) == 2 else None
        if value is None or value in values:
            raise DatasetError(f"{path}: {line}; expected a value from 0 to 255, each once, and a class")
        values[value] = line[1]
    classes = export_classes([(name, None) for name in values.values()], str(path))
    return classes.labels, IdTable({value: classes.ids[name] for value, name in values.items()}, ())


LAYOUT = Layout(
    name="roboflow", about="Roboflow's semantic segmentation masks", splits=_splits, read=_read, default="valid"
)
