"""PASCAL VOC, and CVAT's Segmentation mask 1.1: ``JPEGImages``, ``SegmentationClass`` and lists of names.

The lists are ``ImageSets/Segmentation/SPLIT.txt``. ``labelmap.txt`` has a line ``name:r,g,b:parts:actions`` for each
class; without it there are the 21 classes of VOC. Label maps are in the colours of the classes, or grey with the
numbers of their lines, from 0. VOC's outlines, of colour (224, 224, 192) or 255 in grey, have no class.

Everingham et al., The Pascal Visual Object Classes Challenge, IJCV 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from edge_vseg.analysis.datasets.annotation_files import annotation_text, named_file
from edge_vseg.analysis.datasets.export_classes import export_classes
from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames, Layout, same_stem
from edge_vseg.analysis.datasets.label_sources import ColorFile, IdFile, LabelSource, Stray, consecutive, read_picture
from edge_vseg.bundle.labels import named_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError
from edge_vseg.input_files import whole_number
from edge_vseg.types import IGNORE_ID, LabelMap, Size

_OUTLINE = (224, 224, 192)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """A picture of colours, or a grey one of ids; which of them shows when it is read."""

    path: Path
    labels: tuple[Label, ...]

    def read(self, size_hw: Size) -> LabelMap:
        return self._source().read(size_hw)

    def stray(self, size_hw: Size) -> Stray:
        return self._source().stray(size_hw)

    def _source(self) -> LabelSource:
        if read_picture(self.path, cv2.IMREAD_UNCHANGED).ndim == 2:
            return IdFile(path=self.path, table=consecutive(len(self.labels)))
        return ColorFile(path=self.path, colors={_OUTLINE: IGNORE_ID} | {each.color: each.id for each in self.labels})


def _splits(folder: Path) -> tuple[str, ...]:
    """Lists of images."""
    if not (folder / "SegmentationClass").is_dir():
        return ()
    return tuple(sorted(path.stem for path in folder.glob("ImageSets/Segmentation/*.txt")))


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split.

    Raises:
        DatasetError: If a line of a list or of ``labelmap.txt`` is wrong, or an image is missing.
    """
    labels = _labels(folder / "labelmap.txt")
    where = folder / "ImageSets/Segmentation" / f"{split}.txt"
    names = [line.strip().strip('"') for line in annotation_text(where).splitlines()]
    entries = [_entry(folder, name, labels, str(where)) for name in names if name]
    if entries and all(entry.truth is None for entry in entries):
        raise DatasetError(f"no image in {where} has a label map; expected {folder / 'SegmentationClass'}/NAME.png")
    return IndexedFrames(entries, labels, split=split, where=where)


def _entry(folder: Path, name: str, labels: tuple[Label, ...], where: str) -> FrameEntry:
    images = folder / "JPEGImages"
    named_file(images, name, where)
    image = same_stem(images, name)
    if image is None:
        raise DatasetError(f"{where} names {name[:200]!r}, which is not in {images}; export with images")
    named_file(images, str(image.relative_to(images)), where)  # it is no link that leaves the folder
    mask = named_file(folder / "SegmentationClass", f"{name}.png", where)
    truth = _Picture(path=mask, labels=labels) if mask.is_file() else None
    return FrameEntry(image=image, truth=truth, name=Path(name).name, clip=name)


def _labels(path: Path) -> tuple[Label, ...]:
    if not path.exists():
        return named_labels("voc")
    found: list[tuple[str, object]] = []
    for number, line in enumerate(annotation_text(path).splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.strip().partition(":")
            color = [whole_number(each.strip()) for each in rest.partition(":")[0].split(",")]
            if len(color) != 3 or None in color:
                raise DatasetError(f"{path}, line {number}: expected name:r,g,b:parts:actions, got {line[:80]!r}")
            found.append((name, color))
    if len({str(color) for _, color in found}) < len(found):
        raise DatasetError(f"{path}: two classes have one colour or one name; give each its own")
    return export_classes(found, str(path)).labels


LAYOUT = Layout(name="voc", about="PASCAL VOC or CVAT's Segmentation mask 1.1", splits=_splits, read=_read)
