"""Temporal consistency: whether the map of a video stays the same along the motion, no truth needed."""

from __future__ import annotations

import math

import cv2
import numpy as np

from edge_vseg.analysis.metrics.counting import count_pairs, intersection_over_union, mean_of_defined
from edge_vseg.analysis.metrics.label_checks import check_classes, check_ids, check_map, check_pair, check_same_video
from edge_vseg.errors import OptionError
from edge_vseg.motion import sampling_map
from edge_vseg.types import IGNORE_ID, LabelMap, Mask, MotionField


class TemporalConsistency:
    """Compares each map with the one before, carried along the motion; memory does not grow.

    A pixel counts in a pair of frames if it is visible in both, and both maps have a class there.

    Args:
        classes: Number of classes.

    Raises:
        OptionError: If label maps cannot hold so many.

    Reference: Varghese et al., Unsupervised Temporal Consistency Metric for Video Segmentation in Highly-Automated
    Driving, CVPR workshops 2020. Theirs is :attr:`consistency`, with the flow of a network and no visibility; the
    two rates of flicker are this project's.
    """

    def __init__(self, classes: int) -> None:
        check_classes(classes)
        self._classes = classes
        self._before: LabelMap | None = None
        self._true_before: LabelMap | None = None
        self._sum = 0.0
        self._pairs = 0
        self._visible, self._changed = 0, 0
        self._steady, self._needless = 0, 0

    def add(
        self,
        labels: LabelMap,
        motion: MotionField | None,
        visible: Mask | None = None,
        truth: LabelMap | None = None,
    ) -> None:
        """Compare a frame with the one before.

        Args:
            labels: ``(H, W)`` uint8, the prediction; pixels of :data:`~edge_vseg.types.IGNORE_ID` do not count.
            motion: ``(H, W, 2)`` float32 in pixels, to the frame before; ``None`` for the first frame and after a cut:
                the frame is then compared with nothing.
            visible: ``(H, W)`` bool, false where the frame before did not show what is there now; ``None`` if that is
                not known. What comes from outside the picture never counts.
            truth: ``(H, W)`` uint8, for :attr:`needless_flicker` only, which counts pairs of frames that both have one.

        Raises:
            OptionError: If a shape or dtype is not as above, a class is unknown, or the motion is not finite. Then
                nothing is counted, and the frame before is still the one before.
        """
        self._check(labels, motion, visible, truth)
        if motion is not None and self._before is not None:
            way = _Way(motion)
            before = way.carry(self._before)
            before[labels == IGNORE_ID] = IGNORE_ID
            if visible is not None:
                before[~visible] = IGNORE_ID
            self._count(before, labels)
            if truth is not None and self._true_before is not None:
                self._count_needless(before, labels, way.carry(self._true_before), truth)
        # Copies, for a segmenter may write its next map into the same memory.
        self._before = labels.copy()
        self._true_before = None if truth is None else truth.copy()

    def _count(self, before: LabelMap, labels: LabelMap) -> None:
        counts = count_pairs(before, labels, self._classes)
        total = int(counts.sum())
        if not total:
            return
        self._sum += mean_of_defined(intersection_over_union(counts))
        self._pairs += 1
        self._visible += total
        self._changed += total - int(np.trace(counts))

    def _count_needless(self, before: LabelMap, labels: LabelMap, true_before: LabelMap, truth: LabelMap) -> None:
        steady = (true_before == truth) & (truth != IGNORE_ID) & (before != IGNORE_ID)
        self._steady += int(np.count_nonzero(steady))
        self._needless += int(np.count_nonzero(steady & (before != labels)))

    @property
    def pairs(self) -> int:
        """Pairs of frames that had a pixel to compare."""
        return self._pairs

    @property
    def consistency(self) -> float:
        """Mean over :attr:`pairs` of the mIoU between carried and present map; NaN if there were none.

        The mIoU of a pair is over the classes that occur in either map.
        """
        return self._sum / self._pairs if self._pairs else math.nan

    @property
    def flicker_rate(self) -> float:
        """Share of the compared pixels, over all pairs, whose class changed along the motion; NaN if none."""
        return self._changed / self._visible if self._visible else math.nan

    @property
    def needless_flicker(self) -> float:
        """The same share among the pixels whose true class did not change along the motion; NaN if there were none."""
        return self._needless / self._steady if self._steady else math.nan

    def _check(
        self, labels: LabelMap, motion: MotionField | None, visible: Mask | None, truth: LabelMap | None
    ) -> None:
        check_map("labels", labels)
        check_ids("labels", labels, self._classes)
        if truth is not None:
            check_pair(truth, labels)
            check_ids("truth", truth, self._classes)
        if motion is not None:
            before = None if self._before is None else self._before.shape
            check_same_video(labels.shape, before, "give its first frame with motion=None")
            _check_motion(motion, labels.shape)
        if visible is not None and (visible.shape != labels.shape or visible.dtype != np.bool_):
            raise OptionError(
                f"visible: expected {labels.shape} bool, got {visible.shape} {visible.dtype}; true where a pixel "
                "is seen in both frames, or None"
            )


class _Way:
    """Nearest-neighbour sampling along one motion field."""

    def __init__(self, motion: MotionField) -> None:
        x, y = sampling_map(np.asarray(motion, np.float32))
        self._places, self._rest = cv2.convertMaps(x, y, cv2.CV_16SC2, nninterpolation=True)

    def carry(self, labels: LabelMap) -> LabelMap:
        """``(H, W)`` uint8; :data:`~edge_vseg.types.IGNORE_ID` where it comes from outside."""
        border = cv2.BORDER_CONSTANT
        carried = cv2.remap(
            labels, self._places, self._rest, cv2.INTER_NEAREST, borderMode=border, borderValue=IGNORE_ID
        )
        return np.asarray(carried, np.uint8)


def _check_motion(motion: MotionField, size_hw: tuple[int, ...]) -> None:
    if motion.shape != (*size_hw, 2) or motion.dtype.kind != "f":
        raise OptionError(
            f"motion: expected {(*size_hw, 2)} float32, got {motion.shape} {motion.dtype}; "
            "edge_vseg.motion.resize_field brings a field to the size of the map"
        )
    if not np.isfinite(motion).all():
        raise OptionError(
            "motion: expected finite pixels, got NaN or infinity; set them to 0 and visible to false there"
        )
