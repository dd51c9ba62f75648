"""Boundary F1: whether the outlines of the classes are where they should be."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.metrics.counting import mean_of_defined
from edge_vseg.analysis.metrics.label_checks import check_classes, check_pair, unknown_class
from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID, LabelMap, Mask


class BoundaryF:
    """Boundary F1 by class and image, fed pair by pair; memory does not grow.

    A pixel is on the boundary of its class if one of its four neighbours is of another class. Ignored pixels are
    neither on a boundary nor such a neighbour, in the truth and in the prediction alike; nor is what lies outside the
    image. A boundary pixel is matched if the other map has one of the same class **closer** than the tolerance.

    A class whose boundary is in one map only has F1 = 0 in that image; where neither map has one, the class does not
    count in that image.

    Args:
        classes: Number of classes.
        tolerance: Share of the image's diagonal, above 0 and below 1; the usual 0.0075 is 4.5 pixels at 480x360.

    Raises:
        OptionError: If one of them is out of range.

    Reference: Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC 2013: one score
    per image and class, as there; ignored pixels and the neighbourhood are this project's choice.
    """

    def __init__(self, classes: int, tolerance: float = 0.0075) -> None:
        check_classes(classes)
        if not 0 < tolerance < 1:
            raise OptionError(
                f"tolerance must be a share of the image's diagonal above 0 and below 1, got {tolerance!r}; "
                "0.0075 is usual, pixels have to be divided by the diagonal"
            )
        self._classes = classes
        self._tolerance = tolerance
        self._sums = np.zeros(classes)
        self._images = np.zeros(classes, np.int64)
        self._image_sum = 0.0
        self._image_count = 0

    def add(self, truth: LabelMap, labels: LabelMap) -> None:
        """Count one image.

        Args:
            truth: ``(H, W)`` uint8; pixels of :data:`~edge_vseg.types.IGNORE_ID` do not count.
            labels: ``(H, W)`` uint8, the prediction.

        Raises:
            OptionError: If one is no label map, the two differ in shape, or a counted pixel has an unknown class. Then
                nothing is counted.
        """
        check_pair(truth, labels)
        counted = truth != IGNORE_ID
        largest = max(int(m.max(where=counted, initial=0)) for m in (truth, labels))
        if largest >= self._classes:
            raise unknown_class(self._classes, largest)
        true_edges, edges = class_edges(truth, counted), class_edges(labels, counted)
        scores = np.full(self._classes, np.nan)
        disk = _disk(self._tolerance * math.hypot(*truth.shape))
        for class_id in np.union1d(true_edges, edges):
            if class_id != IGNORE_ID:
                scores[class_id] = _f1(true_edges == class_id, edges == class_id, disk)
        defined = ~np.isnan(scores)
        self._sums[defined] += scores[defined]
        self._images += defined
        if defined.any():
            self._image_sum += mean_of_defined(scores)
            self._image_count += 1

    @property
    def f1(self) -> NDArray[np.float64]:
        """``(C,)`` mean over the images in which a class has a boundary; NaN where it never has."""
        result = np.full(self._classes, np.nan)
        np.divide(self._sums, self._images, out=result, where=self._images > 0)
        return result

    @property
    def images(self) -> NDArray[np.int64]:
        """``(C,)`` number of images that :attr:`f1` is the mean of."""
        return self._images.copy()

    @property
    def mean_f1(self) -> float:
        """Mean over images of the mean over the classes with a boundary in them; NaN if none had any."""
        return self._image_sum / self._image_count if self._image_count else math.nan


def class_edges(labels: LabelMap, counted: Mask) -> LabelMap:
    """The class ids of boundary pixels.

    Args:
        labels: ``(H, W)`` uint8.
        counted: ``(H, W)`` bool, false for pixels that are ignored.

    Returns:
        ``(H, W)`` uint8; :data:`~edge_vseg.types.IGNORE_ID` off the boundaries.
    """
    edge = np.zeros(labels.shape, np.bool_)
    right = (labels[:, 1:] != labels[:, :-1]) & counted[:, 1:] & counted[:, :-1]
    down = (labels[1:] != labels[:-1]) & counted[1:] & counted[:-1]
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    edge[1:] |= down
    edge[:-1] |= down
    return np.where(edge, labels, np.uint8(IGNORE_ID))


def _disk(radius_px: float) -> NDArray[np.uint8]:
    """Ones where the distance from the middle is less than the radius."""
    reach = math.ceil(radius_px) - 1
    steps = np.arange(-reach, reach + 1)
    return (np.hypot(steps[:, None], steps) < radius_px).astype(np.uint8)


def _f1(true_edge: Mask, edge: Mask, disk: NDArray[np.uint8]) -> float:
    # A dilation says at once which pixels have one of the edge within reach, and within the box around all of them it
    # takes a tenth of the distance transform's time; it is exact as well.
    x, y, width, height = cv2.boundingRect((true_edge | edge).view(np.uint8))
    true_box, box = (m[y : y + height, x : x + width] for m in (true_edge, edge))
    if not true_box.any() or not box.any():
        return 0.0
    precision = _share_near(box, true_box, disk)
    recall = _share_near(true_box, box, disk)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(edge: Mask, other: Mask, disk: NDArray[np.uint8]) -> float:
    near = cv2.dilate(other.view(np.uint8), disk, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return float(np.mean(near[edge]))
