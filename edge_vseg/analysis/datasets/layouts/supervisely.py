"""Supervisely: ``meta.json``, and in each dataset's folder ``img/NAME.jpg`` and ``ann/NAME.jpg.json``.

Polygons with holes and bitmaps are drawn, the later over the earlier, as Supervisely draws them: corners belong to
the pixel that they are in, the pixels under an outline to the polygon, those under the outline of a hole to the hole.
Other geometries are strays. Pixels under no shape have no class, unless a class is named ``background``. An image whose
list of objects is empty is a frame without labels: Supervisely writes a file for each image, annotated or not.
"""

from __future__ import annotations

import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets.annotation_files import field, lists_nothing, read_json, rows, size_in
from edge_vseg.analysis.datasets.drawn_masks import DrawnLater, outline, png_mask, require_size, text_bytes
from edge_vseg.analysis.datasets.export_classes import ExportClasses, export_classes
from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames, Layout, folders_in, images_in
from edge_vseg.analysis.datasets.label_sources import Shape, Shapes
from edge_vseg.errors import DatasetError
from edge_vseg.types import IGNORE_ID, Size


def _splits(folder: Path) -> tuple[str, ...]:
    """Datasets of a project."""
    if not (folder / "meta.json").is_file():
        return ()
    return tuple(name for name in folders_in(folder) if all((folder / name / part).is_dir() for part in ("img", "ann")))


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a dataset of the project.

    Raises:
        DatasetError: If ``meta.json`` is damaged, or no image has annotations.
    """
    meta = folder / "meta.json"
    found = rows(read_json(meta), "classes", str(meta), title=str)
    classes = export_classes([(each["title"], each.get("color")) for each in found], str(meta))
    images, notes = folder / split / "img", folder / split / "ann"
    entries, found_any = [], False
    for image in images_in(images):
        path = notes / f"{image.name}.json"
        found_any = found_any or path.is_file()
        drawn = path.is_file() and not lists_nothing(path, "objects")
        truth = DrawnLater(draw=partial(_draw, path, classes), content=path.read_bytes) if drawn else None
        entries.append(FrameEntry(image=image, truth=truth, name=image.stem, clip=image.stem))
    if entries and not found_any:
        raise DatasetError(f"no image of {images} has annotations; expected {notes}/NAME.jpg.json")
    return IndexedFrames(entries, classes.labels, split=split, where=images)


def _draw(path: Path, classes: ExportClasses, size_hw: Size) -> Shapes:
    tree = read_json(path)
    require_size(size_in(field(tree, "size", dict, str(path)), "height", "width", str(path)), size_hw, str(path))
    shapes: list[Shape] = []
    unknown: list[str] = []
    for each in rows(tree, "objects", str(path), classTitle=str, geometryType=str):
        title, geometry = each["classTitle"], each["geometryType"]
        class_id = classes.ids.get(title, IGNORE_ID)
        if title not in classes.ids:
            unknown.append(title)
        if geometry == "polygon":
            shapes.append(Shape(class_id=class_id, mask=_polygon(each.get("points"), size_hw, str(path))))
        elif geometry == "bitmap":
            shapes.append(_bitmap(each.get("bitmap"), class_id, size_hw, str(path)))
        else:
            unknown.append(f"{geometry} of {title}")
    return Shapes(
        shapes=tuple(shapes), size_hw=size_hw, name=str(path), unknown=tuple(unknown), background=classes.background
    )


def _polygon(points: object, size_hw: Size, where: str) -> NDArray[np.bool_]:
    mask = np.zeros(size_hw, np.uint8)
    holes = field(points, "interior", list, where)
    for value, outlines in ((1, [field(points, "exterior", list, where)]), (0, holes)):
        for each in outlines:
            cv2.fillPoly(mask, [np.floor(outline(each, where)).astype(np.int32)], value)
    return np.asarray(mask != 0)


def _bitmap(bitmap: object, class_id: int, size_hw: Size, where: str) -> Shape:
    origin = field(bitmap, "origin", list, where)
    left, top = np.rint(outline([origin], where, least=1)[0]).astype(int)
    packed = text_bytes(field(bitmap, "data", str, where), where)
    # A PNG of the image's size is not larger than this; a small text may be packed from far more.
    most = 8 * size_hw[0] * size_hw[1] + (1 << 16)
    try:
        data = zlib.decompressobj().decompress(packed, most)
    except zlib.error as exc:
        raise DatasetError(f"{where}: a bitmap is damaged: {exc}; export the dataset again") from exc
    return Shape(class_id=class_id, mask=png_mask(data, size_hw, where), at=(int(left), int(top)))


LAYOUT = Layout(name="supervisely", about="a project of Supervisely", splits=_splits, read=_read)
