"""How well the parts of a variant agree with its whole graph: slices run one after the other, and a graph for tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import Slice
from edge_vseg.imaging.tiles import Tile
from edge_vseg.runtimes import GraphSpec, Session
from edge_vseg.runtimes.checked_run import run_checked
from edge_vseg.types import Image, Tensor

Classify: TypeAlias = Callable[[Image], NDArray[np.intp]]
"""Gives the winning class of each cell ``(h, w)`` of an image's logits."""


def cut_out(frame: Image, tile: Tile) -> Image:
    """The pixels of a tile, in memory of their own."""
    top, left, bottom, right = tile.crop
    return np.ascontiguousarray(frame[top:bottom, left:right])


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


def run_slices(
    slices: Sequence[Slice], opener: Callable[[str, GraphSpec], Session], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Open slices one after the other, and feed each with the inputs and what earlier ones gave.

    Args:
        slices: The slices, in order.
        opener: Opens a graph, given its path in the bundle.
        inputs: The whole graph's inputs by name.

    Returns:
        All tensors by name.
    """
    values = dict(inputs)
    for part in slices:
        session = opener(part.entry, GraphSpec(inputs=part.inputs, outputs=part.outputs))
        try:
            values |= run_checked(session, {tensor.name: values[tensor.name] for tensor in part.inputs}, part.outputs)
        finally:
            session.close()
    return values
