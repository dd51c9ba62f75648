"""Georgia Tech's geometric context from video: ``Images/Original`` and ``Images/Ground_Truth``, 8 classes.

Raza, Grundmann and Essa, Geometric Context from Videos, CVPR 2013. ``Images_test`` is the split ``test``. Names begin
with the video and ``_``, and end with the number of the frame; every frame is labelled. How many frames per second the
videos have is not said.
"""

from __future__ import annotations

import re
from pathlib import Path

from edge_vseg.analysis.datasets.indexed import (
    FrameEntry,
    IndexedFrames,
    Layout,
    images_in,
    require_labels,
    same_stem,
)
from edge_vseg.analysis.datasets.label_sources import IdFile, consecutive
from edge_vseg.bundle.labels import colored_labels
from edge_vseg.errors import DatasetError

CLASSES = colored_labels(
    "sky:255,0,0 ground:0,130,180 solid:0,255,0 porous:255,255,0 cars:120,0,255 humans:255,0,255 "
    "vertical_mix:160,160,160 main_mix:64,64,64"
)
# Ids begin at 1; 0 was not labelled.
_TABLE = consecutive(8, first=1, ignored=(0, 255))
_ROOTS = {"train": "Images", "test": "Images_test"}


def _splits(folder: Path) -> tuple[str, ...]:
    """``train`` and ``test``, those with images."""
    return tuple(split for split, root in _ROOTS.items() if (folder / root / "Original").is_dir())


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split; each video is a clip."""
    images, maps = folder / _ROOTS[split] / "Original", folder / _ROOTS[split] / "Ground_Truth"
    places = sorted((*_place(path), path) for path in images_in(images))
    entries = [_entry(path, video, maps) for video, _, path in places]
    require_labels(entries, images=images, expected=f"one of the same name in {maps}")
    return IndexedFrames(entries, CLASSES, split=split, where=images)


def _entry(image: Path, video: str, maps: Path) -> FrameEntry:
    path = same_stem(maps, image.stem)
    truth = None if path is None else IdFile(path=path, table=_TABLE)
    return FrameEntry(image=image, truth=truth, name=image.stem, clip=video)


def _place(image: Path) -> tuple[str, int]:
    """Video, and number of the frame; numbers may have no leading zeros."""
    match = re.fullmatch(r"([^_]+)_.*?(\d+)", image.stem)
    if match is None:
        raise DatasetError(f"{image} has no name of this dataset; expected VIDEO_FRAME")
    return match[1], int(match[2])


LAYOUT = Layout(
    name="gatech", about="Georgia Tech's geometric context from video", splits=_splits, read=_read, default="test"
)
