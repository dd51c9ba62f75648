"""Temporal consistency: whether labels stay the same along the motion. Needs no ground truth."""

from __future__ import annotations

import cv2
import numpy as np

from edge_vseg.analysis.metrics.counting import RunningMean, count_pairs, intersection_over_union, mean_of_defined
from edge_vseg.analysis.metrics.label_checks import check_classes, check_ids, check_map, check_pair, check_same_video
from edge_vseg.errors import OptionError
from edge_vseg.motion import sampling_map
from edge_vseg.types import IGNORE_ID, LabelMap, Mask, MotionField


class TemporalConsistency:
    """Compares each map with the previous one, warped along the motion, in constant memory.

    A pixel counts if it is visible in both frames and has a class in both maps.

    Args:
        classes: Number of classes.

    Raises:
        OptionError: If it is not 1 to 255.

    Reference: Varghese et al., Unsupervised Temporal Consistency Metric for Video Segmentation in Highly-Automated
    Driving, CVPR workshops 2020. Theirs is :attr:`consistency`, with a flow network and without visibility; the
    two flicker rates are our own.
    """

    def __init__(self, classes: int) -> None:
        check_classes(classes)
        self._classes = classes
        self._previous: LabelMap | None = None
        self._previous_truth: LabelMap | None = None
        self._miou = RunningMean()
        self._flicker = RunningMean()
        self._needless_flicker = RunningMean()

    def add(
        self,
        labels: LabelMap,
        motion: MotionField | None,
        visible: Mask | None = None,
        truth: LabelMap | None = None,
    ) -> None:
        """Add a frame, and compare it with the previous one.

        Args:
            labels: ``(H, W)`` uint8, the prediction; pixels of :data:`~edge_vseg.types.IGNORE_ID` do not count.
            motion: ``(H, W, 2)`` float32 in pixels, to the previous frame; ``None`` for the first frame and after a
                cut, where nothing is compared.
            visible: ``(H, W)`` bool, false where the previous frame does not show the same surface; ``None`` if that
                is unknown. Pixels that come from outside the image never count.
            truth: ``(H, W)`` uint8, for :attr:`needless_flicker`, which counts pairs of frames with truth.

        Raises:
            OptionError: If a shape or dtype is not as above, a class is unknown, or the motion is not finite. Then
                nothing is counted, and the previous frame stays the previous one.
        """
        self._check(labels, motion, visible, truth)
        if motion is not None and self._previous is not None:
            warp = _NearestWarp(motion)
            warped = warp(self._previous)
            warped[labels == IGNORE_ID] = IGNORE_ID
            if visible is not None:
                warped[~visible] = IGNORE_ID
            self._count(warped, labels)
            if truth is not None and self._previous_truth is not None:
                self._count_needless(warped, labels, warp(self._previous_truth), truth)
        # Copies, because a segmenter may reuse the memory for its next map.
        self._previous = labels.copy()
        self._previous_truth = None if truth is None else truth.copy()

    def _count(self, warped: LabelMap, labels: LabelMap) -> None:
        counts = count_pairs(warped, labels, self._classes)
        total = int(counts.sum())
        if not total:
            return
        self._miou.add(mean_of_defined(intersection_over_union(counts)))
        self._flicker.add(total - int(np.trace(counts)), total)

    def _count_needless(self, warped: LabelMap, labels: LabelMap, warped_truth: LabelMap, truth: LabelMap) -> None:
        constant = (warped_truth == truth) & (truth != IGNORE_ID) & (warped != IGNORE_ID)
        self._needless_flicker.add(
            int(np.count_nonzero(constant & (warped != labels))), int(np.count_nonzero(constant))
        )

    @property
    def pairs(self) -> int:
        """Pairs of frames with a pixel to compare."""
        return self._miou.count

    @property
    def consistency(self) -> float:
        """Mean over :attr:`pairs` of the mIoU between warped and present map; NaN without pairs.

        The mIoU of a pair is over the classes that occur in either map.
        """
        return self._miou.value

    @property
    def flicker_rate(self) -> float:
        """Share of the compared pixels whose class changes along the motion; NaN without pixels."""
        return self._flicker.value

    @property
    def needless_flicker(self) -> float:
        """The same share among pixels whose true class does not change along the motion; NaN without pixels."""
        return self._needless_flicker.value

    def _check(
        self, labels: LabelMap, motion: MotionField | None, visible: Mask | None, truth: LabelMap | None
    ) -> None:
        check_map("labels", labels)
        check_ids("labels", labels, self._classes)
        if truth is not None:
            check_pair(truth, labels)
            check_ids("truth", truth, self._classes)
        if motion is not None:
            previous_hw = None if self._previous is None else self._previous.shape
            check_same_video(labels.shape, previous_hw, "give its first frame with motion=None")
            _check_motion(motion, labels.shape)
        if visible is not None and (visible.shape != labels.shape or visible.dtype != np.bool_):
            raise OptionError(
                f"visible: expected {labels.shape} bool, got {visible.shape} {visible.dtype}; true where a pixel "
                "is seen in both frames, or None"
            )


class _NearestWarp:
    """Warps label maps along one motion field by nearest neighbour."""

    def __init__(self, motion: MotionField) -> None:
        x, y = sampling_map(np.asarray(motion, np.float32))
        self._coordinates, self._remainders = cv2.convertMaps(x, y, cv2.CV_16SC2, nninterpolation=True)

    def __call__(self, labels: LabelMap) -> LabelMap:
        """``(H, W)`` uint8; :data:`~edge_vseg.types.IGNORE_ID` for pixels from outside the image."""
        border = cv2.BORDER_CONSTANT
        warped = cv2.remap(
            labels, self._coordinates, self._remainders, cv2.INTER_NEAREST, borderMode=border, borderValue=IGNORE_ID
        )
        return np.asarray(warped, np.uint8)


def _check_motion(motion: MotionField, size_hw: tuple[int, ...]) -> None:
    if motion.shape != (*size_hw, 2) or motion.dtype.kind != "f":
        raise OptionError(
            f"motion: expected {(*size_hw, 2)} float32, got {motion.shape} {motion.dtype}; "
            "resize the field with edge_vseg.motion.resize_field"
        )
    if not np.isfinite(motion).all():
        raise OptionError(
            "motion: expected finite values, got NaN or infinity; set them to 0, and visible to false there"
        )
