"""Motion fields: resize them, sample along them, and measure their photometric error.

A field has ``(h, w)`` cells over the image; its values are displacements in **cells**: the content of cell ``(x, y)``
was at ``(x + dx, y + dy)`` in the older frame. Resize a field to the size of what you warp.
"""

from __future__ import annotations

import functools
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import FrameError
from edge_vseg.types import MotionField, Size

MAX_CELLS_MOVED = 1e6
"""A displacement beyond this is no motion; squares and sums of what is below stay finite in 32 bits."""

RemapTables: TypeAlias = tuple[cv2.typing.MatLike, cv2.typing.MatLike]
"""Sampling positions as :func:`cv2.convertMaps` gives them, for as many remaps as one likes."""


def check_field(field: MotionField) -> None:
    """Check the motion field that came with a frame.

    A single NaN in it is enough to make a whole map unusable: resizing spreads it, and drift, once NaN, stays so.

    Args:
        field: Should be ``(h, w, 2)``, finite.

    Raises:
        FrameError: If it is not.
    """
    if field.size and not np.abs(field).max() <= MAX_CELLS_MOVED:  # NaN is not, either
        wrong = int(np.count_nonzero(~(np.abs(field).max(axis=-1) <= MAX_CELLS_MOVED)))
        raise FrameError(
            f"motion: expected finite displacements, got NaN, infinity or more than {MAX_CELLS_MOVED:.0e} cells in"
            f" {wrong} of {field[..., 0].size} cells; give cells without a vector that of the nearest"
            " one, or the frame motion=None"
        )


def resize_field(field: MotionField, size_hw: Size) -> MotionField:
    """Resample a motion field, and rescale its displacements to the new cells.

    Args:
        field: ``(h, w, 2)`` float32 in cells of its own size.
        size_hw: The new size.

    Returns:
        ``(H, W, 2)`` float32 in cells of the new size; the field itself if it has that size.
    """
    height, width = field.shape[:2]
    if (height, width) == size_hw:
        return field
    # Averaging pays off for large reductions only: OpenCV's INTER_AREA is slow for fractional factors.
    reduces = size_hw[0] * 2 <= height and size_hw[1] * 2 <= width
    resized = cv2.resize(field, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA if reduces else cv2.INTER_LINEAR)
    flat = np.asarray(resized, np.float32).reshape(size_hw[0], -1)
    flat *= _tiled((size_hw[1] / width, size_hw[0] / height), size_hw[1])
    return flat.reshape(*size_hw, 2)


def scaled_field(field: MotionField, factors_xy: tuple[float, float]) -> MotionField:
    """A motion field times a factor in each direction: ``(h, w, 2)`` float32, a new array."""
    height, width = field.shape[:2]
    # By whole rows: numpy is eight times slower along an axis of two.
    return np.multiply(field.reshape(height, -1), _tiled(factors_xy, width)).reshape(field.shape)


def sampling_map(field: MotionField) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The older position of each cell, as the two ``(h, w)`` float32 maps that :func:`cv2.remap` takes."""
    x, y = _cells(field.shape[0], field.shape[1])
    return x + field[..., 0], y + field[..., 1]


def remap_tables(field: MotionField) -> RemapTables:
    """The older position of each cell, as the tables with which :func:`cv2.remap` interpolates fastest."""
    positions = cv2.add(field, sampling_grid((field.shape[0], field.shape[1])))
    return cv2.convertMaps(positions, None, cv2.CV_16SC2)  # type: ignore[call-overload, no-any-return]


def photometric_error(
    present: NDArray[np.uint8], previous: NDArray[np.uint8], field: MotionField, size_hw: Size
) -> NDArray[np.float32]:
    """Difference between a frame and the previous one warped along the motion.

    Args:
        present: ``(H, W)`` uint8 grey.
        previous: The previous frame.
        field: ``(h, w, 2)`` from the present to the previous frame.
        size_hw: Size of the result, no larger than the images.

    Returns:
        ``(h, w)`` float32, mean absolute difference in grey levels; large where something was uncovered or the motion
        is wrong.
    """
    x, y = sampling_map(resize_field(field, (present.shape[0], present.shape[1])))
    warped = cv2.remap(previous, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = cv2.absdiff(present, np.asarray(warped, np.uint8)).astype(np.float32)
    return np.asarray(cv2.resize(difference, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA), np.float32)


@functools.lru_cache(maxsize=32)
def _tiled(factors_xy: tuple[float, float], count: int) -> NDArray[np.float32]:
    tiled = np.tile(np.array(factors_xy, np.float32), count)
    tiled.flags.writeable = False
    return tiled


@functools.lru_cache(maxsize=16)
def _cells(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x.flags.writeable = y.flags.writeable = False
    return x, y


@functools.lru_cache(maxsize=4)
def sampling_grid(size_hw: Size) -> NDArray[np.float32]:
    """Position of each pixel: ``(H, W, 2)`` float32 ``(x, y)``, read-only."""
    grid = np.dstack(_cells(*size_hw))
    grid.flags.writeable = False
    return grid
