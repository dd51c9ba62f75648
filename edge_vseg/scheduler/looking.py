"""Look at a frame: its motion since the last one, and statistics of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion import motion_estimator, photometric_error, resize_field
from edge_vseg.policies import MotionFacts
from edge_vseg.types import Image, MotionField, Size

FACTS_HW = (12, 16)


class Looker:
    """Estimates the motion from each frame to the one before.

    Args:
        motion: Name of the estimator.
        frame_hw: Size of the frames that the network sees; motion is estimated at a fraction of it.
        cells_hw: Size of the fields that come out.
    """

    def __init__(self, motion: str, frame_hw: Size, cells_hw: Size) -> None:
        self._estimator = motion_estimator(motion)
        height, width = (max(16, side // self._estimator.shrink) for side in frame_hw)
        self._small_hw = (height, width)
        self._cells_hw = cells_hw
        self._before: NDArray[np.uint8] | None = None

    def __call__(self, image: Image) -> tuple[MotionField | None, MotionFacts | None]:
        """The motion to the frame before in cells, and statistics; nothing for the first frame."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        height, width = self._small_hw
        small = np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        before, self._before = self._before, small
        if before is None:
            return None, None
        field = self._estimator(small, before)
        return resize_field(field, self._cells_hw), _facts(field, small, before)


def _facts(field: MotionField, present: NDArray[np.uint8], before: NDArray[np.uint8]) -> MotionFacts:
    coarse = resize_field(field, FACTS_HW)
    lengths = np.hypot(coarse[..., 0] / FACTS_HW[1], coarse[..., 1] / FACTS_HW[0])
    left = photometric_error(present, before, field, FACTS_HW)
    changed = cv2.absdiff(present, before)
    return MotionFacts(
        speed=float(lengths.mean()),
        spread=float(np.hypot(*(coarse[..., at].std() / FACTS_HW[1 - at] for at in (0, 1)))),
        unexplained=float(left.mean()) / 255,
        changed=float(np.mean(changed)) / 255,
    )
