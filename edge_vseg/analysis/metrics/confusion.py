"""The confusion matrix, and the metrics that follow from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.metrics.counting import count_pairs, intersection_over_union, mean_of_defined, ratio
from edge_vseg.analysis.metrics.label_checks import check_classes, unknown_class
from edge_vseg.types import IGNORE_ID, LabelMap


class Confusion:
    """A confusion matrix; add label maps one by one, in constant memory.

    Args:
        classes: Number of classes.

    Raises:
        OptionError: If it is not 1 to 255.
    """

    def __init__(self, classes: int) -> None:
        check_classes(classes)
        self.matrix: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, truth: LabelMap, prediction: LabelMap) -> None:
        """Add one pair; pixels whose truth is :data:`IGNORE_ID` do not count.

        Args:
            truth: ``(H, W)`` uint8, rows of the matrix.
            prediction: ``(H, W)`` uint8, columns.

        Raises:
            OptionError: If one is not a label map, the two differ in shape, or a counted pixel has an unknown class.
                Then nothing is counted.
        """
        classes = len(self.matrix)
        counts = count_pairs(truth, prediction, classes)
        if counts[:, classes].any():
            raise unknown_class(classes, IGNORE_ID)
        self.matrix += counts[:, :classes]

    @property
    def pixel_accuracy(self) -> float:
        """Share of pixels with the correct class; 1.0 without pixels."""
        total = int(self.matrix.sum())
        return int(np.trace(self.matrix)) / total if total else 1.0

    @property
    def iou(self) -> NDArray[np.float64]:
        """``(C,)`` intersection over union by class; NaN where a class is in neither map."""
        return intersection_over_union(self.matrix)

    @property
    def dice(self) -> NDArray[np.float64]:
        """``(C,)`` Dice coefficient by class, the F1 score over pixels; NaN where a class is in neither map."""
        return ratio(2 * np.diagonal(self.matrix), self.matrix.sum(0) + self.matrix.sum(1))

    @property
    def precision(self) -> NDArray[np.float64]:
        """``(C,)`` share of the pixels predicted as a class that have it; NaN for classes never predicted."""
        return ratio(np.diagonal(self.matrix), self.matrix.sum(0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """``(C,)`` share of the pixels of a class that are predicted as it; NaN for classes not in the truth."""
        return ratio(np.diagonal(self.matrix), self.matrix.sum(1))

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that occur; 1.0 if none does."""
        return mean_of_defined(self.iou, 1.0)

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the classes that occur in either map; 1.0 if none does."""
        return mean_of_defined(self.dice, 1.0)

    @property
    def mean_precision(self) -> float:
        """Mean precision over the predicted classes; 1.0 if there are none."""
        return mean_of_defined(self.precision, 1.0)

    @property
    def mean_recall(self) -> float:
        """Mean recall over the classes in the truth; 1.0 if there are none."""
        return mean_of_defined(self.recall, 1.0)
