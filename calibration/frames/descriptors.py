"""Frame descriptors: small vectors whose distance measures a change of scene or exposure."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import Image, Tensor

_HISTOGRAM_WH = (160, 90)
_THUMBNAIL_WH = (16, 9)
_BINS = 16
_MAX_DUPLICATE_LEVELS = 2.0
"""Noise and compression of fixed cameras move a thumbnail cell by less than 0.7 levels of 255 (measured)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Descriptor:
    """Descriptor of a frame.

    Attributes:
        thumbnail: ``(9, 16, 3)`` float32 BGR, 0 to 255: area means, which average noise out.
        vector: ``(192,)`` float32: layout (144), exposure (16) and colour (32), for Euclidean distances.
    """

    thumbnail: NDArray[np.float32]
    vector: NDArray[np.float32]


def describe(image: Image) -> Descriptor:
    """Describe a frame.

    The vector has three parts on one scale, on which 0.1 is a clear difference: luminance of the 16x9 thumbnail minus
    its mean, and cumulative histograms of luminance and of the two colour differences. Cumulative, so that a slightly
    brighter image is slightly different wherever the bins fall.

    Args:
        image: ``(H, W, 3)`` uint8 BGR of any size.
    """
    small = cv2.resize(image, _HISTOGRAM_WH, interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(small.astype(np.float32), _THUMBNAIL_WH, interpolation=cv2.INTER_AREA)
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
    """The largest change of any cell and channel of the thumbnail, in levels of 255.

    Not the mean: a car that crosses a still image changes few cells, but those by much.
    """
    return float(np.abs(first.thumbnail - second.thumbnail).max())


def near_duplicate(first: Descriptor, second: Descriptor) -> bool:
    """Whether no cell of the thumbnail differs by more than 2 levels of 255."""
    return difference(first, second) <= _MAX_DUPLICATE_LEVELS
