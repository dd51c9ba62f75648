"""DAVIS 2016 and 2017: ``JPEGImages/480p/CLIP`` and ``Annotations/480p/CLIP``; background and object.

Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016; Pont-Tuset et
al., The 2017 DAVIS Challenge on Video Object Segmentation. The lists in ``ImageSets`` are the splits, those of the last
year by their names, others as ``2016-val``. Where there are several objects, they are one class here. A folder of
folders ``CLIP/images`` and ``CLIP/masks`` is read, too, as the split ``all``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_vseg.analysis.datasets.indexed import (
    FrameEntry,
    IndexedFrames,
    Layout,
    folders_in,
    images_in,
    listed,
    require_labels,
    same_stem,
)
from edge_vseg.analysis.datasets.label_sources import Stray, color_codes, read_picture
from edge_vseg.bundle.labels import colored_labels
from edge_vseg.types import LabelMap, Size

WHOLE = "all"
VIDEO_RATE = 24.0
"""Frames per second."""
CLASSES = colored_labels("background:0,0,0 object:128,0,0")
# Number 255 in the palettes of DAVIS and of PASCAL VOC.
_VOID = (0xFFFFFF, 0xE0E0C0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFile:
    """A mask: grey, not black where the object is; or with a palette, a colour for each object and one for void.

    Attributes:
        path: The file.
    """

    path: Path

    def read(self, size_hw: Size) -> LabelMap:
        """See :meth:`~edge_vseg.analysis.datasets.label_sources.LabelSource.read`."""
        picture = read_picture(self.path, cv2.IMREAD_UNCHANGED, size_hw)
        if picture.ndim == 2:
            return (picture > 0).astype(np.uint8)
        codes = color_codes(picture)
        labels, void = (codes > 0).astype(np.uint8), np.isin(codes, _VOID)
        if (labels.astype(bool) & ~void).any():  # otherwise it is black and white, and white is the object
            labels[void] = 255
        return labels

    def stray(self, size_hw: Size) -> Stray:
        """Nothing: each colour is an object."""
        return {}


def _splits(folder: Path) -> tuple[str, ...]:
    """The lists, or ``all``."""
    if folders_in(folder / "JPEGImages"):  # without folders in it, it is of PASCAL VOC
        return tuple(_lists(folder)) or (WHOLE,)
    return (WHOLE,) if _plain(folder) else ()


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split."""
    if (folder / "JPEGImages").is_dir():
        images, maps = _sized(folder / "JPEGImages"), _sized(_annotations(folder))
        found = _lists(folder).get(split)
        clips = folders_in(images) if found is None else _clips_of(found)
        pairs = [(clip, images / clip, maps / clip) for clip in clips]
    else:
        images = folder
        pairs = [(clip, folder / clip / "images", folder / clip / "masks") for clip in _plain(folder)]
    entries = [entry for clip, frames, masks in pairs for entry in _clip(clip, frames, masks)]
    require_labels(entries, images=images, expected="a mask of the same name for each")
    return IndexedFrames(entries, CLASSES, split=split, where=images)


def _lists(folder: Path) -> dict[str, Path]:
    """Lists of clips by the name of their split."""
    names = folders_in(folder / "ImageSets")
    years = [name for name in names if name.isdecimal()] or list(names[-1:])
    found = {}
    for year in reversed(years):
        for path in sorted((folder / "ImageSets" / year).glob("*.txt")):
            found[path.stem if year == years[-1] else f"{year}-{path.stem}"] = path
    return found


def _clips_of(path: Path) -> list[str]:
    """Clips in a list: their names (2017), or an image and its mask in each line (2016)."""
    words = [Path(line.split()[0]) for line in listed(path)]
    return list(dict.fromkeys(word.parent.name if word.suffix else word.name for word in words))


def _annotations(folder: Path) -> Path:
    supervised = folder / "Annotations"
    return supervised if supervised.is_dir() else folder / "Annotations_unsupervised"


def _sized(folder: Path) -> Path:
    """The folder of a resolution: 480p, or what there is."""
    sizes = folders_in(folder)
    return folder / ("480p" if "480p" in sizes or not sizes else sizes[0])


def _plain(folder: Path) -> tuple[str, ...]:
    return tuple(
        name for name in folders_in(folder) if all((folder / name / part).is_dir() for part in ("images", "masks"))
    )


def _clip(clip: str, images: Path, masks: Path) -> list[FrameEntry]:
    entries = []
    for number, image in enumerate(images_in(images)):
        path = same_stem(masks, image.stem)
        truth = None if path is None else MaskFile(path=path)
        entries.append(FrameEntry(image=image, truth=truth, name=image.stem, clip=clip, time_s=number / VIDEO_RATE))
    return entries


LAYOUT = Layout(name="davis", about="DAVIS", splits=_splits, read=_read)
