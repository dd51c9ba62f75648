"""CamVid in the layout of SegNet: ``train``, ``trainannot``, ``val``, ``valannot``, 11 classes.

Brostow et al., Semantic Object Classes in Video, Pattern Recognition Letters 2009.
"""

from __future__ import annotations

import re
from pathlib import Path

from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames, Layout, folders_in, images_in
from edge_vseg.analysis.datasets.label_sources import IdFile, consecutive
from edge_vseg.bundle.labels import named_labels
from edge_vseg.errors import DatasetError

VIDEO_RATE = 30.0
"""Frames per second of its drives; file names carry the frame number."""
_TABLE = consecutive(11, ignored=(11, 255))


def _splits(folder: Path) -> tuple[str, ...]:
    """Folders with a folder ``...annot`` beside them."""
    names = folders_in(folder)
    return tuple(name for name in names if f"{name}annot" in names)


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split; each image needs a label map of its name.

    Raises:
        DatasetError: If a folder is missing or empty, or an image has no label map.
    """
    images = images_in(folder / split)
    truth = {path.stem: path for path in images_in(folder / f"{split}annot")}
    if without := [path.name for path in images if path.stem not in truth]:
        raise DatasetError(
            f"{len(without)} images of {folder / split} have no label map, for example {without[0]};"
            f" expected one of the same name in {folder / (split + 'annot')}"
        )
    entries = [_entry(path, truth[path.stem]) for path in images]
    return IndexedFrames(entries, named_labels("camvid"), split=split, where=folder / split)


def _entry(image: Path, truth: Path) -> FrameEntry:
    match = re.fullmatch(r"(\w+)_f?(\d+)", image.stem)  # drive and frame number: 0006R0_f03540
    clip, time_s = (match[1], int(match[2]) / VIDEO_RATE) if match else ("", None)
    return FrameEntry(image=image, truth=IdFile(path=truth, table=_TABLE), name=image.stem, clip=clip, time_s=time_s)


LAYOUT = Layout(name="camvid", about="CamVid in the folders of SegNet's authors", splits=_splits, read=_read)
