"""NYU Depth v2 as pictures: ``nyu_train_rgb`` and ``train_labels_13``, also ``test``; 13 classes.

Silberman et al., Indoor Segmentation and Support Inference from RGBD Images, ECCV 2012; classes of Couprie et al.,
Indoor Semantic Segmentation Using Depth Information, ICLR 2013, with the ids and colours of Handa et al., SceneNet. The
pictures are those of Handa's ``nyuv2-meta-data``; image and label map have the same number. Images are far apart, so
each is a clip of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames, Layout, images_in, require_labels
from edge_vseg.analysis.datasets.label_sources import IdFile, consecutive
from edge_vseg.bundle.labels import colored_labels
from edge_vseg.errors import DatasetError

CLASSES = colored_labels(
    "bed:0,0,255 books:233,89,48 ceiling:0,218,0 chair:149,0,240 floor:222,241,24 furniture:255,206,206 "
    "objects:0,224,229 picture:106,136,204 sofa:117,29,41 table:240,35,235 tv:0,167,156 wall:249,139,0 "
    "window:225,229,194"
)
# Ids begin at 1; 0 was not labelled.
_TABLE = consecutive(13, first=1, ignored=(0, 255))
# The archives unpack to these names; some programs that read them want others.
_IMAGES = ("nyu_{}_rgb", "{}_rgb", "{}")
_MAPS = ("{}_labels_13", "nyuv2_{}_class13", "{}_annot", "{}_labels")


def _splits(folder: Path) -> tuple[str, ...]:
    """``train`` and ``test``, those with images and label maps."""
    return tuple(split for split in ("train", "test") if _find(folder, _IMAGES, split) and _find(folder, _MAPS, split))


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split."""
    images, maps = _find(folder, _IMAGES, split), _find(folder, _MAPS, split)
    if images is None or maps is None:
        raise DatasetError(f"{folder} has no nyu_{split}_rgb or no {split}_labels_13; unpack both archives into it")
    truths = {_number(path): IdFile(path=path, table=_TABLE) for path in images_in(maps)}
    entries = [
        FrameEntry(image=path, truth=truths.get(_number(path)), name=path.stem, clip=path.stem)
        for path in images_in(images)
    ]
    require_labels(entries, images=images, expected=f"one in {maps}, as new_nyu_class13_0017.png of nyu_rgb_0017.png")
    return IndexedFrames(entries, CLASSES, split=split, where=images)


def _find(folder: Path, names: tuple[str, ...], split: str) -> Path | None:
    return next((path for name in names if (path := folder / name.format(split)).is_dir()), None)


def _number(path: Path) -> int:
    match = re.fullmatch(r".*?(\d+)", path.stem)
    if match is None:
        raise DatasetError(f"{path} has no name of NYU Depth; expected one that ends with a number")
    return int(match[1])


LAYOUT = Layout(name="nyu-depth", about="NYU Depth v2 as pictures", splits=_splits, read=_read, default="test")
