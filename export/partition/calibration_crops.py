"""Tiles of calibration frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_vseg.analysis.part_agreement import cut_out
from edge_vseg.imaging.tiles import Tile
from edge_vseg.types import Image

CROPS_PER_FRAME = 2
"""Tiles taken of each calibration frame: one alone may show sky and nothing else."""


def calibration_crops(frames: Sequence[Image], tiles: Sequence[Tile], rng: np.random.Generator) -> list[Image]:
    """:data:`CROPS_PER_FRAME` random tiles of each frame."""
    picked = rng.integers(0, len(tiles), (len(frames), CROPS_PER_FRAME))
    return [cut_out(frame, tiles[number]) for frame, row in zip(frames, picked, strict=True) for number in row]
