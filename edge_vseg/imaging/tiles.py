"""Divide a frame into tiles for a tile graph, which takes crops of one fixed size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import OptionError
from edge_vseg.types import Size, Tensor

ALIGNMENT_PX = 32
"""Crops start at multiples of this where possible, so that the network's strides fall as on the whole frame."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A crop, and its core: the part of its output that is used.

    Attributes:
        crop: ``(top, left, bottom, right)`` in pixels of the frame.
        core: The core, in cells of the frame's output. Cores do not overlap.
        inner: The core, in cells of the crop's output.
    """

    crop: Box
    core: Box
    inner: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    crop: tuple[int, int]
    core: tuple[int, int]


def divide(frame_hw: Size, tile_hw: Size, cells_hw: Size, halo: int) -> tuple[Tile, ...]:
    """Divide a frame into tiles, row by row; their cores cover it.

    Args:
        frame_hw: Size of the frame in pixels.
        tile_hw: Size of a crop in pixels.
        cells_hw: Size of the frame's output.
        halo: Pixels at each side of a crop that serve as context only; at the frame's border there is no halo.

    Returns:
        At least one tile.

    Raises:
        OptionError: If the crops do not fit the frame and its output stride.
    """
    rows, columns = (
        _spans(length, crop, cells, halo) for length, crop, cells in zip(frame_hw, tile_hw, cells_hw, strict=True)
    )
    strides = frame_hw[0] // cells_hw[0], frame_hw[1] // cells_hw[1]
    return tuple(_tile(row, column, strides) for row in rows for column in columns)


def tile_means(values: NDArray[np.float32], tiles: tuple[Tile, ...], cells_hw: Size) -> tuple[float, ...]:
    """Mean over the core of each tile.

    Args:
        values: ``(h, w)`` float32 over the frame, at any size.
        tiles: The tiles.
        cells_hw: Size of the frame's output.
    """
    return tuple(float(cv2.mean(part)[0]) for part in cores(values, tiles, cells_hw))


def cores(values: NDArray[np.float32], tiles: tuple[Tile, ...], cells_hw: Size) -> list[NDArray[np.float32]]:
    """Views of an array over the frame, of any size: the part under the core of each tile."""
    down, across = values.shape[0] / cells_hw[0], values.shape[1] / cells_hw[1]
    parts = []
    for tile in tiles:
        top, left, bottom, right = tile.core
        first, begin = int(top * down), int(left * across)
        last, end = max(first + 1, round(bottom * down)), max(begin + 1, round(right * across))
        parts.append(values[first:last, begin:end])
    return parts


def crop_input(tensor: Tensor, tile: Tile, layout: str) -> Tensor:
    """The part of the network's input that a tile is inferred from, contiguous."""
    top, left, bottom, right = tile.crop
    if layout == "NCHW":
        return np.ascontiguousarray(tensor[:, :, top:bottom, left:right])
    return np.ascontiguousarray(tensor[:, top:bottom, left:right])


def _spans(length: int, crop: int, cells: int, halo: int) -> list[_Span]:
    if crop > length or length % cells or crop % (length // cells) or crop < 2 * halo + ALIGNMENT_PX:
        raise OptionError(
            f"tiles of {crop} pixels with a halo of {halo} do not fit a frame side of {length} pixels with {cells}"
            f" output cells; choose a multiple of the stride, at most {length}, and {ALIGNMENT_PX} more than two halos"
        )
    stride = length // cells
    core = crop - 2 * halo
    starts = [0]
    while starts[-1] + crop < length:
        starts.append(min((starts[-1] + core) // ALIGNMENT_PX * ALIGNMENT_PX, length - crop))
    spans = []
    begin = 0
    for number, start in enumerate(starts):
        last = number == len(starts) - 1
        # Neighbouring cores meet in the middle of their overlap.
        end = cells if last else (starts[number + 1] + halo + start + crop - halo) // 2 // stride
        spans.append(_Span(crop=(start, start + crop), core=(begin, end)))
        begin = end
    return spans


def _tile(row: _Span, column: _Span, strides: Size) -> Tile:
    top, left = row.crop[0] // strides[0], column.crop[0] // strides[1]
    return Tile(
        crop=(row.crop[0], column.crop[0], row.crop[1], column.crop[1]),
        core=(row.core[0], column.core[0], row.core[1], column.core[1]),
        inner=(row.core[0] - top, column.core[0] - left, row.core[1] - top, column.core[1] - left),
    )
