"""Image quality: frames that are black, flat or blurred, and so useless for calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import Image

Fault: TypeAlias = Literal["black", "flat"]

_MAX_SIDE = 640
"""About what a network sees, in pixels: blur that vanishes at this size does no harm."""
_MAX_BLACK_LEVEL = 24
_MIN_RANGE_LEVELS = 12
_TAIL_SHARE = 0.01
"""Share of the pixels ignored at either end, for noise and hot pixels."""
_MIN_BLUR_FACTOR = 3.0
_MIN_BLUR_DEVIATIONS = 3.5
_MIN_BLUR_FRAMES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageQuality:
    """Quality of one frame by itself.

    Attributes:
        fault: Why it is useless; ``None`` if it is not.
        sharpness: Natural logarithm of the variance of the Laplacian over the variance of the image: independent of
            exposure and contrast, comparable within a clip only.
    """

    fault: Fault | None
    sharpness: float


def measure(image: Image) -> ImageQuality:
    """Measure the quality of a frame.

    Black: 99 % of the pixels are darker than 24 of 255. Flat: the 1st and the 99th percentile are less than 12 levels
    apart (a covered lens, fog, a white wall).

    Args:
        image: ``(H, W, 3)`` uint8 BGR.
    """
    gray = cv2.cvtColor(_shrink(image), cv2.COLOR_BGR2GRAY)
    histogram = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel()
    levels = np.cumsum(histogram) / gray.size
    low, high = (int(level) for level in np.searchsorted(levels, (_TAIL_SHARE, 1 - _TAIL_SHARE)))
    fault: Fault | None = None
    if high < _MAX_BLACK_LEVEL:
        fault = "black"
    elif high - low < _MIN_RANGE_LEVELS:
        fault = "flat"
    laplacian = cv2.Laplacian(gray, cv2.CV_32F)
    # + 1, about the variance of rounding errors, keeps the logarithm finite.
    ratio = (float(laplacian.var()) + 1) / (float(gray.var()) + 1)
    return ImageQuality(fault=fault, sharpness=math.log(ratio))


def _shrink(image: Image) -> Image:
    factor = _MAX_SIDE / max(image.shape[:2])
    if factor >= 1:
        return image
    width, height = (max(1, round(side * factor)) for side in (image.shape[1], image.shape[0]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def blurred(sharpness: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the blurred frames of a clip by comparison with its other frames.

    A frame is blurred when its variance ratio is below a third of the clip's median *and* its logarithm 3.5 robust
    standard deviations (1.4826 times the median absolute deviation) below the median. The factor spares clips of even
    sharpness, the deviation those whose scenes differ in texture. Clips of fewer than 8 frames have no blurred ones.

    Args:
        sharpness: ``(N,)`` float64 of :func:`measure`, without black and flat frames.

    Returns:
        ``(N,)`` bool.
    """
    if sharpness.size < _MIN_BLUR_FRAMES:
        return np.zeros(sharpness.shape, dtype=np.bool_)
    median = np.median(sharpness)
    deviation = 1.4826 * np.median(np.abs(sharpness - median))
    return np.asarray(
        sharpness < median - max(math.log(_MIN_BLUR_FACTOR), _MIN_BLUR_DEVIATIONS * deviation), dtype=np.bool_
    )
