"""KITTI-STEP: ``images`` and ``panoptic_maps``, each with ``train/SEQUENCE/FRAME.png`` and ``val``; 19 classes.

Weber et al., STEP: Segmenting and Tracking Every Pixel, NeurIPS Datasets and Benchmarks 2021. The red channel of a
panoptic map is the class, in the order of Cityscapes; green and blue number the instances. Every frame of ``train`` and
``val`` is labelled, none of ``test``.
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
    same_stem,
)
from edge_vseg.analysis.datasets.label_sources import IdFile, consecutive
from edge_vseg.bundle.labels import named_labels
from edge_vseg.errors import DatasetError
from edge_vseg.input_files import whole_number

VIDEO_RATE = 10.0
"""Frames per second of KITTI's drives."""
_TABLE = consecutive(19)


def _splits(folder: Path) -> tuple[str, ...]:
    """Splits with images."""
    return folders_in(folder / "images") if (folder / "panoptic_maps").is_dir() else ()


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split; each sequence is a clip."""
    images, maps = folder / "images" / split, folder / "panoptic_maps" / split
    entries = [
        _entry(path, maps / sequence) for sequence in folders_in(images) for path in images_in(images / sequence)
    ]
    if split != "test":
        require_labels(entries, images=images, expected=f"{maps}/SEQUENCE/FRAME.png")
    return IndexedFrames(entries, named_labels("cityscapes"), split=split, where=images)


def _entry(image: Path, maps: Path) -> FrameEntry:
    number = whole_number(image.stem)
    if number is None:
        raise DatasetError(f"{image} has no name of KITTI-STEP; expected the number of the frame, as in 000012.png")
    path = same_stem(maps, image.stem)
    truth = None if path is None else IdFile(path=path, table=_TABLE, channel="red")
    time_s = number / VIDEO_RATE
    return FrameEntry(image=image, truth=truth, name=image.stem, clip=image.parent.name, time_s=time_s)


LAYOUT = Layout(name="kitti-step", about="KITTI-STEP", splits=_splits, read=_read)
