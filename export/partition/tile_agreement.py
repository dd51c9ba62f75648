"""Where tiles may lie in a frame, and how well a graph that sees only a tile agrees with one that sees all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_vseg.export.export_options import TILE_STEP_PX
from edge_vseg.types import Image, Size

CROPS_PER_FRAME = 2

Classify: TypeAlias = Callable[[Image], NDArray[np.intp]]
"""Gives the class that wins in each cell ``(h, w)`` of the scores of an image."""


def places(length: int, part: int) -> list[int]:
    """Where a tile may begin along a side: at multiples of :data:`TILE_STEP_PX`, and where it ends with the frame."""
    return sorted({*range(0, length - part + 1, TILE_STEP_PX), length - part})


def trusted(begin: int, part: int, length: int, halo: int) -> tuple[int, int]:
    """The cells along a side, from and to, that a tile gives with all that surrounds them.

    Args:
        begin: Where the tile begins.
        part: Its length.
        length: Length of the frame.
        halo: What does not count at either end, unless it is the frame's own.
    """
    end = begin + part
    return (begin + halo if begin else 0), (end - halo if end < length else length)


def crop(frame: Image, begin_yx: tuple[int, int], size_hw: Size) -> Image:
    """The tile that begins there."""
    (top, left), (height, width) = begin_yx, size_hw
    return np.ascontiguousarray(frame[top : top + height, left : left + width])


def calibration_crops(frames: Sequence[Image], size_hw: Size, rng: np.random.Generator) -> list[Image]:
    """:data:`CROPS_PER_FRAME` tiles of each frame, at random places."""
    crops = []
    for frame in frames:
        top, left = (places(*sides) for sides in zip(frame.shape[:2], size_hw, strict=True))
        for _ in range(CROPS_PER_FRAME):
            crops.append(crop(frame, (int(rng.choice(top)), int(rng.choice(left))), size_hw))
    return crops


def tile_agreement(
    whole: Classify, part: Classify, frames: Sequence[Image], size_hw: Size, stride: Size, halo: int
) -> float:
    """Share of the trusted cells in which both agree, over tiles at the corners, at the sides and in the middle.

    Args:
        whole: Sees all of a frame.
        part: Sees a tile.
        frames: ``(H, W, 3)`` uint8, all of one size.
        size_hw: Size of a tile.
        stride: Pixels from cell to cell, down and across.
        halo: Pixels at each side of a tile that do not count.
    """
    same = cells = 0
    tops, lefts = (_spread(*sides) for sides in zip(frames[0].shape[:2], size_hw, strict=True))
    for frame in frames:
        expected = whole(frame)
        for begin in ((top, left) for top in tops for left in lefts):
            # What a tile says, put where the frame's own cells are.
            given = np.full_like(expected, -1)
            row, column = begin[0] // stride[0], begin[1] // stride[1]
            answer = part(crop(frame, begin, size_hw))
            given[row : row + answer.shape[0], column : column + answer.shape[1]] = answer
            sides = [trusted(*side, halo) for side in zip(begin, size_hw, frame.shape[:2], strict=True)]
            cell = tuple(slice(first // step, last // step) for (first, last), step in zip(sides, stride, strict=True))
            same += int(np.count_nonzero(given[cell] == expected[cell]))
            cells += expected[cell].size
    return same / cells


def _spread(length: int, part: int) -> list[int]:
    """The first, the middle and the last place."""
    found = places(length, part)
    return sorted({found[0], found[len(found) // 2], found[-1]})
