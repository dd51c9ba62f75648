"""Which frames say too little to calibrate with: black, flat, or blurred ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import Image

Fault: TypeAlias = Literal["black", "flat"]

_WORKING_SIDE = 640
_BLACK_LEVEL = 24
_FLAT_SPREAD = 12
_TAIL = 0.01
_BLUR_FACTOR = 3.0
_BLUR_DEVIATIONS = 3.5
_BLUR_MIN_FRAMES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageQuality:
    """What can be said about one frame alone.

    Attributes:
        fault: Why it is of no use; ``None`` when nothing speaks against it.
        sharpness: Natural logarithm of the variance of the Laplacian over the variance of the picture. The
            ratio makes it independent of exposure and contrast; it only compares within a clip.
    """

    fault: Fault | None
    sharpness: float


def measure(image: Image) -> ImageQuality:
    """Judge a frame by itself.

    Black means that 99 % of the pixels are darker than 24 of 255; flat, that the darkest and the brightest
    percent are less than 12 apart (a covered lens, fog, a white wall). Both leave the outermost percent out,
    for noise and hot pixels.

    Args:
        image: ``(H, W, 3)`` uint8 BGR.
    """
    gray = cv2.cvtColor(_shrink(image), cv2.COLOR_BGR2GRAY)
    histogram = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel()
    levels = np.cumsum(histogram) / gray.size
    low, high = (int(level) for level in np.searchsorted(levels, (_TAIL, 1 - _TAIL)))
    fault: Fault | None = None
    if high < _BLACK_LEVEL:
        fault = "black"
    elif high - low < _FLAT_SPREAD:
        fault = "flat"
    edges = cv2.Laplacian(gray, cv2.CV_32F)
    # +1 keeps the logarithm finite; it is the variance of a rounding error or two.
    ratio = (float(edges.var()) + 1) / (float(gray.var()) + 1)
    return ImageQuality(fault=fault, sharpness=math.log(ratio))


def _shrink(image: Image) -> Image:
    # About what a network sees: blur that vanishes at this size does no harm.
    factor = _WORKING_SIDE / max(image.shape[:2])
    if factor >= 1:
        return image
    width, height = (max(1, round(side * factor)) for side in (image.shape[1], image.shape[0]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def blurred(sharpness: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which frames of one clip are blurred, measured by the clip itself.

    A frame is blurred when its ratio is below a third of the clip's median *and* 3.5 robust standard
    deviations (1.4826 times the median absolute deviation of the logarithm) below it. The factor keeps an
    even clip whole, the deviation one whose scenes differ in texture. With fewer than 8 frames there is
    nothing to compare with, and none is blurred.

    Args:
        sharpness: ``(N,)`` from :func:`measure`, the frames of one clip without the black and flat ones.

    Returns:
        ``(N,)`` bool.
    """
    if sharpness.size < _BLUR_MIN_FRAMES:
        return np.zeros(sharpness.shape, dtype=np.bool_)
    median = np.median(sharpness)
    deviation = 1.4826 * np.median(np.abs(sharpness - median))
    return np.asarray(sharpness < median - max(math.log(_BLUR_FACTOR), _BLUR_DEVIATIONS * deviation), dtype=np.bool_)
