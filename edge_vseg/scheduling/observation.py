"""MotionObservation at a frame: its motion since the last one, and what can be told of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion import CODEC, MotionEstimator, motion_estimator, resize_field, sampling_map
from edge_vseg.scheduling.situation import MotionStatistics
from edge_vseg.types import Image, MotionField, Size

STATISTICS_SHRINK = 8
"""By how much pictures are made smaller to be compared; whole factors are what OpenCV is fast at."""
WITHOUT_CODEC = "dis"
"""Estimator for frames that the codec has no motion for, such as those that begin a group of pictures."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionObservation:
    """What a frame shows against the one before.

    Attributes:
        motion: ``(h, w, 2)`` float32 in cells of the scores.
        coarse: The same in cells of the statistics.
        statistics: ``(4, h', w')`` float32, in the order of the fields of :class:`MotionStatistics`, whose
            values are their means.
        estimator: Name of the estimator that the motion comes from.
    """

    motion: MotionField
    coarse: MotionField
    statistics: NDArray[np.float32]
    estimator: str

    @property
    def facts(self) -> MotionStatistics:
        """The statistics, averaged over the frame."""
        return MotionStatistics(*(float(cv2.mean(plane)[0]) for plane in self.statistics))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Greys:
    """A frame in grey: as it is, at the size that motion is estimated at, and at that of the statistics."""

    full: NDArray[np.uint8]
    motion: NDArray[np.uint8]
    statistics: NDArray[np.uint8]


class MotionObserver:
    """Estimates the motion from each frame to the one before.

    Args:
        frame_hw: Size of the frames that the network sees; motion is estimated at a fraction of it.
        cells_hw: Size of the fields that come out.
        tell: Told the nanoseconds of each estimate, by the estimator's name.
        clock: Nanoseconds.
    """

    def __init__(
        self,
        frame_hw: Size,
        cells_hw: Size,
        *,
        tell: Callable[[str, int], None] = lambda name, nanoseconds: None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.statistics_hw: Size = (max(4, frame_hw[0] // STATISTICS_SHRINK), max(4, frame_hw[1] // STATISTICS_SHRINK))
        self._frame_hw = frame_hw
        self._cells_hw = cells_hw
        self._tell = tell
        self._clock = clock
        self._estimators: dict[str, MotionEstimator] = {}
        self._before: _Greys | None = None

    def __call__(self, image: Image, name: str, codec: MotionField | None = None) -> MotionObservation | None:
        """What the frame shows against the one before; ``None`` for the first.

        Args:
            image: ``(H, W, 3)`` uint8 BGR.
            name: Estimator.
            codec: The codec's motion to the frame before, if the source gives it.
        """
        begin = self._clock()
        if name == CODEC and codec is None:
            name = WITHOUT_CODEC
        shrink = 1 if name == CODEC else self._estimator(name).shrink
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        small_hw = self.statistics_hw if name == CODEC else self._size(shrink)
        present = _Greys(full=grey, motion=_shrunk(grey, small_hw), statistics=_shrunk(grey, self.statistics_hw))
        before, self._before = self._before, present
        if before is None:
            return None
        if name == CODEC:
            assert codec is not None
            field = codec
        else:
            older = before.motion if before.motion.shape == small_hw else _shrunk(before.full, small_hw)
            field = self._estimator(name)(present.motion, older)
        coarse = _sampled(field, self.statistics_hw)
        look = MotionObservation(
            motion=resize_field(field, self._cells_hw),
            coarse=coarse,
            statistics=_statistics(coarse, present.statistics, before.statistics),
            estimator=name,
        )
        self._tell(f"motion {name}", self._clock() - begin)
        return look

    def _estimator(self, name: str) -> MotionEstimator:
        if name not in self._estimators:
            self._estimators[name] = motion_estimator(name)
        return self._estimators[name]

    def _size(self, shrink: int) -> Size:
        # Below 32 pixels there is nothing to match: small frames are shrunk less.
        return max(32, self._frame_hw[0] // shrink), max(32, self._frame_hw[1] // shrink)


def _shrunk(grey: NDArray[np.uint8], size_hw: Size) -> NDArray[np.uint8]:
    if grey.shape == size_hw:
        return grey
    return np.asarray(cv2.resize(grey, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA), np.uint8)


def _sampled(field: MotionField, size_hw: Size) -> MotionField:
    """One vector for each cell: enough of a smooth field, at a tenth of the cost of means."""
    height, width = size_hw
    rows = (np.arange(height) * field.shape[0] + field.shape[0] // 2) // height
    columns = (np.arange(width) * field.shape[1] + field.shape[1] // 2) // width
    scale = np.array((width / field.shape[1], height / field.shape[0]), np.float32)
    return np.asarray(field[rows[:, None], columns] * scale, np.float32)


def _statistics(coarse: MotionField, present: NDArray[np.uint8], before: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = present.shape
    moved = cv2.remap(before, *sampling_map(coarse), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shares = np.asarray(coarse / np.array((width, height), np.float32), np.float32)
    apart = np.asarray(shares - np.array(cv2.mean(shares)[:2], np.float32), np.float32)
    statistics = np.empty((4, height, width), np.float32)
    statistics[0] = cv2.magnitude(shares[..., 0], shares[..., 1])
    statistics[1] = cv2.magnitude(apart[..., 0], apart[..., 1])
    statistics[2] = cv2.absdiff(present, np.asarray(moved, np.uint8))
    statistics[3] = cv2.absdiff(present, before)
    statistics[2:] /= 255
    return statistics
