"""Occlusion checks: where a motion field cannot be trusted."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion.field import photometric_error, sampling_map
from edge_vseg.types import Mask, MotionField

GREY_LIMIT = 16.0
"""Grey levels of 255 by which noise and light may change a pixel whose motion is right."""


def inconsistent(motion: MotionField, back: MotionField, *, slack: float = 0.5, share: float = 0.01) -> Mask:
    """Forward-backward check: the motion there and back should end where it started.

    Args:
        motion: ``(h, w, 2)`` float32 in cells, from the present to the older frame.
        back: ``(h, w, 2)`` float32 in cells, from the older frame to the present.
        slack: Tolerance in squared cells.
        share: Further tolerance, as a share of the squared lengths of both motions.

    Returns:
        ``(h, w)`` bool, true where the check fails.

    Reference: Sundaram et al., Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow, ECCV 2010,
    eq. 5; their 0.01 and 0.5.
    """
    gap, returned = _return(motion, back)
    allowed = share * (np.square(motion).sum(axis=-1) + np.square(returned).sum(axis=-1)) + slack
    failed: Mask = gap > allowed
    return failed


def return_gap(motion: MotionField, back: MotionField) -> NDArray[np.float32]:
    """How far from its start the motion there and back ends: the check of :func:`inconsistent` by degrees.

    Args:
        motion: ``(h, w, 2)`` float32 in cells, from the present to the older frame.
        back: ``(h, w, 2)`` float32 in cells, from the older frame to the present.

    Returns:
        ``(h, w)`` float32 in squared cells.
    """
    return _return(motion, back)[0]


def _return(motion: MotionField, back: MotionField) -> tuple[NDArray[np.float32], MotionField]:
    """Squared distance from the start, and the motion back."""
    x, y = sampling_map(motion)
    returned = np.asarray(cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
    return np.square(motion + returned).sum(axis=-1), returned


def unexplained(
    present: NDArray[np.uint8], previous: NDArray[np.uint8], motion: MotionField, *, limit: float = GREY_LIMIT
) -> Mask:
    """Photometric check: the previous frame, warped, should look like the present one.

    Half the cost of :func:`inconsistent`, which needs a second field, but blind where surfaces look alike.

    Args:
        present: ``(H, W)`` uint8 grey.
        previous: The previous frame.
        motion: ``(h, w, 2)`` float32, from the present to the previous frame.
        limit: Tolerated difference in grey levels.

    Returns:
        ``(h, w)`` bool, true where the check fails.
    """
    failed: Mask = photometric_error(present, previous, motion, (motion.shape[0], motion.shape[1])) > limit
    return failed


def agreement(
    present: NDArray[np.uint8], previous: NDArray[np.uint8], motion: MotionField, *, limit: float = GREY_LIMIT
) -> NDArray[np.float32]:
    """How much the previous frame, warped, looks like the present one: the check of :func:`unexplained` by degrees.

    Args:
        present: ``(H, W)`` uint8 grey.
        previous: The previous frame.
        motion: ``(h, w, 2)`` float32, from the present to the previous frame.
        limit: Tolerated difference in grey levels.

    Returns:
        ``(h, w)`` float32: about 1 below half of the limit, a half at it, and towards 0 beyond.
    """
    error = photometric_error(present, previous, motion, (motion.shape[0], motion.shape[1]))
    return np.asarray(np.exp2(-((error / limit) ** 4)), np.float32)
