"""Streaming accuracy: label maps compared with the world at the time when they are finished."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.metrics.counting import RunningMean, count_pairs, intersection_over_union, mean_of_defined
from edge_vseg.analysis.metrics.label_checks import check_classes, check_ids, check_pair, check_same_video
from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID, LabelMap

TIE_PERIODS = 1e-6
"""Times closer than this share of a frame period are equal, because ``1000 / rate`` milliseconds is rounded."""


class StreamingMiou:
    """mIoU between the truth of each frame and the newest map finished by its capture, in constant memory.

    Frame k is captured at ``k / rate``. One worker makes the maps: when free it takes the newest waiting frame, and it
    finishes what it started. A waiting frame that a newer one replaces is dropped. At equal times, in this order: the
    worker finishes, the frame is captured, the worker takes it (not the one that waited), the truth is compared. So a
    map finished exactly at a capture counts for it, and latency 0 gives the ordinary mIoU.

    Pixels without a prediction (all of them before the first map is finished) count as false negatives of their class.

    Args:
        classes: Number of classes.
        rate: Frames per second, above 0.

    Raises:
        OptionError: If one of them is out of range.

    Reference: Li et al., Towards Streaming Perception, ECCV 2020: their streaming accuracy with mIoU instead of AP,
    without forecasting.
    """

    def __init__(self, classes: int, rate: float) -> None:
        check_classes(classes)
        if not (rate > 0 and math.isfinite(rate)):
            raise OptionError(f"rate must be finite and above 0 frames per second, got {rate!r}; 15 or 30 are usual")
        self._classes = classes
        self._rate = rate
        self._counts: NDArray[np.int64] = np.zeros((classes, classes + 1), np.int64)
        self._dropped, self._unanswered = 0, 0
        self._age = RunningMean()
        self._size_hw: tuple[int, ...] | None = None
        self.cut()

    def add(self, truth: LabelMap, labels: LabelMap, latency_ms: float) -> None:
        """Add the next frame of the video.

        Args:
            truth: ``(H, W)`` uint8 of this frame; pixels of :data:`~edge_vseg.types.IGNORE_ID` do not count.
            labels: ``(H, W)`` uint8, the prediction for this frame; :data:`~edge_vseg.types.IGNORE_ID` for none.
            latency_ms: Milliseconds to make it, at least 0.

        Raises:
            OptionError: If one is not a label map, shapes differ, a class is unknown, or the latency is negative or not
                finite. Then the frame is not added.
        """
        check_pair(truth, labels)
        check_ids("truth", truth, self._classes)
        check_ids("labels", labels, self._classes)
        check_same_video(truth.shape, self._size_hw, "call cut() before its first frame")
        if not (latency_ms >= 0 and math.isfinite(latency_ms)):
            raise OptionError(f"latency_ms must be finite and not negative, got {latency_ms!r}; give end minus start")
        self._size_hw = truth.shape
        # A copy, because a segmenter may reuse the memory for its next map.
        self._capture(_Task(seq=self._seq, labels=labels.copy(), periods=latency_ms * self._rate / 1000))
        self._compare(truth)
        self._seq += 1

    def cut(self) -> None:
        """The next frame is frame 0 of another video; unfinished maps are discarded."""
        self._seq = 0
        self._size_hw = None
        self._shown: _Task | None = None
        self._running: _Task | None = None
        self._waiting: _Task | None = None
        # When the running task ends, in frame periods after the capture of the present frame.
        self._end = 0.0

    def _capture(self, task: _Task) -> None:
        self._end -= 1
        self._finish()
        if self._running is None:
            self._start(task, 0.0)
            self._finish()
        else:
            self._dropped += self._waiting is not None
            self._waiting = task

    def _finish(self) -> None:
        while self._running is not None and self._end <= TIE_PERIODS:
            self._shown, self._running = self._running, None
            waiting, self._waiting = self._waiting, None
            if waiting is None:
                continue
            if self._end < -TIE_PERIODS:
                self._start(waiting, self._end)
            else:
                self._dropped += 1

    def _start(self, task: _Task, at: float) -> None:
        self._running, self._end = task, at + task.periods

    def _compare(self, truth: LabelMap) -> None:
        if self._shown is None:
            self._unanswered += 1
            self._counts += count_pairs(truth, np.full_like(truth, IGNORE_ID), self._classes)
            return
        self._age.add(self._seq - self._shown.seq)
        self._counts += count_pairs(truth, self._shown.labels, self._classes)

    @property
    def iou(self) -> NDArray[np.float64]:
        """``(C,)`` IoU by class over all frames; NaN for classes neither in the truth nor predicted."""
        return intersection_over_union(self._counts)

    @property
    def miou(self) -> float:
        """Mean over the classes that occur in the truth or the predictions; NaN if none does."""
        return mean_of_defined(self.iou)

    @property
    def dropped(self) -> int:
        """Frames never processed because a newer one replaced them; without a frame that still waits."""
        return self._dropped

    @property
    def unanswered(self) -> int:
        """Frames captured before the first map was finished."""
        return self._unanswered

    @property
    def mean_age_frames(self) -> float:
        """Mean age of the maps in frames, without the :attr:`unanswered` ones; NaN if there are none."""
        return self._age.value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Task:
    seq: int
    labels: LabelMap
    periods: float
