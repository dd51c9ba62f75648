"""Pairs of consecutive frames of unlabelled video, for the consistency loss: motion is estimated, as on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.label_propagation.clip_motion import ClipMotion
from edge_vseg.errors import VideoError
from edge_vseg.export.reference.zoo.spec import SCORES_STRIDE
from edge_vseg.motion import resize_field
from edge_vseg.types import Image, MotionField, Size
from edge_vseg.video import open_source
from edge_vseg.video.address import without_credentials

MAX_PAIRS = 200
"""Pairs kept of a video, evenly spread: 3 MB each at 480x360."""
MAX_GAP = 0.5
"""Squared cells from its start at which a motion there and back may end to count."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FramePair:
    """A frame of a video and the one before.

    Attributes:
        present: ``(H, W, 3)`` uint8 BGR, sides that are multiples of 4.
        previous: The frame before.
        motion: ``(H/4, W/4, 2)`` float32, from present to previous, in cells of stride 4.
        visible: ``(H/4, W/4)`` float32 from 0 to 1: how surely both show the same there.
    """

    present: Image
    previous: Image
    motion: MotionField
    visible: NDArray[np.float32]


def read_video_pairs(source: str, size_hw: Size, most: int = MAX_PAIRS) -> list[FramePair]:
    """Read a video once, and keep pairs of its frames that are spread evenly.

    Args:
        source: A video, image folder or recorded topic.
        size_hw: Frames are scaled to cover this size, with their aspect.
        most: Pairs at most; there are at least half as many if the video has them.

    Raises:
        VideoError: If it cannot be read, or has a single frame.
    """
    kept: list[tuple[Image, Image]] = []
    stride = 1
    for number, pair in enumerate(_neighbours(source, size_hw)):
        if number % stride == 0:
            kept.append(pair)
        if len(kept) > most:
            kept, stride = kept[::2], 2 * stride
    if not kept:
        raise VideoError(f"{without_credentials(source)} has no two frames of one size that follow each other")
    return [_with_motion(present, previous) for previous, present in kept]


def _neighbours(source: str, size_hw: Size) -> Iterator[tuple[Image, Image]]:
    before: Image | None = None
    with open_source(source, live=False) as frames:
        for frame in frames:
            image = _cover(frame.image, size_hw)
            if before is not None and before.shape == image.shape:
                yield before, image
            before = image


def _cover(image: Image, size_hw: Size) -> Image:
    height, width = image.shape[:2]
    scale = max(size_hw[0] / height, size_hw[1] / width)
    tall, wide = (SCORES_STRIDE * int(np.ceil(scale * side / SCORES_STRIDE)) for side in (height, width))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (wide, tall), interpolation=interpolation), np.uint8)


def _with_motion(present: Image, previous: Image) -> FramePair:
    cells = present.shape[0] // SCORES_STRIDE, present.shape[1] // SCORES_STRIDE
    motion = ClipMotion((present, previous).__getitem__)(0, 1)
    visible = np.where(motion.gap <= MAX_GAP, motion.agreement, np.float32(0))
    # A cell counts as much as its worst pixel: borders of what moved are where estimates fail.
    smallest = cv2.erode(visible, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    shrunk = cv2.resize(smallest, (cells[1], cells[0]), interpolation=cv2.INTER_AREA)
    return FramePair(
        present=present,
        previous=previous,
        motion=resize_field(motion.field, cells),
        visible=np.asarray(shrunk, np.float32),
    )
