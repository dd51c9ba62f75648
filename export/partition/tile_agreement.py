"""How well a graph that sees only a tile agrees with one that sees the whole frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_vseg.imaging.tiles import Tile
from edge_vseg.types import Image

CROPS_PER_FRAME = 2
"""Tiles taken of each calibration frame: one alone may show sky and nothing else."""

Classify: TypeAlias = Callable[[Image], NDArray[np.intp]]
"""Gives the winning class of each cell ``(h, w)`` of an image's logits."""


def cut_out(frame: Image, tile: Tile) -> Image:
    """The pixels of a tile, in memory of their own."""
    top, left, bottom, right = tile.crop
    return np.ascontiguousarray(frame[top:bottom, left:right])


def calibration_crops(frames: Sequence[Image], tiles: Sequence[Tile], rng: np.random.Generator) -> list[Image]:
    """:data:`CROPS_PER_FRAME` random tiles of each frame."""
    picked = rng.integers(0, len(tiles), (len(frames), CROPS_PER_FRAME))
    return [cut_out(frame, tiles[number]) for frame, row in zip(frames, picked, strict=True) for number in row]


def tile_agreement(whole: Classify, part: Classify, frames: Sequence[Image], tiles: Sequence[Tile]) -> float:
    """Share of the cells in which both agree, each cell taken from the tile that the device takes it from.

    Args:
        whole: Sees the whole frame.
        part: Sees a tile.
        frames: ``(H, W, 3)`` uint8, all of one size.
        tiles: Those of a frame, as :func:`edge_vseg.imaging.tiles.divide` gives them.
    """
    same = cells = 0
    for frame in frames:
        expected = whole(frame)
        for tile in tiles:
            top, left, bottom, right = tile.core
            first, begin, last, end = tile.inner
            answer = part(cut_out(frame, tile))[first:last, begin:end]
            same += int(np.count_nonzero(answer == expected[top:bottom, left:right]))
            cells += answer.size
    return same / cells
