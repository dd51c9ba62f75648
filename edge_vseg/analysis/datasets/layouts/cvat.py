"""CVAT for images 1.1 and CVAT for video 1.1: ``annotations.xml`` and ``images/``.

Polygons and masks are drawn in the order of their ``z_order``, a pixel to the polygon that its centre is in. Other
shapes are strays. In a video's file, CVAT lists the shapes of a track for all its frames, those between keyframes, too;
where one leaves frames out without being ``outside``, these are frames without labels. Classes are the labels for
polygons and masks. Pixels under no shape have no class, unless a label is named ``background``; images without a shape
are frames without labels, for CVAT lists those that nobody has annotated, too. Images that are named as the frames of
a video, without a suffix, are one clip.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

from edge_vseg.analysis.datasets.annotation_files import named_file, read_xml
from edge_vseg.analysis.datasets.cvat_shapes import TAG, LabelledElement, by_frame, frame_content, frame_shapes, number
from edge_vseg.analysis.datasets.drawn_masks import DrawnLater
from edge_vseg.analysis.datasets.export_classes import ExportClasses, export_classes
from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames, Layout, images_in, same_stem
from edge_vseg.errors import DatasetError
from edge_vseg.input_files import whole_number
from edge_vseg.types import Size

WHOLE = "all"
_MOST_PIXELS = 10**9
_AREAS = ("", "any", "polygon", "mask")


def _splits(folder: Path) -> tuple[str, ...]:
    """The subsets of the images, or ``all``."""
    path = folder / "annotations.xml"
    if not path.is_file():
        return ()
    root = read_xml(path)
    if root.tag != "annotations" or root.find("meta") is None:
        return ()
    return tuple(sorted({_subset(each) for each in root.findall("image")})) or (WHOLE,)


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a subset.

    Raises:
        DatasetError: If the file is damaged, or names an image that is not there or outside of the folder.
    """
    path = folder / "annotations.xml"
    root = read_xml(path)
    labels = [each for each in root.iterfind("meta//label") if each.find("parent") is None]
    areas = [each for each in labels if (each.findtext("type") or "") in _AREAS]
    classes = export_classes([(each.findtext("name") or "", each.findtext("color")) for each in areas], str(path))
    images = [each for each in root.findall("image") if _subset(each) == split]
    entries = [_entry(folder, image, index, classes, str(path)) for index, image in enumerate(images)]
    if not images:
        entries = _video(folder, root, classes, str(path))
    return IndexedFrames(entries, classes.labels, split=split, where=folder)


def _subset(image: Element) -> str:
    return image.get("subset") or WHOLE


def _entry(folder: Path, image: Element, index: int, classes: ExportClasses, where: str) -> FrameEntry:
    name = image.get("name", "")
    bases = (named_file(folder / "images", _subset(image), where), folder / "images", folder)
    path = next((found for base in bases if (found := _file(base, name, where)) is not None), None)
    if path is None:
        raise DatasetError(
            f"{where} names the image {name[:200]!r}, which is not in {folder / 'images'}; export with images"
        )
    size_hw = number(image, "height", where), number(image, "width", where)
    place = f"{where}, image {name[:200]!r}"
    shapes = [(each.get("label", ""), each) for each in image]
    # A tag, such as the weather, does not say that anybody has drawn what there is.
    drawn = any(each.tag != TAG for each in image)
    truth = _truth(shapes, classes, place, size_hw) if drawn else None
    video = re.fullmatch(r"frame_(\d{1,9})", name)
    clip = _clip(folder, int(video[1]), index) if video else path.stem
    return FrameEntry(image=path, truth=truth, name=path.stem, clip=clip)


def _truth(shapes: Sequence[LabelledElement], classes: ExportClasses, where: str, size_hw: Size | None) -> DrawnLater:
    return DrawnLater(
        draw=partial(frame_shapes, shapes, classes, where, size_hw), content=partial(frame_content, shapes)
    )


def _file(base: Path, name: str, where: str) -> Path | None:
    """The file of that name, or with any suffix: CVAT names the frames of a video without one."""
    path = named_file(base, name, where)
    if path.is_file():
        return path
    found = same_stem(path.parent, path.name)
    return None if found is None else named_file(base, str(found.relative_to(base)), where)


def _clip(folder: Path, frame: int, index: int) -> str:
    """The clip of a frame of a video: they follow each other where no number is left out."""
    return f"{folder.name}_{frame - index}"


def _video(folder: Path, root: Element, classes: ExportClasses, where: str) -> list[FrameEntry]:
    tracks = root.findall("track")
    if len({each.get("task_id") for each in tracks}) > 1:
        raise DatasetError(f"{where} has tracks of several tasks, whose frames have the same numbers; export each task")
    size = root.find("meta//original_size")
    size_hw = None if size is None else (_pixels(size, "height", where), _pixels(size, "width", where))
    paths = {_frame(path, where): path for path in images_in(folder / "images", recursive=True)}
    frames = sorted(paths)
    entries = []
    for index, (frame, shapes) in enumerate(zip(frames, by_frame(tracks, frames, where), strict=True)):
        path, place = paths[frame], f"{where}, frame {frame}"
        truth = None if shapes is None else _truth(shapes, classes, place, size_hw)
        entries.append(FrameEntry(image=path, truth=truth, name=path.stem, clip=_clip(folder, frame, index)))
    return entries


def _frame(path: Path, where: str) -> int:
    """Number of a frame of a video, by the name that CVAT gives it."""
    match = re.fullmatch(r"frame_(\d{1,9})", path.stem)
    if match is None:
        raise DatasetError(
            f"{where} numbers its frames, but {path.name} is no frame_000000.png of a video; export images in the"
            " format CVAT for images"
        )
    return int(match[1])


def _pixels(size: Element, name: str, where: str) -> int:
    text = size.findtext(name) or ""
    pixels = whole_number(text, most=_MOST_PIXELS)
    if pixels is None:
        raise DatasetError(f"{where}: the size of the video is {name} {text[:40]!r}; export the dataset again")
    return pixels


LAYOUT = Layout(name="cvat", about="CVAT for images 1.1 or CVAT for video 1.1", splits=_splits, read=_read)
