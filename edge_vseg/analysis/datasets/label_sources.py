"""Where the label map of a frame comes from: files of ids, of colours, and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets.png_palette import palette_indices
from edge_vseg.errors import DatasetError
from edge_vseg.types import IGNORE_ID, LabelMap, Size
from edge_vseg.video.images import picture_in

Stray: TypeAlias = Mapping[str, int]
"""Values in a file that its layout does not know, with the pixels that have them."""

_SHORT = 1 << 16


class LabelSource(Protocol):
    """The labels of one frame, read when they are asked for."""

    def read(self, size_hw: Size) -> LabelMap:
        """The label map ``(H, W)`` uint8 of an image of that size; 255 where the class is unknown.

        Raises:
            DatasetError: If a file is missing or unreadable, or has another size.
        """
        ...

    def stray(self, size_hw: Size) -> Stray:
        """What the layout does not know; it is read as 255."""
        ...


class IdTable:
    """Turns the ids of a dataset into class ids.

    Args:
        classes: Class id by the dataset's id.
        ignored: The dataset's ids for what has no class.
    """

    def __init__(self, classes: Mapping[int, int], ignored: Sequence[int] = (IGNORE_ID,)) -> None:
        self._known = {number: IGNORE_ID for number in ignored} | dict(classes)
        self._short = np.full(_SHORT, IGNORE_ID, np.uint8)
        for number, class_id in self._known.items():
            if 0 <= number < _SHORT:
                self._short[number] = class_id

    def __call__(self, ids: NDArray[np.integer]) -> LabelMap:
        """Class ids, uint8; 255 for what is unknown."""
        if ids.dtype == np.uint8 or ids.max(initial=0) < _SHORT:
            return np.asarray(self._short[ids])
        found, places = np.unique(ids, return_inverse=True)
        return np.array([self._known.get(int(each), IGNORE_ID) for each in found], np.uint8)[places].reshape(ids.shape)

    def stray(self, ids: NDArray[np.integer]) -> Stray:
        """Ids that are neither of a class nor ignored."""
        found, counts = np.unique(ids, return_counts=True)
        return {
            str(each): int(count) for each, count in zip(found, counts, strict=True) if int(each) not in self._known
        }


def consecutive(count: int, *, first: int = 0, ignored: Sequence[int] = (IGNORE_ID,)) -> IdTable:
    """The table of a dataset whose ids ``first``, ``first + 1``, … are the classes in their order."""
    return IdTable({first + index: index for index in range(count)}, ignored)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdFile:
    """A picture of ids: grey of up to 16 bits, a PNG with a palette, or one channel of a coloured picture.

    Attributes:
        path: The file.
        table: Turns its ids into class ids.
        channel: ``red``, ``green`` or ``blue`` of a coloured picture; empty for one that is grey or has a palette.
    """

    path: Path
    table: IdTable
    channel: str = ""

    def read(self, size_hw: Size) -> LabelMap:
        """See :meth:`LabelSource.read`."""
        return self.table(self._ids(size_hw))

    def stray(self, size_hw: Size) -> Stray:
        """See :meth:`LabelSource.stray`."""
        return self.table.stray(self._ids(size_hw))

    def _ids(self, size_hw: Size) -> NDArray[np.integer]:
        picture = read_picture(self.path, cv2.IMREAD_UNCHANGED, size_hw)
        if not self.channel:
            numbers = picture if picture.ndim == 2 else palette_indices(self.path)
            if numbers is None:
                raise DatasetError(
                    f"{self.path} is in colours; expected a grey picture of class ids, or a PNG whose palette has them"
                )
            return numbers
        if picture.ndim != 3:
            raise DatasetError(f"{self.path} is grey; expected class ids in the {self.channel} channel")
        return picture[..., ("blue", "green", "red").index(self.channel)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColorFile:
    """A picture in which each class has a colour; one with a palette, too.

    Attributes:
        path: The file.
        colors: Class id by ``(r, g, b)``; 255 for what has no class.
    """

    path: Path
    colors: Mapping[tuple[int, int, int], int]

    def read(self, size_hw: Size) -> LabelMap:
        """See :meth:`LabelSource.read`."""
        return self._table()(self._codes(size_hw))

    def stray(self, size_hw: Size) -> Stray:
        """See :meth:`LabelSource.stray`; colours as ``#rrggbb``."""
        found = self._table().stray(self._codes(size_hw))
        return {f"#{int(code):06x}": count for code, count in found.items()}

    def _table(self) -> IdTable:
        return IdTable({(r << 16) + (g << 8) + b: each for (r, g, b), each in self.colors.items()}, ())

    def _codes(self, size_hw: Size) -> NDArray[np.integer]:
        return color_codes(read_picture(self.path, cv2.IMREAD_COLOR, size_hw))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """A part of an image with one class.

    Attributes:
        class_id: The class; 255 for none.
        polygons: Outlines, each ``(N, 2)`` of x and y in pixels; where they overlap an even number of times is a hole.
        mask: ``(h, w)`` bool, instead of outlines.
        at: Column and row of the mask's upper left corner.
    """

    class_id: int
    polygons: tuple[NDArray[np.float64], ...] = ()
    mask: NDArray[np.bool_] | None = None
    at: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shapes:
    """Shapes, the later over the earlier.

    Attributes:
        shapes: The shapes.
        size_hw: Size of the image that they were drawn on.
        name: Where they are from, for messages.
        unknown: Names of classes that the layout does not know.
        background: Class of the pixels under no shape, if there is any shape: without one nobody has drawn there.
    """

    shapes: tuple[Shape, ...]
    size_hw: Size
    name: str
    unknown: tuple[str, ...] = ()
    background: int = IGNORE_ID

    def read(self, size_hw: Size) -> LabelMap:
        """See :meth:`LabelSource.read`."""
        if size_hw != self.size_hw:
            raise DatasetError(f"{self.name} is for {self.size_hw}, its image is {size_hw}; sizes must agree")
        labels = np.full(size_hw, self.background if self.shapes else IGNORE_ID, np.uint8)
        for shape in self.shapes:
            if shape.mask is not None:
                _paste(labels, shape.mask, shape.at, shape.class_id)
            elif shape.polygons:
                cv2.fillPoly(labels, [np.rint(each).astype(np.int32) for each in shape.polygons], shape.class_id)
        return labels

    def stray(self, size_hw: Size) -> Stray:
        """See :meth:`LabelSource.stray`; by name, with the number of shapes."""
        return {name: self.unknown.count(name) for name in dict.fromkeys(self.unknown)}


def _paste(labels: LabelMap, mask: NDArray[np.bool_], at: tuple[int, int], class_id: int) -> None:
    """Set the pixels under a mask; what lies outside the map is left out."""
    (left, top), (height, width) = at, labels.shape
    part = mask[max(0, -top) : height - top, max(0, -left) : width - left]
    labels[max(0, top) :, max(0, left) :][: part.shape[0], : part.shape[1]][part] = class_id


def color_codes(bgr: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Colours as numbers ``0xrrggbb``."""
    blue, green, red = (bgr[..., channel].astype(np.uint32) for channel in range(3))
    return (red << 16) + (green << 8) + blue


def read_picture(path: Path, mode: int, size_hw: Size | None = None) -> NDArray[np.integer]:
    """Read a picture. With ``IMREAD_UNCHANGED``, a grey PNG of 1, 2 or 4 bits gives the numbers in it.

    Args:
        path: The file.
        mode: OpenCV's ``IMREAD_...``.
        size_hw: The size that it must have.

    Raises:
        DatasetError: If it is missing, unreadable, or of another size.
    """
    picture = picture_in(path, mode)
    if picture is None:
        why = "is not a readable image" if path.is_file() else "is missing"
        raise DatasetError(f"{path} {why}; copy the dataset again")
    if size_hw is not None and picture.shape[:2] != size_hw:
        raise DatasetError(f"{path} is {picture.shape[:2]}, its image {size_hw}; sizes must agree")
    if mode == cv2.IMREAD_UNCHANGED and picture.ndim == 2:
        return np.asarray(picture // _stretch(path))
    return np.asarray(picture)


def _stretch(path: Path) -> int:
    """What OpenCV multiplies the numbers of a grey PNG of less than 8 bits by, so that the largest is 255."""
    with path.open("rb") as stream:
        head = stream.read(26)
    if not head.startswith(b"\x89PNG\r\n\x1a\n") or len(head) < 26:
        return 1
    bits, kind = head[24:]
    return 255 // ((1 << bits) - 1) if kind == 0 and bits in (1, 2, 4) else 1
