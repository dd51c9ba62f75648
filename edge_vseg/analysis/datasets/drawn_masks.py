"""Masks as labelling tools store them: outlines, run lengths, and pictures in a text."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets.label_sources import Shape, Shapes, Stray
from edge_vseg.errors import DatasetError
from edge_vseg.types import LabelMap, Size

_FAR = 1e6
_EDGES_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLater:
    """Shapes that are decoded when they are asked for.

    Attributes:
        draw: Gives the shapes for an image of a height and width.
        content: Gives what they are drawn from, as it is in the file: another one may be another label map.
    """

    draw: Callable[[Size], Shapes]
    content: Callable[[], bytes]

    def read(self, size_hw: Size) -> LabelMap:
        """See :meth:`LabelSource.read`."""
        return self.draw(size_hw).read(size_hw)

    def stray(self, size_hw: Size) -> Stray:
        """See :meth:`LabelSource.stray`."""
        return self.draw(size_hw).stray(size_hw)


def require_size(named_hw: Size, size_hw: Size, where: str) -> None:
    """Refuse annotations of another size than their image, before anything is drawn: theirs could be of any size.

    Raises:
        DatasetError: If the sizes differ.
    """
    if named_hw != size_hw:
        raise DatasetError(f"{where} is for {named_hw}, its image is {size_hw}; sizes must agree")


def outline(points: object, where: str, *, least: int = 3) -> NDArray[np.float64]:
    """Points ``(N, 2)`` of x and y.

    Raises:
        DatasetError: If there are fewer than ``least``, or they are no numbers, or far outside of any image.
    """
    try:
        found = np.asarray(points, np.float64)
    except (ValueError, TypeError, OverflowError):
        found = np.zeros(0)
    # Not a number compares as false.
    if found.ndim != 2 or found.shape[1] != 2 or len(found) < least or not (np.abs(found) < _FAR).all():
        raise DatasetError(f"{where}: expected at least {least} points of x and y in pixels; correct that shape")
    return found


def polygon_shape(outlines: Sequence[NDArray[np.float64]], class_id: int, size_hw: Size) -> Shape:
    """The pixels whose centre is inside of outlines; where these overlap an even number of times is a hole.

    Pixel ``(x, y)`` covers from ``x`` to ``x + 1`` and its centre is at ``x + 0.5``, as in CVAT and COCO. So shapes
    with a common edge have no pixel in common, as they would where outlines are painted, too.

    Args:
        outlines: Each ``(N, 2)`` of x and y in pixels.
        class_id: The class.
        size_hw: Size of the image; nothing outside of it is drawn.
    """
    points = np.concatenate(list(outlines))
    most = np.array(size_hw[::-1])
    low = np.clip(np.floor(points.min(axis=0)), 0, most).astype(int)
    width, height = np.clip(np.ceil(points.max(axis=0)), low, most).astype(int) - low
    crossings = np.zeros(height * (width + 1), np.int64)
    for each in outlines:
        begins, ends = each - low, np.roll(each, -1, axis=0) - low
        for at in range(0, len(each), _EDGES_AT_ONCE):
            part = slice(at, at + _EDGES_AT_ONCE)
            places = _crossings(begins[part], ends[part], height, width)
            crossings += np.bincount(places, minlength=crossings.size)
    inside = np.cumsum(crossings.reshape(height, width + 1), axis=1)[:, :width] % 2 == 1
    return Shape(class_id=class_id, mask=inside, at=(int(low[0]), int(low[1])))


def _crossings(begins: NDArray[np.float64], ends: NDArray[np.float64], height: int, width: int) -> NDArray[np.integer]:
    """First pixels, as indices of ``(height, width + 1)``, right of where edges cross the centre lines of rows."""
    (x0, y0), (x1, y1) = begins.T, ends.T
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(int)
    count = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(int) - first
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    x = x0[edge] + (row + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    return np.asarray(row * (width + 1) + np.clip(np.ceil(x - 0.5), 0, width).astype(int))


def run_mask(runs: Sequence[object], size_hw: Size, order: Literal["rows", "columns"], where: str) -> NDArray[np.bool_]:
    """A mask ``(H, W)`` from the lengths of its runs, of which the first is outside of it.

    Raises:
        DatasetError: If they are not whole numbers whose sum is the number of pixels.
    """
    pixels = size_hw[0] * size_hw[1]
    counts = [each for each in runs if type(each) is int and 0 <= each <= pixels]
    if len(counts) != len(runs) or sum(counts) != pixels:
        raise DatasetError(f"{where}: the run lengths do not make a mask of {size_hw}; export the dataset again")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(size_hw) if order == "rows" else flat.reshape(size_hw[::-1]).T


def text_bytes(text: str, where: str) -> bytes:
    """What a text in base64 stands for.

    Raises:
        DatasetError: If it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise DatasetError(f"{where}: the mask is not base64: {exc}; export the dataset again") from exc


def png_mask(data: bytes, most_hw: Size, where: str) -> NDArray[np.bool_]:
    """A mask ``(h, w)`` from a PNG: where it is opaque, or without alpha, where it is not black.

    Args:
        data: The file.
        most_hw: Size of the image; the mask may not be larger.
        where: Where it is from, for messages.

    Raises:
        DatasetError: If it is no PNG, damaged, or larger than the image.
    """
    if len(data) < 33 or not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise DatasetError(f"{where}: the mask is not a PNG; export the dataset again")
    width, height = struct.unpack(">II", data[16:24])  # Read before it is unpacked: a small file may be a huge picture.
    if height > most_hw[0] or width > most_hw[1]:
        raise DatasetError(f"{where}: a mask of {(height, width)} in an image of {most_hw}; export the dataset again")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise DatasetError(f"{where}: the PNG of the mask is damaged; export the dataset again")
    if picture.ndim == 2:
        return np.asarray(picture != 0)
    return np.asarray(picture[..., 3] != 0 if picture.shape[2] == 4 else (picture != 0).any(axis=2))
