"""Observe the motion of each frame: the field to the previous frame and its statistics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion import CODEC, MotionEstimator, motion_estimator, resize_field, sampling_map
from edge_vseg.scheduling.situation import MotionStatistics
from edge_vseg.scheduling.steps import Step, motion_step
from edge_vseg.types import Image, MotionField, Size

STATISTICS_SHRINK = 8
"""Frames are compared at this fraction of their size; OpenCV is fast at whole factors."""
MIN_MOTION_SIDE, MIN_STATISTICS_SIDE = 32, 4
"""Pixels: below 32 there is nothing to match, so small frames are shrunk less."""
CODEC_FALLBACK = "dis"
"""Estimator for frames without motion vectors, such as those that begin a group of pictures."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionObservation:
    """Motion from a frame to the previous one.

    Attributes:
        motion: ``(h, w, 2)`` float32 field in cells of the scores.
        coarse: ``(h', w', 2)`` float32, the same in cells of the statistics.
        statistics: ``(4, h', w')`` float32: speed, spread, unexplained, changed, as in :class:`MotionStatistics`.
        estimator: Name of the estimator.
    """

    motion: MotionField
    coarse: MotionField
    statistics: NDArray[np.float32]
    estimator: str

    @property
    def mean_statistics(self) -> MotionStatistics:
        """The statistics, averaged over the frame."""
        return MotionStatistics(*(float(cv2.mean(plane)[0]) for plane in self.statistics))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _GrayFrame:
    """A frame in gray: full size, the size at which motion is estimated, and the size of the statistics."""

    full: NDArray[np.uint8]
    motion: NDArray[np.uint8]
    statistics: NDArray[np.uint8]


class MotionObserver:
    """Estimates the motion from each frame to the previous one.

    Args:
        frame_hw: Size of the network's input; motion is estimated at a fraction of it.
        cells_hw: Size of the scores, and of the fields.
        on_duration: Called with the step and each duration in ns.
        clock: Time in ns.
    """

    def __init__(
        self,
        frame_hw: Size,
        cells_hw: Size,
        *,
        on_duration: Callable[[Step, int], None] = lambda step, duration_ns: None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.statistics_hw = _shrunk_size(frame_hw, STATISTICS_SHRINK, MIN_STATISTICS_SIDE)
        self._frame_hw = frame_hw
        self._cells_hw = cells_hw
        self._on_duration = on_duration
        self._clock = clock
        self._estimators: dict[str, MotionEstimator] = {}
        self._previous: _GrayFrame | None = None

    def __call__(self, image: Image, name: str, codec: MotionField | None = None) -> MotionObservation | None:
        """Estimate the motion of the next frame.

        Args:
            image: ``(H, W, 3)`` uint8 BGR, any size.
            name: Motion estimator, one of :data:`edge_vseg.motion.ESTIMATORS` or ``codec``.
            codec: Motion vectors of the codec to the previous frame; without them ``codec`` falls back to ``dis``.

        Returns:
            The motion; ``None`` for the first frame.
        """
        begin_ns = self._clock()
        if name == CODEC and codec is None:
            name = CODEC_FALLBACK
        shrink = 1 if name == CODEC else self._estimator(name).shrink
        gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        small_hw = self.statistics_hw if name == CODEC else _shrunk_size(self._frame_hw, shrink, MIN_MOTION_SIDE)
        motion = _shrunk(gray, small_hw)
        # Means of means: reading the large image a second time would cost more than everything else here.
        current = _GrayFrame(full=gray, motion=motion, statistics=_shrunk(motion, self.statistics_hw))
        previous = self._previous
        if previous is None:
            self._previous = current
            return None
        if name == CODEC:
            assert codec is not None
            field = codec
        else:
            older = previous.motion if previous.motion.shape == small_hw else _shrunk(previous.full, small_hw)
            field = self._estimator(name)(current.motion, older)
        coarse = _sampled(field, self.statistics_hw)
        observation = MotionObservation(
            motion=resize_field(field, self._cells_hw),
            coarse=coarse,
            statistics=_statistics(coarse, current.statistics, previous.statistics),
            estimator=name,
        )
        self._previous = current  # not before: where an estimator fails, the next motion spans both frames
        self._on_duration(motion_step(name), self._clock() - begin_ns)
        return observation

    def forget(self) -> None:
        """Forget the last frame: the next one does not follow it."""
        self._previous = None

    def _estimator(self, name: str) -> MotionEstimator:
        if name not in self._estimators:
            self._estimators[name] = motion_estimator(name)
        return self._estimators[name]


def _shrunk_size(size_hw: Size, factor: int, min_side: int) -> Size:
    return max(min_side, size_hw[0] // factor), max(min_side, size_hw[1] // factor)


def _shrunk(gray: NDArray[np.uint8], size_hw: Size) -> NDArray[np.uint8]:
    if gray.shape == size_hw:
        return gray
    return np.asarray(cv2.resize(gray, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA), np.uint8)


def _sampled(field: MotionField, size_hw: Size) -> MotionField:
    """One vector per cell: enough for a smooth field, at a tenth of the cost of averaging."""
    height, width = size_hw
    rows = (np.arange(height) * field.shape[0] + field.shape[0] // 2) // height
    columns = (np.arange(width) * field.shape[1] + field.shape[1] // 2) // width
    scale = np.array((width / field.shape[1], height / field.shape[0]), np.float32)
    return np.asarray(field[rows[:, None], columns] * scale, np.float32)


def _statistics(coarse: MotionField, current: NDArray[np.uint8], previous: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = current.shape
    warped = cv2.remap(previous, *sampling_map(coarse), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    relative = np.asarray(coarse / np.array((width, height), np.float32), np.float32)
    deviation = np.asarray(relative - np.array(cv2.mean(relative)[:2], np.float32), np.float32)
    statistics = np.empty((4, height, width), np.float32)
    statistics[0] = cv2.magnitude(relative[..., 0], relative[..., 1])
    statistics[1] = cv2.magnitude(deviation[..., 0], deviation[..., 1])
    statistics[2] = cv2.absdiff(current, np.asarray(warped, np.uint8))
    statistics[3] = cv2.absdiff(current, previous)
    statistics[2:] /= 255
    return statistics
