"""Cityscapes: ``leftImg8bit`` and ``gtFine``, 19 classes; with ``leftImg8bit_sequence``, clips of 30 frames.

Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016. The 20th frame of each clip is
labelled. The labels of the test split are not given away.
"""

from __future__ import annotations

import re
from pathlib import Path

from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames, Layout, folders_in, images_in
from edge_vseg.analysis.datasets.label_sources import IdFile, IdTable
from edge_vseg.bundle.labels import named_labels
from edge_vseg.errors import DatasetError

CLIP_RATE = 17.0
"""Frames per second of the clips."""
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids in ``labelIds`` files of the 19 classes, in their order."""
IGNORED_IDS = tuple(number for number in range(35) if number not in LABEL_IDS)
TABLE = IdTable({number: index for index, number in enumerate(LABEL_IDS)}, (*IGNORED_IDS, 255))
_KIND, _CLIPS = "leftImg8bit", "leftImg8bit_sequence"
_NO_CLASS = "0,0,0 111,74,0 81,0,81 250,170,160 230,150,140 180,165,180 150,100,100 150,120,90 0,0,90 0,0,110"
COLORS = {(r, g, b): 255 for r, g, b in (map(int, each.split(",")) for each in _NO_CLASS.split())} | {
    label.color: label.id for label in named_labels("cityscapes")
}
"""The colours of the dataset's authors. Groups of poles, and licence plates, have those of poles and cars."""


def _splits(folder: Path) -> tuple[str, ...]:
    """Splits with images, as clips or one by one."""
    return tuple(sorted({*folders_in(folder / _CLIPS), *folders_in(folder / _KIND)}))


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split, as clips if they are there."""
    clips = folder / _CLIPS / split
    root = clips if clips.is_dir() else folder / _KIND / split
    entries = [_entry(folder, split, path) for path in images_in(root, suffix=_KIND, recursive=True)]
    return IndexedFrames(entries, named_labels("cityscapes"), split=split, where=root)


def _entry(folder: Path, split: str, image: Path) -> FrameEntry:
    name = image.stem.removesuffix(f"_{_KIND}")
    match = re.fullmatch(r"([\w-]+)_(\d+)_(\d+)", name)  # bad-honnef_000000_000019
    if match is None:
        raise DatasetError(f"{image} has no name of Cityscapes; expected CITY_SEQUENCE_FRAME_{_KIND}")
    path = folder / "gtFine" / split / image.parent.name / f"{name}_gtFine_labelIds.png"
    clip, time_s = f"{match[1]}_{match[2]}", int(match[3]) / CLIP_RATE
    truth = IdFile(path=path, table=TABLE) if path.is_file() else None
    return FrameEntry(image=image, truth=truth, name=name, clip=clip, time_s=time_s)


LAYOUT = Layout(name="cityscapes", about="Cityscapes", splits=_splits, read=_read)
