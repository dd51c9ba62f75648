"""Tell noise from motion: whether anything has moved between two small grey pictures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_CELL_DIFFERENCE = 6.0
"""Grey levels by which noise may change a cell; an edge of 50 levels that moves by a pixel changes it by as much."""
MAX_REGION_DIFFERENCE = 1.5
"""Grey levels by which noise may change the mean of a region: light, and dark objects before a dark ground."""
REGION = 5
"""Side of a region in cells."""


def is_still(present: NDArray[np.uint8], reference: NDArray[np.uint8]) -> bool:
    """Whether two pictures differ by no more than a sensor's noise.

    The largest difference counts, not the mean one: a hand that waves fills a few cells. Noise of 4 grey levels stays
    below both limits if a cell is the mean of 8x8 pixels; compressed video of a resting scene stays below them on half
    of its frames.

    Args:
        present: ``(h, w)`` uint8 grey, each cell the mean of several pixels.
        reference: The picture of an older frame.

    Returns:
        Whether nothing has moved, and the light is the same.
    """
    difference = cv2.subtract(present, reference, dtype=cv2.CV_32F)
    if cv2.norm(difference, cv2.NORM_INF) > MAX_CELL_DIFFERENCE:
        return False
    return cv2.norm(cv2.blur(difference, (REGION, REGION)), cv2.NORM_INF) <= MAX_REGION_DIFFERENCE
