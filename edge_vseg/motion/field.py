"""Motion fields: resize them, compose them, look along them.

A field of ``(h, w)`` cells over a picture says for each cell by how many **cells** its content lay elsewhere in the
older frame: ``(x, y)`` of the present was at ``(x + dx, y + dy)``. So a field is used at the size of what is warped.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import MotionField, Size


def resize_field(field: MotionField, size_hw: Size) -> MotionField:
    """The same motion over another number of cells.

    Args:
        field: ``(h, w, 2)`` float32 in cells of its own size.
        size_hw: The other size.

    Returns:
        ``(H, W, 2)`` float32 in cells of that size.
    """
    height, width = field.shape[:2]
    if (height, width) == size_hw:
        return field
    # Means are worth their time only where much is left out: OpenCV's are slow for factors that are not whole.
    much = size_hw[0] * 2 <= height and size_hw[1] * 2 <= width
    resized = cv2.resize(field, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA if much else cv2.INTER_LINEAR)
    return np.asarray(resized * np.array((size_hw[1] / width, size_hw[0] / height), np.float32), np.float32)


def sampling_map(field: MotionField) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each cell came from, as x and y for :func:`cv2.remap`."""
    x, y = _cells(field.shape[0], field.shape[1])
    return x + field[..., 0], y + field[..., 1]


def photometric_error(
    present: NDArray[np.uint8], before: NDArray[np.uint8], field: MotionField, size_hw: Size
) -> NDArray[np.float32]:
    """How badly the frame before, moved along the field, explains the present one.

    Args:
        present: ``(H, W)`` uint8 grey.
        before: The frame before.
        field: ``(h, w, 2)`` from the present to the frame before.
        size_hw: Size of the answer, no larger than the pictures.

    Returns:
        ``(h, w)`` float32, mean absolute difference in grey levels; large where something was uncovered or moves
        otherwise.
    """
    x, y = sampling_map(resize_field(field, (present.shape[0], present.shape[1])))
    moved = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = cv2.absdiff(present, np.asarray(moved, np.uint8)).astype(np.float32)
    return np.asarray(cv2.resize(difference, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA), np.float32)


@functools.lru_cache(maxsize=16)
def _cells(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x.flags.writeable = y.flags.writeable = False
    return x, y
