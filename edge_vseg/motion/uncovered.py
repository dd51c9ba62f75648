"""Newly visible places: which share of each cell was hidden, or outside, in the previous frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion.field import sampling_grid
from edge_vseg.types import MotionField

BIAS, DIFFERENCE, JUMP, RIVALS = -4.12, 1.45, 0.70, 0.57
"""Logistic regression of :func:`uncovered` on rendered streets; ``benchmarks/occlusion.py`` fits and prints it."""
LEAST_DIFFERENCE, LEAST_JUMP, LEAST_RIVALS = 0.5, 0.01, 0.3
"""Added to the first two before their logarithm, and the least of the third."""


def uncovered(motion: MotionField, difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Expected share of each cell's pixels that was not visible in the previous frame.

    Three signs, each averaged over 3x3 cells, for the flow's own edges are no sharper: the previous frame, warped,
    differs from the present one; the motion changes from cell to cell, as at the edge of what moves; and several cells
    claim to come from the same place, of which one at most can be right.

    Args:
        motion: ``(h, w, 2)`` float32 in cells, from the present to the previous frame.
        difference: ``(h, w)`` float32, mean absolute difference to the warped previous frame in grey levels, as
            :func:`~edge_vseg.motion.field.photometric_error` gives it.

    Returns:
        ``(h, w)`` float32, 0 to 1.

    Reference: the uniqueness of the mapping as in Wang et al., Occlusion Aware Unsupervised Learning of Optical Flow,
    CVPR 2018, section 3.2, whose range map needs the motion the other way, which would be a second flow. A scale field
    learned with the network as in Zhu et al., Deep Feature Flow, CVPR 2017, eq. 4, is what this regression stands for.
    """
    signs = np.empty((3, *difference.shape), np.float32)
    np.add(around(difference), np.float32(LEAST_DIFFERENCE), out=signs[0])
    np.add(around(motion_jump(motion)), np.float32(LEAST_JUMP), out=signs[1])
    np.maximum(rivals(motion), np.float32(LEAST_RIVALS), out=signs[2])
    np.log(signs, out=signs)
    odds = np.full(difference.shape, BIAS, np.float32)
    for weight, sign in zip((DIFFERENCE, JUMP, RIVALS), signs, strict=True):
        odds += np.float32(weight) * sign
    return np.asarray(1 / (1 + np.exp(-odds)), np.float32)


def motion_jump(motion: MotionField) -> NDArray[np.float32]:
    """Length of the motion's gradient, ``(h, w)`` float32: by how much it changes from one cell to the next."""
    across, down = (cv2.Sobel(motion, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (1, 0))
    squares = np.square(across) + np.square(down)
    return np.asarray(np.sqrt(squares[..., 0] + squares[..., 1]), np.float32)


def rivals(motion: MotionField) -> NDArray[np.float32]:
    """How many cells claim to come from where each cell comes from, itself included.

    Args:
        motion: ``(h, w, 2)`` float32 in cells, from the present to the older frame.

    Returns:
        ``(h, w)`` float32, averaged over the 3x3 cells there: 1 where the motion is one to one, 2 where something new
        took the motion of what moved away, below 1 where the picture shrinks. Claims on what lies outside count for
        nothing.
    """
    height, width = motion.shape[:2]
    # With a frame of one cell around the picture, for the claims on what lies outside; fmax drops what is no number.
    positions = np.fmax(motion + (sampling_grid((height, width)) + np.float32(1.5)), 0)
    cells = np.fmin(positions, np.float32(max(height, width) + 1)).astype(np.intp)
    place = np.minimum(cells[..., 1], height + 1) * (width + 2) + np.minimum(cells[..., 0], width + 1)
    claims = np.bincount(place.ravel(), minlength=(height + 2) * (width + 2)).astype(np.float32)
    claims = claims.reshape(height + 2, width + 2)
    # What lies outside has the claims of the picture's edge there.
    counted = cv2.copyMakeBorder(around(claims[1:-1, 1:-1]), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return np.asarray(counted.ravel()[place], np.float32)


def around(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over the 3x3 cells around each: ``(h, w)`` float32."""
    return np.asarray(cv2.blur(plane, (3, 3), borderType=cv2.BORDER_REPLICATE), np.float32)
