"""Boundary F1: how well the outlines of the classes match."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.metrics.counting import RunningMean, mean_of_defined
from edge_vseg.analysis.metrics.label_checks import check_classes, check_pair, unknown_class
from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID, LabelMap, Mask


class BoundaryF:
    """Boundary F1 by class and image; add images one by one, in constant memory.

    A pixel is on the boundary of its class if one of its four neighbours has another class. Ignored pixels, and what
    lies outside the image, count neither as boundary nor as neighbour, in both maps. A boundary pixel is matched if the
    other map has a boundary pixel of the same class **closer** than the tolerance.

    A class with a boundary in only one map has F1 = 0 in that image; with none in both, it is left out of that image.

    Args:
        classes: Number of classes.
        tolerance: Share of the image's diagonal, above 0 and below 1; the usual 0.0075 is 4.5 pixels at 480x360.

    Raises:
        OptionError: If one of them is out of range.

    Reference: Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC 2013, with one score
    per image and class; the rules for ignored pixels and the neighbourhood are our own.
    """

    def __init__(self, classes: int, tolerance: float = 0.0075) -> None:
        check_classes(classes)
        if not 0 < tolerance < 1:
            raise OptionError(
                f"tolerance must be a share of the image's diagonal above 0 and below 1, got {tolerance!r}; "
                "0.0075 is usual; divide pixels by the diagonal"
            )
        self._classes = classes
        self._tolerance = tolerance
        self._sums = np.zeros(classes)
        self._images = np.zeros(classes, np.int64)
        self._image_f1 = RunningMean()

    def add(self, truth: LabelMap, labels: LabelMap) -> None:
        """Add one image.

        Args:
            truth: ``(H, W)`` uint8; pixels of :data:`~edge_vseg.types.IGNORE_ID` do not count.
            labels: ``(H, W)`` uint8, the prediction.

        Raises:
            OptionError: If one is not a label map, the two differ in shape, or a counted pixel has an unknown class.
                Then nothing is counted.
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
            self._image_f1.add(mean_of_defined(scores))

    @property
    def f1(self) -> NDArray[np.float64]:
        """``(C,)`` mean over the images in which a class has a boundary; NaN if there are none."""
        result = np.full(self._classes, np.nan)
        np.divide(self._sums, self._images, out=result, where=self._images > 0)
        return result

    @property
    def images(self) -> NDArray[np.int64]:
        """``(C,)`` number of images in the mean of :attr:`f1`."""
        return self._images.copy()

    @property
    def mean_f1(self) -> float:
        """Mean over images of the mean over the classes with a boundary in them; NaN without boundaries."""
        return self._image_f1.value


def class_edges(labels: LabelMap, counted: Mask) -> LabelMap:
    """Class ids on the boundaries.

    Args:
        labels: ``(H, W)`` uint8.
        counted: ``(H, W)`` bool, false for ignored pixels.

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
    """A disk of ones: pixels closer to the centre than the radius."""
    reach = math.ceil(radius_px) - 1
    steps = np.arange(-reach, reach + 1)
    return (np.hypot(steps[:, None], steps) < radius_px).astype(np.uint8)


def _f1(true_edge: Mask, edge: Mask, disk: NDArray[np.uint8]) -> float:
    # A dilation finds the pixels near an edge. Inside the bounding box it takes a tenth of the time of a distance
    # transform, and it is exact too.
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
