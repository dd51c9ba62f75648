"""Scores as a linear function of the image around each cell: the fast guided filter.

He, Sun and Tang, Guided Image Filtering, ECCV 2010; He and Sun, Fast Guided Filter, 2015. The function is fitted at the
size of the scores and evaluated at the size of the image, so that a border between two classes follows an edge that
only the image shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import ColorOrder, Image, Size

RADIUS = 1
"""Radius of the window in cells. Measured by benchmarks/boundary_refinement.py: larger ones lose mIoU."""
NOISE = 1e-4 * 255**2
"""Variance of grey levels, 0 to 255, that counts as none."""

Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearScores:
    """Scores that depend on a grey level: ``slope * grey + offset``.

    Attributes:
        slope: ``(C, h, w)`` float32, per grey level from 0 to 255.
        offset: ``(C, h, w)`` float32.
    """

    slope: NDArray[np.float32]
    offset: NDArray[np.float32]


def grey_of(image: Image, *, color: ColorOrder = "bgr") -> Grey:
    """The ``(H, W)`` uint8 grey picture of an ``(H, W, 3)`` uint8 image; a copy."""
    return cast(Grey, cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if color == "bgr" else cv2.COLOR_RGB2GRAY))


def fit_to_grey(scores: NDArray[np.float32], grey: Grey) -> LinearScores:
    """Fit scores to a grey picture of any larger size.

    Args:
        scores: ``(C, h, w)`` float32.
        grey: ``(H, W)`` uint8.
    """
    small = _shrink(grey, scores.shape[1:]).astype(np.float32)
    average = _mean(small)
    weight = np.reciprocal(_mean(small * small) - average * average + np.float32(NOISE))
    fitted = LinearScores(slope=np.empty_like(scores), offset=np.empty_like(scores))
    for plane, slope, offset in zip(scores, fitted.slope, fitted.offset, strict=True):
        level = _mean(plane)
        steep = np.multiply(_mean(small * plane) - average * level, weight, dtype=np.float32)
        _mean(steep, out=slope)
        _mean(np.subtract(level, steep * average, dtype=np.float32), out=offset)
    return fitted


def _shrink(grey: Grey, size_hw: Size) -> Grey:
    return cast(Grey, cv2.resize(grey, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA))


def _mean(plane: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    side = 2 * RADIUS + 1
    return cast("NDArray[np.float32]", cv2.blur(plane, (side, side), dst=out))
