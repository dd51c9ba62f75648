"""labelme: ``NAME.json`` beside each image, in the dataset's folder or in folders ``train``, ``val`` and so on.

Polygons, rectangles, circles and masks are drawn, the later over the earlier, as labelme draws them: corners belong
to the pixel that they are in, and the pixels under an outline to the shape. Points and lines are strays. Classes are
the lines of ``labels.txt``, if it is there, otherwise all labels in the order of their names; ``__ignore__`` has no
class, and ``_background_`` or ``background`` is the class of the pixels under no shape, which otherwise have none. A
JSON without a shape is that of a frame without labels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets.annotation_files import (
    annotation_text,
    field,
    lists_nothing,
    named_file,
    read_json,
    rows,
    size_in,
)
from edge_vseg.analysis.datasets.drawn_masks import DrawnLater, outline, png_mask, require_size, text_bytes
from edge_vseg.analysis.datasets.export_classes import ExportClasses, export_classes
from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames, Layout, folders_in, images_in, same_stem
from edge_vseg.analysis.datasets.label_sources import Shape, Shapes
from edge_vseg.errors import DatasetError
from edge_vseg.types import IGNORE_ID, Size

WHOLE = "all"
_IGNORED = "__ignore__"
_LABELS = "labels.txt"
_MORE = 0.75
"""Pixels by which Pillow's ellipses are wider than from the centre of their first pixel to that of their last."""


def _splits(folder: Path) -> tuple[str, ...]:
    """``all``, or the folders with a JSON beside an image of its name."""
    if _is_annotated(folder):
        return (WHOLE,)
    return tuple(name for name in folders_in(folder) if _is_annotated(folder / name))


def _read(folder: Path, split: str) -> IndexedFrames:
    """Read a split; images without a JSON, or without a shape in it, are frames without labels.

    Raises:
        DatasetError: If a JSON is damaged, or its image is missing or outside of the folder.
    """
    whole = _is_annotated(folder)
    parts = [folder] if whole else [folder / name for name in _splits(folder)]
    root = folder if whole else folder / split
    classes = _classes(folder, [path for part in parts for path in _notes(part)])
    annotated = {_image(path): path for path in _notes(root)}
    entries = []
    for image in sorted({*annotated, *images_in(root)}):
        path = annotated.get(image)
        drawn = None if path is None or lists_nothing(path, "shapes") else path
        truth = None if drawn is None else DrawnLater(draw=partial(_draw, drawn, classes), content=drawn.read_bytes)
        entries.append(FrameEntry(image=image, truth=truth, name=image.stem, clip=image.stem))
    return IndexedFrames(entries, classes.labels, split=split, where=root)


def _notes(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _is_annotated(folder: Path) -> bool:
    return folder.is_dir() and any(same_stem(folder, path.stem) for path in _notes(folder))


def _image(path: Path) -> Path:
    """The image of a JSON: that of its name, otherwise the one that it names."""
    if found := same_stem(path.parent, path.stem):
        return found
    image = named_file(path.parent, field(read_json(path), "imagePath", str, str(path)), str(path))
    if not image.is_file():
        raise DatasetError(f"{path} is for {image}, which is missing; copy the image there")
    return image


def _classes(folder: Path, notes: list[Path]) -> ExportClasses:
    if (folder / _LABELS).is_file():
        where, names = folder / _LABELS, [line.strip() for line in annotation_text(folder / _LABELS).splitlines()]
    else:
        where, names = folder, sorted({each["label"] for path in notes for each in _shapes(read_json(path), path)})
    return export_classes([(name, None) for name in names if name not in ("", _IGNORED)], str(where))


def _shapes(tree: object, path: Path) -> list[dict[str, Any]]:
    return rows(tree, "shapes", str(path), label=str, points=list)


def _draw(path: Path, classes: ExportClasses, size_hw: Size) -> Shapes:
    tree = read_json(path)
    if isinstance(tree, dict) and tree.get("imageHeight") is not None:  # its first versions did not write the size
        require_size(size_in(tree, "imageHeight", "imageWidth", str(path)), size_hw, str(path))
    shapes: list[Shape] = []
    unknown: list[str] = []
    for each in _shapes(tree, path):
        label = each["label"]
        if label not in classes.ids and label != _IGNORED:
            unknown.append(label)
        kind = each.get("shape_type") or "polygon"
        shape = _shape(each, kind, classes.ids.get(label, IGNORE_ID), size_hw, str(path))
        if shape is None:
            unknown.append(f"{kind} of {label}")
        else:
            shapes.append(shape)
    return Shapes(
        shapes=tuple(shapes), size_hw=size_hw, name=str(path), unknown=tuple(unknown), background=classes.background
    )


def _shape(shape: dict[str, Any], kind: object, class_id: int, size_hw: Size, where: str) -> Shape | None:
    points = shape["points"]
    match kind:
        case "polygon" | "oriented_rectangle":
            return Shape(class_id=class_id, polygons=(np.floor(outline(points, where)),))
        case "rectangle":
            (x0, y0), (x1, y1) = np.floor(outline(points, where, least=2)[:2])
            return Shape(class_id=class_id, polygons=(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),))
        case "circle":
            return Shape(class_id=class_id, mask=_circle(outline(points, where, least=2), size_hw))
        case "mask":
            left, top = np.rint(outline(points, where, least=1)[0]).astype(int)
            data = text_bytes(field(shape, "mask", str, where), where)
            return Shape(class_id=class_id, mask=png_mask(data, size_hw, where), at=(int(left), int(top)))
    return None


def _circle(points: NDArray[np.float64], size_hw: Size) -> NDArray[np.bool_]:
    """A circle as Pillow draws it: in the whole pixels from its left to its right, and from top to bottom."""
    center, rim = points[:2]
    radius = np.hypot(*(rim - center))
    low, high = np.floor(center - radius), np.floor(center + radius)
    y, x = np.ogrid[: size_hw[0], : size_hw[1]]
    (x0, y0), (width, height) = (low + high) / 2, high - low + _MORE
    return np.asarray(((x - x0) * 2 / width) ** 2 + ((y - y0) * 2 / height) ** 2 <= 1)


LAYOUT = Layout(name="labelme", about="images with labelme's JSON beside them", splits=_splits, read=_read)
