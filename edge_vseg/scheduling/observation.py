"""Observe the motion of each frame: the field to an older frame and its statistics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion import CODEC, STILL, MotionEstimator, motion_estimator, resize_field, sampling_map
from edge_vseg.motion.field import sampling_grid
from edge_vseg.motion.grey_pyramid import GreyPyramid, shrunk_size
from edge_vseg.motion.still_gate import is_still
from edge_vseg.scheduling.situation import MotionStatistics
from edge_vseg.scheduling.steps import Step, motion_step
from edge_vseg.types import Image, MotionField, Size

CODEC_FALLBACK = "dis"
"""Estimator for frames without motion vectors, such as those that begin a group of pictures."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionObservation:
    """Motion from a frame to the previous one.

    Attributes:
        motion: ``(h, w, 2)`` float32 field in cells of its own size.
        coarse: ``(h', w', 2)`` float32, the same in cells of the statistics.
        statistics: ``(4, h', w')`` float32: speed, spread, unexplained, changed, as in :class:`MotionStatistics`.
        estimator: Name of the estimator; ``still`` where nothing has moved, whatever was asked for.
    """

    motion: MotionField
    coarse: MotionField
    statistics: NDArray[np.float32]
    estimator: str

    def mean_statistics(self, mean: Callable[[NDArray[np.float32]], float]) -> MotionStatistics:
        """The statistics, averaged by a function of one of them."""
        return MotionStatistics(*map(mean, self.statistics))


class MotionObserver:
    """Estimates the motion from each frame to the previous one.

    A frame that differs from the previous one by no more than noise has not moved: no flow is computed, and the next
    frame is compared with the same older one again, so that slow motion is found as soon as it has added up.

    Args:
        frame_hw: Size of the network's input; motion is estimated at a fraction of it.
        field_hw: Size of the fields.
        on_duration: Called with the step and each duration in ns.
        clock: Time in ns.

    Attributes:
        statistics_hw: Size of the statistics.
    """

    def __init__(
        self,
        frame_hw: Size,
        field_hw: Size,
        *,
        on_duration: Callable[[Step, int], None] = lambda step, duration_ns: None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._frame_hw = frame_hw
        self._field_hw = field_hw
        self._on_duration = on_duration
        self._clock = clock
        self._estimators: dict[str, MotionEstimator] = {}
        self._reference: GreyPyramid | None = None
        self._spare = GreyPyramid(frame_hw)
        self._vectors: MotionField | None = None
        self._lost = False
        self.statistics_hw: Size = self._spare.eighth.shape
        self._still = _still_observation(field_hw, self.statistics_hw)

    def __call__(self, image: Image, name: str, codec: MotionField | None = None) -> MotionObservation | None:
        """Estimate the motion of the next frame.

        Args:
            image: ``(H, W, 3)`` uint8 BGR, any size.
            name: Motion estimator, one of :data:`edge_vseg.motion.ESTIMATORS` or ``codec``.
            codec: Motion vectors of the codec to the previous frame; without them ``codec`` falls back to ``dis``.

        Returns:
            The motion, whose arrays are read-only if nothing has moved; ``None`` for the first frame.
        """
        begin_ns = self._clock()
        current, reference = self._spare, self._reference
        current.fill(image)
        if reference is None:
            self._reference, self._spare = current, GreyPyramid(self._frame_hw)
            self._vectors, self._lost = None, False
            return None
        if is_still(current.eighth, reference.eighth):
            observation = self._still
            self._vectors = None if codec is None else self._to_reference(codec)
            self._lost = self._vectors is None
        else:
            observation = self._observe(current, reference, name, codec)
            # Not before: where an estimator fails, the next motion spans both frames.
            self._reference, self._spare = current, reference
            self._vectors, self._lost = None, False
        self._on_duration(motion_step(observation.estimator), self._clock() - begin_ns)
        return observation

    def _observe(
        self, current: GreyPyramid, reference: GreyPyramid, name: str, codec: MotionField | None
    ) -> MotionObservation:
        vectors = None if codec is None else self._to_reference(codec)
        if name == CODEC and vectors is not None:
            field = vectors
        else:
            name = CODEC_FALLBACK if name == CODEC else name
            estimator = self._estimator(name)
            size_hw = shrunk_size(self._frame_hw, estimator.shrink)
            field = estimator(current.at(size_hw), reference.at(size_hw))
        coarse = resize_field(field, self.statistics_hw)
        return MotionObservation(
            motion=resize_field(field, self._field_hw),
            coarse=coarse,
            statistics=_statistics(coarse, current.eighth, reference.eighth),
            estimator=name,
        )

    def _to_reference(self, codec: MotionField) -> MotionField | None:
        """Vectors to the reference: that is older than the previous frame after pictures that counted as still.

        ``None`` if those of one of them are missing.
        """
        older = self._vectors
        if self._lost or (older is not None and older.shape != codec.shape):
            return None
        field = np.array(codec, np.float32)  # the caller may use his own again
        if older is None:
            return field
        x, y = sampling_map(field)
        further = cv2.remap(older, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(field + further, np.float32)

    def forget(self) -> None:
        """Forget the last frame: the next one does not follow it."""
        self._reference = None

    def _estimator(self, name: str) -> MotionEstimator:
        if name not in self._estimators:
            self._estimators[name] = motion_estimator(name)
        return self._estimators[name]


def _still_observation(field_hw: Size, statistics_hw: Size) -> MotionObservation:
    zeros = [np.zeros(shape, np.float32) for shape in ((*field_hw, 2), (*statistics_hw, 2), (4, *statistics_hw))]
    for array in zeros:
        array.flags.writeable = False
    motion, coarse, statistics = zeros
    return MotionObservation(motion=motion, coarse=coarse, statistics=statistics, estimator=STILL)


def _statistics(coarse: MotionField, current: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = current.shape
    positions = cv2.add(coarse, sampling_grid((height, width)))
    warped = cv2.remap(reference, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    statistics = np.empty((4, height, width), np.float32)
    # Not cv2.split, which takes four times as long.
    x, y = coarse[..., 0] * np.float32(1 / width), coarse[..., 1] * np.float32(1 / height)
    _length(x, y, statistics[0])
    mean_x, mean_y = (np.add.reduce(plane, axis=None) / np.float32(plane.size) for plane in (x, y))
    _length(x - mean_x, y - mean_y, statistics[1])
    np.multiply(cv2.absdiff(current, warped), np.float32(1 / 255), out=statistics[2])
    np.multiply(cv2.absdiff(current, reference), np.float32(1 / 255), out=statistics[3])
    return statistics


def _length(x: NDArray[np.float32], y: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    # Not cv2.magnitude, whose last bits depend on where in memory the arrays lie: decisions must be reproducible.
    np.sqrt(x * x + y * y, out=out)
