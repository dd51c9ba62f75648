"""Cityscapes-VPS: ``val/img`` and ``val/labelmap``, also ``train`` and ``test``; 19 classes.

Kim et al., Video Panoptic Segmentation, CVPR 2020. Each clip has 30 frames, of which the 5th, 10th, ... 30th are in
``img`` and labelled. Where ``img_all`` is there, its 30 frames are read, five of six without labels. ``labelmap`` has
the 19 classes as ids; without it ``cls`` is read, which has them in Cityscapes' colours.
"""

from __future__ import annotations

import re
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
from edge_vseg.analysis.datasets.layouts.cityscapes import CLIP_RATE, COLORS
from edge_vseg.bundle.labels import named_labels
from edge_vseg.errors import DatasetError

_TABLE = consecutive(19)
# Number of the clip and of the image, which img_all leaves out; city and sequence; frame; kind of the file.
_NAME = re.compile(r"(?:\d+_\d+_)?([A-Za-z-]+_\d+)_(\d+)_(newImg8bit|leftImg8bit|final_mask|gtFine_color)")


def _splits(folder: Path) -> tuple[str, ...]:
    """Folders with ``img_all`` or ``img``."""
    return tuple(name for name in folders_in(folder) if _images(folder / name).is_dir())


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split, as whole clips if they are there."""
    root = folder / split
    images, truths = _images(root), _truths(root)
    entries = [_entry(path, truths) for path in images_in(images)]
    if split != "test":
        require_labels(entries, images=images, expected=f"one in {root / 'labelmap'} or {root / 'cls'}")
    return IndexedFrames(entries, named_labels("cityscapes"), split=split, where=images)


def _images(root: Path) -> Path:
    clips = root / "img_all"
    return clips if clips.is_dir() else root / "img"


def _truths(root: Path) -> dict[tuple[str, int], LabelSource]:
    """Label maps by city and sequence, and frame."""
    if (root / "labelmap").is_dir():
        return {_place(path): IdFile(path=path, table=_TABLE) for path in images_in(root / "labelmap")}
    if (root / "cls").is_dir():
        return {_place(path): ColorFile(path=path, colors=COLORS) for path in images_in(root / "cls")}
    return {}


def _entry(image: Path, truths: dict[tuple[str, int], LabelSource]) -> FrameEntry:
    clip, frame = _place(image)
    truth = truths.get((clip, frame))
    return FrameEntry(image=image, truth=truth, name=image.stem, clip=clip, time_s=frame / CLIP_RATE)


def _place(path: Path) -> tuple[str, int]:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise DatasetError(f"{path} has no name of Cityscapes-VPS; expected one as CITY_SEQUENCE_FRAME_newImg8bit.png")
    return match[1], int(match[2])


LAYOUT = Layout(name="cityscapes-vps", about="Cityscapes-VPS", splits=_splits, read=_read)
