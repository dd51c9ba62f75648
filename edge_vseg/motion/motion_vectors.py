"""A motion field from the motion vectors that the video's encoder found."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import Mask, MotionField, Size

CELL_PX = 8
"""Side of a cell: FFmpeg exports no vectors of smaller blocks."""

MIN_COVERED_SHARE = 0.1
"""Share of cells that need a vector; below it, the frame was coded nearly without the previous one."""


def block_field(vectors: NDArray[Any], frame_hw: Size, *, reach: float = 1.0) -> MotionField | None:
    """Turn a frame's block motion vectors into a dense field.

    Uses vectors to past frames only: mirrored future vectors, tried for cells without a past one, helped no clip and
    hurt one. Cells without a vector (intra blocks) take the nearest one; a 3x3 median then removes vectors chosen for
    their bit rate rather than the motion. A blur lowers the endpoint error further, but carries labels worse.

    The field is least reliable where the image is flat or repetitive. With several reference frames a vector may reach
    further back than ``reach``, and the stream does not say which one does.

    Args:
        vectors: ``(N,)`` structured, as ``to_ndarray`` of PyAV's ``MOTION_VECTORS`` gives them; uses the fields
            ``source``, ``w``, ``h``, ``dst_x``, ``dst_y``, ``motion_x``, ``motion_y`` and ``motion_scale``.
        frame_hw: Size of the frame in pixels.
        reach: Frames that the vectors span, 1 for the previous frame.

    Returns:
        ``(ceil(H / 8), ceil(W / 8), 2)`` float32 in cells of its own size; ``None`` if fewer than
        :data:`MIN_COVERED_SHARE` of the cells have a vector, as in I-frames.

    Raises:
        ValueError: If ``reach`` is not positive.

    Reference: Jain & Gonzalez, Fast Semantic Segmentation on Video Using Block Motion-Based Feature Interpolation,
    ECCV 2018 workshops, who warp by these vectors; filling and median are this project's.
    """
    if not reach > 0:
        raise ValueError(f"reach must be positive, got {reach}; 1 is the previous frame")
    height, width = -(-frame_hw[0] // CELL_PX), -(-frame_hw[1] // CELL_PX)
    moves = _paint_blocks(_past_vectors(vectors), (height, width))
    known = np.logical_not(np.isnan(moves))
    if np.count_nonzero(known) < MIN_COVERED_SHARE * known.size:
        return None
    filled = _fill_nearest(moves, known)
    field = np.empty((height, width, 2), np.float32)
    field[..., 0] = cv2.medianBlur(np.ascontiguousarray(filled.real), 3)
    field[..., 1] = cv2.medianBlur(np.ascontiguousarray(filled.imag), 3)
    field *= np.array((width / frame_hw[1] / reach, height / frame_hw[0] / reach), np.float32)
    return field


def _past_vectors(vectors: NDArray[Any]) -> NDArray[Any]:
    """The vectors to past frames, without FFmpeg's placeholders."""
    past = vectors["source"] < 0
    if not past.all():
        # If the parts of a divided block refer to the past and the future, FFmpeg exports zeros for the unused one.
        divided = (vectors["w"] < 16) | (vectors["h"] < 16)
        past &= ~(divided & (vectors["motion_x"] == 0) & (vectors["motion_y"] == 0))
    return vectors[past]


def _paint_blocks(vectors: NDArray[Any], cells_hw: Size) -> NDArray[np.complex64]:
    """``(h, w)`` complex64, ``dx + i dy`` in pixels; NaN where there is no block."""
    height, width = cells_hw
    # The margin takes blocks outside the frame: codecs round its size up to whole blocks of 16. Setting one complex
    # number is faster than setting a pair.
    grid = np.full((height + 2, width + 2), np.nan, np.complex64)
    flat = grid.reshape(-1)
    block_h, block_w = vectors["h"].astype(np.int32), vectors["w"].astype(np.int32)
    moves = np.empty(len(vectors), np.complex64)
    # Not src - dst, which FFmpeg rounds to whole pixels.
    moves.real = vectors["motion_x"] / vectors["motion_scale"]
    moves.imag = vectors["motion_y"] / vectors["motion_scale"]
    top = (vectors["dst_y"] - (block_h >> 1)) // CELL_PX + 1
    left = (vectors["dst_x"] - (block_w >> 1)) // CELL_PX + 1
    for row in range(0, int(block_h.max(initial=0)), CELL_PX):
        for column in range(0, int(block_w.max(initial=0)), CELL_PX):
            reaches = (block_h > row) & (block_w > column)
            y = np.clip(top[reaches] + row // CELL_PX, 0, height + 1)
            x = np.clip(left[reaches] + column // CELL_PX, 0, width + 1)
            flat[y * (width + 2) + x] = moves[reaches]
    return grid[1:-1, 1:-1]


def _fill_nearest(moves: NDArray[np.complex64], known: Mask) -> NDArray[np.complex64]:
    """Fill unknown cells with the nearest known vector."""
    if known.all():
        return moves
    missing = np.logical_not(known).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(missing, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros(known.size + 1, np.complex64)
    table[nearest[known]] = moves[known]
    return np.take(table, np.asarray(nearest, np.int32))
