"""Fuse what a fresh frame says with what was carried over from older ones."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.types import Scores

FRESH_SHARE = 0.8
"""Weight of the fresh frame. Measured on CamVid's val clip, keyframes every 3rd frame: 69.3 mIoU with 1 (no fusion),
69.6 with 0.8, 69.7 with 0.6; every 5th: 68.4, 68.6, 68.4."""


def to_probabilities(scores: Scores) -> Scores:
    """Softmax over the classes.

    Args:
        scores: ``(C, h, w)`` float32.

    Returns:
        ``(C, h, w)`` float32 that sums to 1 over the classes. Carried over 5 frames, probabilities lose 1.2 mIoU where
        scores lose 1.4: beside a border, extreme scores of one side do not drown the other.
    """
    exponentials = np.empty_like(scores)
    highest = scores.max(axis=0)
    for plane, out in zip(scores, exponentials, strict=True):
        cv2.exp(plane - highest, dst=out)
    exponentials /= exponentials.sum(axis=0)
    return exponentials


def fuse(fresh: Scores, carried: Scores, share: float = FRESH_SHARE) -> Scores:
    """Average of a fresh frame's probabilities and the carried ones.

    Args:
        fresh: ``(C, h, w)`` float32 probabilities.
        carried: The same, of older frames, warped into this one.
        share: Weight of the fresh ones, 0 to 1.

    Returns:
        ``(C, h, w)`` float32 probabilities.

    Reference: Miksik et al., Efficient Temporal Consistency for Streaming Video Scene Analysis, ICRA 2013, eq. 2,
    with one weight for all pixels.
    """
    return np.asarray(np.float32(share) * fresh + np.float32(1 - share) * carried, np.float32)
