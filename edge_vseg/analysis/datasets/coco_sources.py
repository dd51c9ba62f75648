"""Label maps from the annotations of one image of COCO: a picture of segments, or polygons and run lengths.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; Kirillov et al., Panoptic Segmentation, CVPR 2019.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edge_vseg.analysis.datasets.annotation_files import field, named_file, rows, size_in
from edge_vseg.analysis.datasets.coco_rle import rle_mask
from edge_vseg.analysis.datasets.drawn_masks import DrawnLater, outline, polygon_shape, require_size
from edge_vseg.analysis.datasets.export_classes import ExportClasses
from edge_vseg.analysis.datasets.label_sources import ColorFile, Shape, Shapes
from edge_vseg.errors import DatasetError
from edge_vseg.types import IGNORE_ID, Size

_SEGMENTS = 1 << 24


def panoptic_source(annotation: Mapping[str, Any], folder: Path, ids: Mapping[int, int], where: str) -> ColorFile:
    """The picture in which a pixel of segment ``R + 256 G + 65536 B`` has its colour; 0 is of no segment.

    Args:
        annotation: With ``file_name`` and ``segments_info``.
        folder: Where the pictures are.
        ids: Class id by category id; segments of other categories are strays.
        where: The annotation, for messages.

    Raises:
        DatasetError: If a value is missing or wrong.
    """
    colors = {(0, 0, 0): IGNORE_ID}
    for segment in rows(annotation, "segments_info", where, id=int, category_id=int):
        number = segment["id"]
        if not 0 < number < _SEGMENTS:
            raise DatasetError(f"{where}: segment {number}; expected an id of 24 bits, above 0")
        if segment["category_id"] in ids:
            colors[number & 255, number >> 8 & 255, number >> 16] = ids[segment["category_id"]]
    return ColorFile(path=named_file(folder, field(annotation, "file_name", str, where), where), colors=colors)


def drawn_source(
    annotations: Sequence[Mapping[str, Any]],
    image: object,
    ids: Mapping[int, int],
    classes: ExportClasses,
    where: str,
) -> DrawnLater:
    """The annotations of an image, the later over the earlier; decoded when they are asked for.

    Args:
        annotations: Each with ``category_id`` and ``segmentation``; an empty one is a box, and a stray.
        image: With ``height`` and ``width``.
        ids: Class id by category id; annotations of other categories have no class and are strays.
        classes: The classes.
        where: The image, for messages.
    """
    return DrawnLater(
        draw=partial(_draw, annotations, image, ids, classes, where),
        content=partial(_content, annotations),
    )


def _content(annotations: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps(annotations, sort_keys=True).encode()


def _draw(
    annotations: Sequence[Mapping[str, Any]],
    image: object,
    ids: Mapping[int, int],
    classes: ExportClasses,
    where: str,
    size_hw: Size,
) -> Shapes:
    require_size(size_in(image, "height", "width", where), size_hw, where)
    shapes: list[Shape] = []
    unknown: list[str] = []
    for each in annotations:
        category = field(each, "category_id", int, where)
        if category not in ids:
            unknown.append(f"category {category}")
        elif each.get("segmentation") == []:
            unknown.append(f"box of {classes.labels[ids[category]].name}")
        shapes += _segmentation(each.get("segmentation"), ids.get(category, IGNORE_ID), size_hw, where)
    return Shapes(
        shapes=tuple(shapes), size_hw=size_hw, name=where, unknown=tuple(unknown), background=classes.background
    )


def _segmentation(segmentation: object, class_id: int, size_hw: Size, where: str) -> list[Shape]:
    """Polygons, each a part of the object, or run lengths."""
    if isinstance(segmentation, dict):
        return [Shape(class_id=class_id, mask=rle_mask(segmentation, size_hw, where))]
    if not isinstance(segmentation, list):
        raise DatasetError(f"{where}: an annotation has no `segmentation`; boxes alone do not label pixels")
    outlines = [
        outline(list(zip(each[::2], each[1::2], strict=False)) if _even(each) else (), where) for each in segmentation
    ]
    return [polygon_shape([each], class_id, size_hw) for each in outlines]


def _even(polygon: object) -> bool:
    return isinstance(polygon, list) and len(polygon) % 2 == 0
