"""A small description of a frame, in which distance means a different scene or a different exposure."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import Image, Tensor

_SMALL_WH = (160, 90)
_THUMB_WH = (16, 9)
_BINS = 16
_DUPLICATE_LEVELS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Descriptor:
    """What is kept of a frame to compare it with others.

    Attributes:
        thumbnail: ``(9, 16, 3)`` float32 BGR, 0 to 255: area means, so that noise is averaged out.
        vector: ``(192,)`` float32: layout (144), exposure (16) and colour (32); Euclidean distance compares.
    """

    thumbnail: NDArray[np.float32]
    vector: NDArray[np.float32]


def describe(image: Image) -> Descriptor:
    """Describe a frame.

    The vector has three parts on one scale, where 0.1 is a clear difference in each: the luminance of the
    16x9 thumbnail minus its mean, as a root mean square; and the cumulative histograms of luminance, and of
    the two colour differences. Cumulative, because then a slightly brighter picture is slightly different,
    however the bins fall.

    Args:
        image: ``(H, W, 3)`` uint8 BGR of any size.
    """
    small = cv2.resize(image, _SMALL_WH, interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(small.astype(np.float32), _THUMB_WH, interpolation=cv2.INTER_AREA)
    luma = cv2.cvtColor(thumbnail / 255, cv2.COLOR_BGR2GRAY).ravel()
    layout = (luma - luma.mean()) / np.sqrt(luma.size)
    channels = cv2.cvtColor(small, cv2.COLOR_BGR2YCrCb)
    parts = [layout, *(_distribution(channels, index) for index in range(3))]
    return Descriptor(
        thumbnail=np.asarray(thumbnail, dtype=np.float32), vector=np.concatenate(parts).astype(np.float32)
    )


def _distribution(channels: Tensor, index: int) -> NDArray[np.float32]:
    histogram = cv2.calcHist([channels], [index], None, [_BINS], [0, 256]).ravel()
    return np.asarray(np.cumsum(histogram) / histogram.sum() / np.sqrt(_BINS), dtype=np.float32)


def difference(first: Descriptor, second: Descriptor) -> float:
    """The largest change of any cell and colour of the thumbnail, in levels of 255.

    The largest, not the mean: a car that crosses a still picture changes few cells, but those by much.
    """
    return float(np.abs(first.thumbnail - second.thumbnail).max())


def near_duplicate(first: Descriptor, second: Descriptor) -> bool:
    """Whether nothing that matters has changed: no cell by more than 2 levels.

    Measured on fixed cameras, noise and compression move a cell by less than 0.7 levels.
    """
    return difference(first, second) <= _DUPLICATE_LEVELS
