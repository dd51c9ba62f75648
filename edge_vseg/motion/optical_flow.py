"""Estimators of the motion field, behind one port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import OptionError
from edge_vseg.types import MotionField

Grey = NDArray[np.uint8]
CODEC = "codec"
"""Name of the motion that comes with a frame from its video's codec, and needs no estimator."""


class MotionEstimator(Protocol):
    """Estimates motion between two grey pictures of one size.

    Attributes:
        shrink: By how much frames are made smaller before it sees them.
    """

    shrink: int

    def __call__(self, present: Grey, before: Grey) -> MotionField:
        """The motion from the present picture to the one before.

        Args:
            present: ``(H, W)`` uint8.
            before: ``(H, W)`` uint8.

        Returns:
            ``(h, w, 2)`` float32 in cells of its own size, which may be any.
        """
        ...


class Still:
    """No motion at all: for cameras that stand, and to hold what is there."""

    shrink = 8

    def __call__(self, present: Grey, before: Grey) -> MotionField:
        """Zero everywhere."""
        return np.zeros((*present.shape, 2), np.float32)


class DisFlow:
    """Dense inverse search (Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016).

    On quarter-size frames, down to their own size and without the variational refinement; OpenCV's presets work on
    larger frames and stop earlier, or refine at length. ``benchmarks/motion.py`` measures cost and error of all
    estimators.

    Args:
        finest: Patches are matched down to ``1 / 2 ** finest`` of the size given.
        stride: Pixels from patch to patch.
    """

    shrink = 4

    def __init__(self, finest: int = 0, stride: int = 4) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._flow.setFinestScale(finest)
        self._flow.setGradientDescentIterations(12)
        self._flow.setPatchSize(8)
        self._flow.setPatchStride(stride)
        self._flow.setUseMeanNormalization(False)  # better without it, and faster
        self._flow.setVariationalRefinementIterations(0)

    def __call__(self, present: Grey, before: Grey) -> MotionField:
        """See :class:`MotionEstimator`."""
        if min(present.shape) < 32:  # too small for a pyramid
            return np.zeros((*present.shape, 2), np.float32)
        field = self._flow.calc(np.ascontiguousarray(present), np.ascontiguousarray(before), None)  # type: ignore[call-overload]
        return np.asarray(field, np.float32)


ESTIMATORS: dict[str, Callable[[], MotionEstimator]] = {
    "still": Still,
    "dis-coarse": lambda: DisFlow(finest=1),
    "dis": lambda: DisFlow(stride=6),
    "dis-fine": lambda: DisFlow(stride=4),
}


def check_motion(name: str) -> None:
    """Refuse a name that is neither an estimator's nor :data:`CODEC`.

    Raises:
        OptionError: Listing the known ones.
    """
    if name != CODEC and name not in ESTIMATORS:
        raise OptionError(f"unknown motion {name!r}; known: {', '.join((*ESTIMATORS, CODEC))}")


def motion_estimator(name: str) -> MotionEstimator:
    """The estimator of that name.

    Raises:
        OptionError: If there is none.
    """
    check_motion(name)
    return ESTIMATORS[name]()
