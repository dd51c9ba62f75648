"""Shapes from CVAT's XML."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TypeAlias
from xml.etree.ElementTree import Element, tostring

from edge_vseg.analysis.datasets.drawn_masks import outline, polygon_shape, require_size, run_mask
from edge_vseg.analysis.datasets.export_classes import ExportClasses
from edge_vseg.analysis.datasets.label_sources import Shape, Shapes
from edge_vseg.errors import DatasetError
from edge_vseg.input_files import whole_number
from edge_vseg.types import IGNORE_ID, Size

LabelledElement: TypeAlias = tuple[str, Element]
"""A shape, and the name of its label."""
TAG = "tag"
"""What says something of a whole image."""

_DRAWN = ("polygon", "mask")
_MOST = 10**9


def frame_shapes(
    elements: Sequence[LabelledElement], classes: ExportClasses, where: str, named_hw: Size | None, size_hw: Size
) -> Shapes:
    """The shapes of one frame, those of a higher ``z_order`` over the others.

    Args:
        elements: In the order of the file.
        classes: The labels.
        where: The frame, for messages.
        named_hw: Its size by the file; ``None`` if it does not say.
        size_hw: The size of its image.

    Raises:
        DatasetError: If an attribute is missing or wrong.
    """
    require_size(named_hw or size_hw, size_hw, where)
    shapes: list[Shape] = []
    unknown: list[str] = []
    for label, each in sorted(elements, key=lambda pair: number(pair[1], "z_order", where, missing=0)):
        if label not in classes.ids or each.tag not in _DRAWN:
            unknown.append(f"{each.tag} of {label}")
        if each.tag in _DRAWN:
            shapes.append(
                _shape(each, classes.ids.get(label, IGNORE_ID), size_hw, f"{where}, {each.tag} of {label[:200]!r}")
            )
    return Shapes(
        shapes=tuple(shapes), size_hw=size_hw, name=where, unknown=tuple(unknown), background=classes.background
    )


def frame_content(elements: Sequence[LabelledElement]) -> bytes:
    """The shapes of one frame as the file has them."""
    return b"".join(label.encode() + b"\n" + tostring(each) for label, each in elements)


def by_frame(tracks: Sequence[Element], frames: Sequence[int], where: str) -> list[list[LabelledElement] | None]:
    """The shapes of a video's frames.

    CVAT lists a shape for each frame from the first of a track to one that is ``outside``, also between keyframes.
    Where a file leaves frames out, it does not say where the object was: such a frame has no labels. A track of one
    shape is over after it: CVAT writes shapes without a track so, and forgets ``outside`` for the last frame but one.

    Args:
        tracks: Each with shapes that have ``frame`` and perhaps ``outside``.
        frames: The numbers of the frames, increasing.
        where: The file, for messages.

    Returns:
        For each frame its shapes; ``None`` where a track says nothing about it, or there are none.
    """
    shapes: list[list[LabelledElement]] = [[] for _ in frames]
    places = {frame: index for index, frame in enumerate(frames)}
    left_out: set[int] = set()
    for track in tracks:
        listed = sorted(((number(each, "frame", where), each) for each in track), key=lambda pair: pair[0])
        ends = [frame for frame, _ in listed[1:]] + [frames[-1] + 1] if frames else []
        for (frame, each), end in zip(listed, ends, strict=False):
            if each.get("outside") == "1":
                continue
            if frame in places:
                shapes[places[frame]].append((track.get("label", ""), each))
            if len(listed) > 1 and each.tag in _DRAWN:
                left_out.update(range(bisect_right(frames, frame), bisect_left(frames, end)))
    return [None if index in left_out or not found else found for index, found in enumerate(shapes)]


def number(element: Element, name: str, where: str, missing: int | None = None) -> int:
    """A whole number from an attribute.

    Raises:
        DatasetError: If it is none, or missing and ``missing`` is ``None``.
    """
    text = element.get(name)
    if text is None and missing is not None:
        return missing
    value = whole_number((text or "").removeprefix("-"), most=_MOST)
    if value is None:
        raise DatasetError(f"{where}: {element.tag} has {name}={(text or '')[:40]!r}; expected a whole number")
    return -value if (text or "").startswith("-") else value


def _shape(element: Element, class_id: int, size_hw: Size, where: str) -> Shape:
    if element.tag == "polygon":
        points = [pair.split(",") for pair in element.get("points", "").split(";")]
        return polygon_shape([outline(points, where)], class_id, size_hw)
    mask_hw = number(element, "height", where), number(element, "width", where)
    if not (0 < mask_hw[0] <= size_hw[0] and 0 < mask_hw[1] <= size_hw[1]):
        raise DatasetError(f"{where} is a mask of {mask_hw} in an image of {size_hw}; export the dataset again")
    runs = [each.strip() for each in element.get("rle", "").split(",")]
    counts = [whole_number(each, most=_MOST) for each in runs]
    at = number(element, "left", where), number(element, "top", where)
    return Shape(class_id=class_id, mask=run_mask(counts, mask_hw, "rows", where), at=at)
