"""Compose motion fields over frames that nobody looked at."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.motion.field import remap_tables, resize_field
from edge_vseg.types import MotionField


def compose_fields(newer: MotionField, older: MotionField) -> MotionField:
    """The motion over two steps: from frame ``t`` to ``t-1``, and from there to ``t-2``.

    Args:
        newer: ``(h, w, 2)`` float32, from ``t`` to ``t-1``, in cells of its own size.
        older: ``(h', w', 2)`` float32, from ``t-1`` to ``t-2``; resized to the cells of ``newer``.

    Returns:
        ``(h, w, 2)`` float32, ``newer(x) + older(x + newer(x))`` by bilinear interpolation; what leads out of frame
        ``t-1`` goes on as its edge does.
    """
    older = resize_field(older, (newer.shape[0], newer.shape[1]))
    there = cv2.remap(older, *remap_tables(newer), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(newer + there, np.float32)
