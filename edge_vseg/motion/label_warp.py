"""Warp label maps along the motion: cheaper than warping class planes, whatever the number of classes."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.errors import FrameError
from edge_vseg.motion.field import sampling_grid
from edge_vseg.types import LabelMap, MotionField, Size


class LabelWarper:
    """Warps label maps of one size, and reuses its buffers.

    The cost does not grow with the number of classes; ``benchmarks/frame_cost.py`` measures it.

    Args:
        size_hw: Size of the label maps.
    """

    def __init__(self, size_hw: Size) -> None:
        self.size_hw = size_hw
        self._positions = np.empty((*size_hw, 2), np.float32)
        self._grid = sampling_grid(size_hw)

    def __call__(self, labels: LabelMap, motion: MotionField) -> LabelMap:
        """Carry a label map into the present frame by backward warping, nearest neighbour.

        Args:
            labels: ``(H, W)`` uint8 class ids of the older frame.
            motion: ``(h, w, 2)`` float32 from the present to the older frame, in cells of its own size.

        Returns:
            ``(H, W)`` uint8, a new array; pixels from outside the older frame repeat its edge.

        Raises:
            FrameError: If the label map has another size.

        Reference: Zhu et al., Deep Feature Flow, CVPR 2017, eq. 3, on labels instead of features.
        """
        height, width = self.size_hw
        if labels.shape != self.size_hw:
            raise FrameError(f"expected a label map of {height}x{width}, got {labels.shape[0]}x{labels.shape[1]}")
        scale = np.array((width / motion.shape[1], height / motion.shape[0]), np.float32)
        cv2.resize(motion * scale, (width, height), dst=self._positions, interpolation=cv2.INTER_LINEAR)
        cv2.add(self._positions, self._grid, dst=self._positions)
        warped = cv2.remap(labels, self._positions, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return np.asarray(warped, np.uint8)
