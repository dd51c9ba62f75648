"""GTA5: ``images/00001.png`` and ``labels/00001.png``, 19 classes of Cityscapes.

Richter et al., Playing for Data: Ground Truth from Computer Games, ECCV 2016. Label maps have a palette of Cityscapes'
colours, or are in these colours. ``labels/00001_labelTrainIds.png``, as some programs make them, are read if they are
there. The authors' splits are in a file of MATLAB, which is not read: everything is the split ``all``, or the folders
``train``, ``val`` and ``test`` in ``images`` and ``labels`` are the splits. Images are far apart, so each is a clip of
its own.
"""

from __future__ import annotations

from pathlib import Path

from edge_vseg.analysis.datasets.indexed import (
    FrameEntry,
    IndexedFrames,
    Layout,
    folders_in,
    images_in,
    require_labels,
)
from edge_vseg.analysis.datasets.label_sources import ColorFile, IdFile, LabelSource, consecutive
from edge_vseg.analysis.datasets.layouts.cityscapes import COLORS
from edge_vseg.bundle.labels import named_labels

WHOLE = "all"
_TRAIN_IDS = consecutive(19)
_COLORS = COLORS | {(20, 20, 20): 255}  # static things, which Cityscapes draws black


def _splits(folder: Path) -> tuple[str, ...]:
    """The folders in ``images``, or ``all``."""
    if not ((folder / "images").is_dir() and (folder / "labels").is_dir()):
        return ()
    return folders_in(folder / "images") or (WHOLE,)


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split."""
    part = split if split in folders_in(folder / "images") else ""
    images, maps = folder / "images" / part, folder / "labels" / part
    entries = [
        FrameEntry(image=path, truth=_truth(maps, path.stem), name=path.stem, clip=path.stem)
        for path in images_in(images)
    ]
    require_labels(entries, images=images, expected=f"one of the same name in {maps}")
    return IndexedFrames(entries, named_labels("cityscapes"), split=split, where=images)


def _truth(maps: Path, stem: str) -> LabelSource | None:
    train_ids, colors = maps / f"{stem}_labelTrainIds.png", maps / f"{stem}.png"
    if train_ids.is_file():
        return IdFile(path=train_ids, table=_TRAIN_IDS)
    return ColorFile(path=colors, colors=_COLORS) if colors.is_file() else None


LAYOUT = Layout(name="gta5", about="GTA5", splits=_splits, read=_read)
