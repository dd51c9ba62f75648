"""Optical flow between consecutive frames, for the metrics of temporal consistency."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion import motion_estimator, resize_field
from edge_vseg.motion.occlusion import inconsistent
from edge_vseg.types import Image, Mask, MotionField

FLOW_ESTIMATOR = "dis-fine"
MAX_FLOW_SIDE_PX = 480
"""Longest side of the images that flow is estimated on."""


class FrameFlow:
    """Estimates the flow from each frame to the previous one, and which pixels the previous frame shows."""

    def __init__(self) -> None:
        self._estimate = motion_estimator(FLOW_ESTIMATOR)
        self._previous: NDArray[np.uint8] | None = None
        self._size_hw = (0, 0)

    def cut(self) -> None:
        """The next frame belongs to another video."""
        self._previous = None

    def __call__(self, image: Image) -> tuple[MotionField, Mask] | None:
        """Estimate the flow of the next frame.

        Args:
            image: ``(H, W, 3)`` uint8 BGR.

        Returns:
            Motion ``(H, W, 2)`` float32 in pixels to the previous frame, and ``(H, W)`` bool, true where that frame
            shows the same surface; ``None`` for the first frame of a video, and where the size changes.
        """
        height, width = image.shape[:2]
        scale = min(1.0, MAX_FLOW_SIDE_PX / max(height, width))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        gray = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        previous, self._previous = self._previous, gray
        size_hw, self._size_hw = self._size_hw, (height, width)
        if previous is None or size_hw != (height, width):
            return None
        motion, backward = self._estimate(gray, previous), self._estimate(previous, gray)
        occluded = inconsistent(motion, backward)
        visible = cv2.resize((~occluded).view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        return resize_field(motion, (height, width)), visible.astype(np.bool_)
