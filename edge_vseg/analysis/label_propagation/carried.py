"""Labels that were carried along the motion, with their confidence; and two of them made one."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.label_propagation.clip_motion import CheckedMotion
from edge_vseg.motion.field import resize_field, sampling_map
from edge_vseg.types import IGNORE_ID, Image, LabelMap

CLEAR_LEAD = 0.25
"""Confidence by which one of two different labels has to lead to be believed."""
STEP_ERROR_PX = 0.5
"""How far a track of one frame is off where nothing speaks against it: by what is drawn, and by whole pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CarriedLabels:
    """Labels of a frame, some of them from another.

    Attributes:
        labels: ``(H, W)`` uint8 class ids; 255 where there is none.
        confidence: ``(H, W)`` float32 from 0 to 1; 0 where there is no label.
    """

    labels: LabelMap
    confidence: NDArray[np.float32]

    @classmethod
    def given(cls, labels: LabelMap) -> CarriedLabels:
        """Labels that people drew: the confidence is 1."""
        return cls(labels=labels, confidence=(labels != IGNORE_ID).astype(np.float32))

    def kept(self, min_confidence: float) -> CarriedLabels:
        """Without the labels of less confidence."""
        return _where(self.confidence >= min_confidence, self)


def carry_labels(labels: LabelMap, motion: CheckedMotion) -> CarriedLabels:
    """Carry labels along the motion, nearest neighbour, with a confidence for each pixel.

    The confidence is the agreement of the images along the track times how surely the label holds although the track is
    off by ``e`` pixels, ``1 - 2 ** -(d / e) ** 2`` at ``d`` pixels from a border of classes. ``e`` is the gap of the
    motion there and back. Tried, and worse: the gap against a limit, as in occlusion checks. On road and sky, where
    there is nothing to match, it is large and the labels are right: on CamVid it left out more right pixels than wrong
    ones.

    Args:
        labels: ``(H, W)`` uint8 class ids of the labelled frame.
        motion: From the present frame to it, of any size.

    Returns:
        The labels of the present frame.

    Reference: Zhu et al., Improving Semantic Segmentation via Video Propagation and Label Relaxation, CVPR 2019,
    section 3.1, with optical flow instead of their learnt motion vectors; the confidence is this project's.
    """
    height, width = labels.shape
    x, y = sampling_map(resize_field(motion.field, (height, width)))
    warped = cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    distance = cv2.remap(_border_distance(labels), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    agreement = cv2.resize(motion.agreement, (width, height), interpolation=cv2.INTER_LINEAR)
    gap = cv2.resize(motion.gap, (width, height), interpolation=cv2.INTER_LINEAR)
    cell_px = width / motion.field.shape[1]
    squared_px = np.asarray(gap, np.float32) * cell_px**2 + motion.steps * STEP_ERROR_PX**2
    held = 1 - np.exp2(-np.square(distance) / squared_px)
    found = CarriedLabels(labels=np.asarray(warped, np.uint8), confidence=np.asarray(agreement * held, np.float32))
    return _where(found.labels != IGNORE_ID, found)


def _border_distance(labels: LabelMap) -> NDArray[np.float32]:
    """Pixels to the nearest border of classes, where 255 counts as one; a half beside it."""
    near = np.ones((3, 3), np.uint8)
    beside = np.asarray(cv2.dilate(labels, near)) != np.asarray(cv2.erode(labels, near))
    distance = cv2.distanceTransform((~beside).astype(np.uint8), cv2.DIST_L2, 5)
    # Without any border OpenCV gives its largest number, whose square is none.
    return np.asarray(np.minimum(distance + np.float32(0.5), 1e4), np.float32)


def carry_image(image: Image, motion: CheckedMotion) -> Image:
    """Carry an image as its labels are carried, bilinear; what leads out of it repeats its edge.

    Reference: Zhu et al., CVPR 2019, section 3.1, "joint image-label propagation": a pixel and its label stay together
    where the motion is wrong.
    """
    x, y = sampling_map(resize_field(motion.field, (image.shape[0], image.shape[1])))
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def merge_carried(first: CarriedLabels, second: CarriedLabels, *, clear_lead: float = CLEAR_LEAD) -> CarriedLabels:
    """Labels that reach a frame from two sides.

    Equal labels keep the higher confidence. Of different ones the one that leads clearly is believed, and neither if
    none does; a label is believed where the other side has none.

    Args:
        first: From one side.
        second: From the other.
        clear_lead: Confidence by which a label has to lead.
    """
    leads = first.confidence >= second.confidence
    labels = np.where(leads, first.labels, second.labels)
    confidence = np.maximum(first.confidence, second.confidence)
    both = (first.labels != IGNORE_ID) & (second.labels != IGNORE_ID)
    unclear = both & (first.labels != second.labels)
    unclear &= np.abs(first.confidence - second.confidence) < clear_lead
    return _where(~unclear, CarriedLabels(labels=labels, confidence=confidence))


def _where(kept: NDArray[np.bool_], carried: CarriedLabels) -> CarriedLabels:
    return CarriedLabels(
        labels=np.where(kept, carried.labels, np.uint8(IGNORE_ID)),
        confidence=np.where(kept, carried.confidence, np.float32(0)),
    )
