"""Freiburg Forest: ``train/rgb`` and ``train/GT_color``, also ``test``; 5 classes.

Valada et al., Deep Multispectral Semantic Scene Understanding of Forested Environments Using Multimodal Fusion, ISER
2016. Trees have a colour of their own and the class of other vegetation. What has another colour has no class.
Images are far apart, so each is a clip of its own.
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
from edge_vseg.analysis.datasets.label_sources import ColorFile
from edge_vseg.bundle.labels import colored_labels

CLASSES = colored_labels("road:170,170,170 grass:0,255,0 vegetation:102,102,51 sky:0,120,255 obstacle:0,0,0")
_TREE = (0, 60, 0)
_COLORS = {label.color: label.id for label in CLASSES} | {_TREE: 2, (255, 255, 255): 255}


def _splits(folder: Path) -> tuple[str, ...]:
    """Folders with ``rgb`` and ``GT_color``."""
    return tuple(
        name for name in folders_in(folder) if all((folder / name / part).is_dir() for part in ("rgb", "GT_color"))
    )


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split; an image and its label map have the same name up to the first ``_``."""
    images, maps = folder / split / "rgb", folder / split / "GT_color"
    truths = {_place(path): ColorFile(path=path, colors=_COLORS) for path in images_in(maps)}
    entries = [
        FrameEntry(image=path, truth=truths.get(_place(path)), name=path.stem, clip=_place(path))
        for path in images_in(images)
    ]
    require_labels(entries, images=images, expected=f"one in {maps}, as b1-09517_mask.png of b1-09517_Clipped.jpg")
    return IndexedFrames(entries, CLASSES, split=split, where=images)


def _place(path: Path) -> str:
    return path.stem.partition("_")[0]


LAYOUT = Layout(name="freiburg-forest", about="Freiburg Forest", splits=_splits, read=_read, default="test")
