"""The small grey pictures of a frame at which its motion is looked at."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import Image, Size

QUARTER, EIGHTH = 4, 8
"""Fractions of the network's input at which motion is estimated and measured; OpenCV is fast at whole factors."""
MIN_QUARTER_SIDE, MIN_EIGHTH_SIDE = 32, 4
"""Pixels: below 32 there is nothing to match, so small frames are shrunk less."""

Grey = NDArray[np.uint8]


class GreyPyramid:
    """A frame in grey at a half, a quarter and an eighth of the network's input; filled again and again.

    The frame is shrunk in colour to the first of these, four samples for a pixel, and each next one is made out of the
    one before: the cost hardly depends on the frame's size.

    Args:
        frame_hw: Size of the network's input.

    Attributes:
        half: ``(2 h, 2 w)`` uint8, for a ``quarter`` of ``(h, w)``.
        quarter: ``(h, w)`` uint8.
        eighth: uint8, the size of the motion statistics.
    """

    def __init__(self, frame_hw: Size) -> None:
        quarter_hw = shrunk_size(frame_hw, QUARTER, MIN_QUARTER_SIDE)
        self.half: Grey = np.zeros((2 * quarter_hw[0], 2 * quarter_hw[1]), np.uint8)
        self.quarter: Grey = np.zeros(quarter_hw, np.uint8)
        self.eighth: Grey = np.zeros(shrunk_size(frame_hw, EIGHTH, MIN_EIGHTH_SIDE), np.uint8)
        self._color: Image = np.empty((*self.half.shape, 3), np.uint8)

    def fill(self, image: Image) -> None:
        """Take another frame, ``(H, W, 3)`` uint8 BGR of any size."""
        cv2.resize(image, self._color.shape[1::-1], dst=self._color, interpolation=cv2.INTER_LINEAR)
        cv2.cvtColor(self._color, cv2.COLOR_BGR2GRAY, dst=self.half)
        _shrink(self.half, self.quarter)
        _shrink(self.quarter, self.eighth)

    def at(self, size_hw: Size) -> Grey:
        """The frame at a size; one of the three costs nothing."""
        for picture in (self.quarter, self.half, self.eighth):
            if picture.shape == size_hw:
                return picture
        other = np.empty(size_hw, np.uint8)
        _shrink(self.half, other)
        return other


def shrunk_size(size_hw: Size, factor: int, min_side: int = MIN_QUARTER_SIDE) -> Size:
    """A size divided by a factor, as far as the sides stay long enough."""
    return max(min_side, size_hw[0] // factor), max(min_side, size_hw[1] // factor)


def _shrink(source: Grey, target: Grey) -> None:
    cv2.resize(source, target.shape[::-1], dst=target, interpolation=cv2.INTER_AREA)
