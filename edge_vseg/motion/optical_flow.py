"""Motion estimators: dense optical flow between two grey images, behind one protocol."""

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
"""Motion name of the codec's own vectors, which come with the frame and need no estimator."""
STILL = "still"
"""Motion name of frames on which nothing has moved, and of the estimator that says so of every frame."""


class MotionEstimator(Protocol):
    """Estimates motion between two grey images of one size.

    Attributes:
        shrink: Factor by which frames are reduced before estimation.
    """

    shrink: int

    def __call__(self, present: Grey, previous: Grey) -> MotionField:
        """Estimate the motion from the present image to the previous one.

        Args:
            present: ``(H, W)`` uint8.
            previous: ``(H, W)`` uint8.

        Returns:
            ``(h, w, 2)`` float32 in cells of its own size, which need not be that of the images.
        """
        ...


class Still:
    """No motion: for fixed cameras, and to show the last map unchanged."""

    shrink = 8

    def __call__(self, present: Grey, previous: Grey) -> MotionField:
        """Zero everywhere."""
        return np.zeros((*present.shape, 2), np.float32)


class DisFlow:
    """Dense inverse search (Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016).

    Runs on quarter-size frames at their full resolution and without variational refinement; OpenCV's presets stop at a
    coarser scale of larger frames, or refine at length. ``benchmarks/motion.py`` measures cost and error.

    Tried, and not worth it: a start from the last field (0.1 mIoU more on CamVid for a tenth of the time), medians and
    blurs of the field, filling what the motion does not explain, and patches of 3 or 4 pixels, which are better on
    CamVid at each cost and worse on DAVIS and on rendered streets.

    Args:
        finest: Finest scale at which patches are matched: ``1 / 2 ** finest`` of the image.
        stride: Pixels from patch to patch.
        shrink: Factor by which frames are reduced before estimation.
    """

    def __init__(self, finest: int = 0, stride: int = 4, shrink: int = 4) -> None:
        self.shrink = shrink
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._flow.setFinestScale(finest)
        self._flow.setGradientDescentIterations(12)
        self._flow.setPatchSize(8)
        self._flow.setPatchStride(stride)
        self._flow.setUseMeanNormalization(False)  # better without it, and faster
        self._flow.setVariationalRefinementIterations(0)

    def __call__(self, present: Grey, previous: Grey) -> MotionField:
        """See :class:`MotionEstimator`."""
        if min(present.shape) < 32:  # too small for a pyramid
            return np.zeros((*present.shape, 2), np.float32)
        first, second = np.ascontiguousarray(present), np.ascontiguousarray(previous)
        field = self._flow.calc(first, second, None)  # type: ignore[call-overload]
        return np.asarray(field, np.float32)


ESTIMATORS: dict[str, Callable[[], MotionEstimator]] = {
    STILL: Still,
    "dis-coarse": lambda: DisFlow(finest=1),
    "dis": lambda: DisFlow(stride=6),
    "dis-fine": lambda: DisFlow(stride=4),
    "dis-half": lambda: DisFlow(stride=5, shrink=2),
}


def check_motion(name: str) -> None:
    """Check the name of an estimator, or :data:`CODEC`.

    Raises:
        OptionError: If it is unknown; the message lists the known names.
    """
    if name != CODEC and name not in ESTIMATORS:
        raise OptionError(f"there is no motion estimator {name!r}; known: {', '.join((*ESTIMATORS, CODEC))}")


def motion_estimator(name: str) -> MotionEstimator:
    """Make the estimator of that name.

    Raises:
        OptionError: If it is unknown; the message lists the known names.
    """
    check_motion(name)
    return ESTIMATORS[name]()
