"""Motion that the video's encoder found: vectors of blocks, made a field."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import Mask, MotionField, Size

CELL = 8
"""Pixels by pixels of a cell: FFmpeg exports no vectors of smaller blocks."""

MIN_COVERED_SHARE = 0.1
"""Share of the cells that have to have a vector; below, the frame was coded nearly without the one before."""


def block_field(vectors: NDArray[Any], frame_hw: Size, *, reach: float = 1.0) -> MotionField | None:
    """The field of a frame's block motion vectors.

    Only vectors to the past count. Those to the future are left out: mirrored, to fill cells that have no other,
    they made one clip no better and another worse. Cells without a vector (intra blocks) take the nearest one; then
    a 3x3 median takes out vectors that served the bit rate and not the motion. A blur lowers the endpoint error
    further, but carries labels worse.

    An encoder minimises bits: the field is least reliable where the picture is flat or repeats itself. With several
    reference frames a vector may reach further back than ``reach`` says, and nothing tells which one does.

    Args:
        vectors: ``(N,)`` structured, as ``to_ndarray`` of PyAV's ``MOTION_VECTORS``; of its fields ``source``, ``w``,
            ``h``, ``dst_x``, ``dst_y``, ``motion_x``, ``motion_y`` and ``motion_scale`` are used.
        frame_hw: Size of the frame in pixels.
        reach: How many times the step to the frame before the vectors span.

    Returns:
        ``(ceil(H / 8), ceil(W / 8), 2)`` float32 in cells of its own size; ``None`` if fewer than
        :data:`MIN_COVERED_SHARE` of the cells have a vector, as in I-frames.

    Raises:
        ValueError: If ``reach`` is not positive.

    Reference: Jain & Gonzalez, Fast Semantic Segmentation on Video Using Block Motion-Based Feature Interpolation,
    ECCV 2018 workshops, who warp by these vectors; filling and median are this project's.
    """
    if not reach > 0:
        raise ValueError(f"reach must be positive, got {reach}")
    height, width = -(-frame_hw[0] // CELL), -(-frame_hw[1] // CELL)
    moves = _painted(_past(vectors), (height, width))
    known = np.logical_not(np.isnan(moves))
    if np.count_nonzero(known) < MIN_COVERED_SHARE * known.size:
        return None
    filled = _filled(moves, known)
    field = np.empty((height, width, 2), np.float32)
    field[..., 0] = cv2.medianBlur(np.ascontiguousarray(filled.real), 3)
    field[..., 1] = cv2.medianBlur(np.ascontiguousarray(filled.imag), 3)
    field *= np.array((width / frame_hw[1] / reach, height / frame_hw[0] / reach), np.float32)
    return field


def _past(vectors: NDArray[Any]) -> NDArray[Any]:
    """The vectors to the past that stand for a motion."""
    past = vectors["source"] < 0
    if not past.all():
        # Where the parts of a divided block look different ways, FFmpeg exports zeros for the ways not taken.
        divided = (vectors["w"] < 16) | (vectors["h"] < 16)
        past &= ~(divided & (vectors["motion_x"] == 0) & (vectors["motion_y"] == 0))
    return vectors[past]


def _painted(vectors: NDArray[Any], cells_hw: Size) -> NDArray[np.complex64]:
    """``(h, w)`` complex64, ``dx + i dy`` in pixels; not a number where no block lies."""
    height, width = cells_hw
    # One margin takes whatever lies outside: codecs round the picture up to whole blocks of 16. One complex
    # number is set faster than a pair.
    grid = np.full((height + 2, width + 2), np.nan, np.complex64)
    flat = grid.reshape(-1)
    block_h, block_w = vectors["h"].astype(np.int32), vectors["w"].astype(np.int32)
    moves = np.empty(len(vectors), np.complex64)
    # src - dst would do but for the fraction, which FFmpeg leaves out there.
    moves.real = vectors["motion_x"] / vectors["motion_scale"]
    moves.imag = vectors["motion_y"] / vectors["motion_scale"]
    top = (vectors["dst_y"] - (block_h >> 1)) // CELL + 1
    left = (vectors["dst_x"] - (block_w >> 1)) // CELL + 1
    for row in range(0, int(block_h.max(initial=0)), CELL):
        for column in range(0, int(block_w.max(initial=0)), CELL):
            reaches = (block_h > row) & (block_w > column)
            y = np.clip(top[reaches] + row // CELL, 0, height + 1)
            x = np.clip(left[reaches] + column // CELL, 0, width + 1)
            flat[y * (width + 2) + x] = moves[reaches]
    return grid[1:-1, 1:-1]


def _filled(moves: NDArray[np.complex64], known: Mask) -> NDArray[np.complex64]:
    """Give unknown cells the vector of the nearest known one."""
    if known.all():
        return moves
    missing = np.logical_not(known).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(missing, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros(known.size + 1, np.complex64)
    table[nearest[known]] = moves[known]
    return np.take(table, np.asarray(nearest, np.int32))
