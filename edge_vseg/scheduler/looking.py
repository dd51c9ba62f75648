"""Look at a frame: its motion since the last one, and statistics of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion import motion_estimator, resize_field, sampling_map
from edge_vseg.policies import MotionFacts
from edge_vseg.types import Image, MotionField, Size

FACTS_SHRINK = 8
"""By how much pictures are made smaller to be compared; whole factors are what OpenCV is fast at."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Greys:
    """A frame in grey, at the size that motion is estimated at and at that for statistics."""

    motion: NDArray[np.uint8]
    facts: NDArray[np.uint8]


class Looker:
    """Estimates the motion from each frame to the one before.

    Args:
        motion: Name of the estimator.
        frame_hw: Size of the frames that the network sees; motion is estimated at a fraction of it.
        cells_hw: Size of the fields that come out.
    """

    def __init__(self, motion: str, frame_hw: Size, cells_hw: Size) -> None:
        self._estimator = motion_estimator(motion)
        height, width = (max(16, side // self._estimator.shrink) for side in frame_hw)
        self._small_hw = (height, width)
        self._facts_hw = (max(4, frame_hw[0] // FACTS_SHRINK), max(4, frame_hw[1] // FACTS_SHRINK))
        self._cells_hw = cells_hw
        self._before: _Greys | None = None

    def __call__(self, image: Image) -> tuple[MotionField | None, MotionFacts | None]:
        """The motion to the frame before in cells, and statistics; nothing for the first frame."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        present = _Greys(motion=_shrunk(grey, self._small_hw), facts=_shrunk(grey, self._facts_hw))
        before, self._before = self._before, present
        if before is None:
            return None, None
        field = self._estimator(present.motion, before.motion)
        return resize_field(field, self._cells_hw), _facts(field, present.facts, before.facts)


def _shrunk(grey: NDArray[np.uint8] | cv2.typing.MatLike, size_hw: Size) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(grey, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA), np.uint8)


def _facts(field: MotionField, present: NDArray[np.uint8], before: NDArray[np.uint8]) -> MotionFacts:
    height, width = present.shape
    # One vector for each cell tells enough of a smooth field, and costs a tenth of their means.
    rows = (np.arange(height) * field.shape[0] + field.shape[0] // 2) // height
    columns = (np.arange(width) * field.shape[1] + field.shape[1] // 2) // width
    coarse = field[rows[:, None], columns] * np.array((width / field.shape[1], height / field.shape[0]), np.float32)
    x, y = sampling_map(coarse)
    moved = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shares = coarse / np.array((width, height), np.float32)
    return MotionFacts(
        speed=float(np.hypot(shares[..., 0], shares[..., 1]).mean()),
        spread=float(np.hypot(shares[..., 0].std(), shares[..., 1].std())),
        unexplained=cv2.norm(present, np.asarray(moved, np.uint8), cv2.NORM_L1) / present.size / 255,
        changed=cv2.norm(present, before, cv2.NORM_L1) / present.size / 255,
    )
