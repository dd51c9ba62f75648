"""Streaming accuracy: what is right when the world looks, not when the network is done."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.metrics.counting import count_pairs, intersection_over_union, mean_of_defined
from edge_vseg.analysis.metrics.label_checks import check_classes, check_ids, check_pair, check_same_video
from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID, LabelMap

TIE_PERIODS = 1e-6
"""Moments closer than this share of a frame period are one, for ``1000 / rate`` milliseconds are a rounded period."""


class StreamingMiou:
    """mIoU between the truth of each frame and the newest map finished by its capture; memory does not grow.

    Frame k is captured at ``k / rate``. One worker makes the maps; when it is free it takes the newest frame that no
    map was begun of, and it finishes what it began. A frame that a newer one replaces before the worker is free is
    dropped. At a tie things happen in this order: the worker finishes, the frame is captured, the worker takes it (and
    not the one that waited), the truth is compared. So a map finished exactly at a capture counts for it, and latency 0
    gives the ordinary mIoU.

    Pixels without a prediction, which are all of them before the first map is finished, count as missed by their true
    class: they are in its union and in no other's.

    Args:
        classes: Number of classes.
        rate: Frames per second, above 0.

    Raises:
        OptionError: If one of them is out of range.

    Reference: Li et al., Towards Streaming Perception, ECCV 2020: their streaming accuracy, with mIoU for AP, and no
    forecasting.
    """

    def __init__(self, classes: int, rate: float) -> None:
        check_classes(classes)
        if not (rate > 0 and math.isfinite(rate)):
            raise OptionError(f"rate must be finite and above 0 frames per second, got {rate!r}; 15 or 30 are usual")
        self._classes = classes
        self._rate = rate
        self._counts: NDArray[np.int64] = np.zeros((classes, classes + 1), np.int64)
        self._dropped, self._unanswered = 0, 0
        self._ages, self._answered = 0, 0
        self._size_hw: tuple[int, ...] | None = None
        self.cut()

    def add(self, truth: LabelMap, labels: LabelMap, latency_ms: float) -> None:
        """The next frame of the video is captured.

        Args:
            truth: ``(H, W)`` uint8 of this frame; pixels of :data:`~edge_vseg.types.IGNORE_ID` do not count.
            labels: ``(H, W)`` uint8, what the network says of this frame, whenever it is done;
                :data:`~edge_vseg.types.IGNORE_ID` is no prediction.
            latency_ms: How long it takes to make them, milliseconds; 0 and more.

        Raises:
            OptionError: If one is no label map, shapes differ, a class is unknown, or the latency is negative or not
                finite. Then the frame was not captured.
        """
        check_pair(truth, labels)
        check_ids("truth", truth, self._classes)
        check_ids("labels", labels, self._classes)
        check_same_video(truth.shape, self._size_hw, "call cut() before its first frame")
        if not (latency_ms >= 0 and math.isfinite(latency_ms)):
            raise OptionError(f"latency_ms must be finite and not negative, got {latency_ms!r}; give end minus begin")
        self._size_hw = truth.shape
        # A copy, for a segmenter may write its next map into the same memory.
        self._capture(_Task(seq=self._seq, labels=labels.copy(), periods=latency_ms * self._rate / 1000))
        self._compare(truth)
        self._seq += 1

    def cut(self) -> None:
        """The next frame is frame 0 of another video; what is not finished by now never will be."""
        self._seq = 0
        self._size_hw = None
        self._shown: _Task | None = None
        self._running: _Task | None = None
        self._waiting: _Task | None = None
        # When the running task ends, in periods from the capture of the present frame.
        self._end = 0.0

    def _capture(self, task: _Task) -> None:
        self._end -= 1
        self._finish()
        if self._running is None:
            self._begin(task, 0.0)
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
                self._begin(waiting, self._end)
            else:
                self._dropped += 1

    def _begin(self, task: _Task, moment: float) -> None:
        self._running, self._end = task, moment + task.periods

    def _compare(self, truth: LabelMap) -> None:
        if self._shown is None:
            self._unanswered += 1
            self._counts += count_pairs(truth, np.full_like(truth, IGNORE_ID), self._classes)
            return
        self._answered += 1
        self._ages += self._seq - self._shown.seq
        self._counts += count_pairs(truth, self._shown.labels, self._classes)

    @property
    def iou(self) -> NDArray[np.float64]:
        """``(C,)`` by class over all frames; NaN where a class was neither in the truth nor shown."""
        return intersection_over_union(self._counts)

    @property
    def miou(self) -> float:
        """Mean over the classes that occur in the truth or in what was shown; NaN if none does."""
        return mean_of_defined(self.iou)

    @property
    def dropped(self) -> int:
        """Frames that were never processed, for a newer one came first; not those that still wait."""
        return self._dropped

    @property
    def unanswered(self) -> int:
        """Frames captured before any map was finished."""
        return self._unanswered

    @property
    def mean_age_frames(self) -> float:
        """Frames since the one whose map was shown, mean over the other frames; NaN if there are none."""
        return self._ages / self._answered if self._answered else math.nan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Task:
    seq: int
    labels: LabelMap
    periods: float
