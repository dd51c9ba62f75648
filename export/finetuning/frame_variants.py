"""Random variants of a frame: what the same camera might have seen."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.types import Image

MIN_SIDE = 0.8
"""Smallest part of the frame that is enlarged to the whole."""
MAX_GAIN = 1.05


def vary(frame: Image, rng: np.random.Generator) -> Image:
    """Crop, flip and expose a frame anew, each in half of the cases.

    Args:
        frame: ``(H, W, 3)`` uint8.
        rng: Source of chance.

    Returns:
        A frame of the same size.
    """
    height, width = frame.shape[:2]
    if rng.random() < 0.5:
        side = rng.uniform(MIN_SIDE, 1.0)
        rows, columns = max(1, round(height * side)), max(1, round(width * side))
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        part = frame[top : top + rows, left : left + columns]
        frame = np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < 0.5:
        frame = frame[:, ::-1]
    if rng.random() < 0.5:
        gain = MAX_GAIN ** rng.uniform(-1, 1)
        frame = np.asarray(cv2.convertScaleAbs(frame, alpha=gain), np.uint8)
    return np.ascontiguousarray(frame)
