"""The confusion matrix and what is read off it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID, LabelMap


class Confusion:
    """A confusion matrix that is fed label maps one by one; memory does not grow.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self.matrix: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, truth: LabelMap, prediction: LabelMap) -> None:
        """Count one pair; pixels whose truth is :data:`IGNORE_ID` do not count.

        Args:
            truth: ``(H, W)`` uint8, rows of the matrix.
            prediction: ``(H, W)`` uint8, columns.

        Raises:
            OptionError: If the two differ in shape, or a counted pixel has a class that the matrix lacks.
        """
        if truth.shape != prediction.shape:
            raise OptionError(f"expected two maps of one shape, got {truth.shape} and {prediction.shape}")
        classes = len(self.matrix)
        valid = truth != IGNORE_ID
        rows, columns = truth[valid], prediction[valid]
        largest = max(rows.max(initial=0), columns.max(initial=0))
        if largest >= classes:
            raise OptionError(f"expected class ids below {classes}, got {largest}; do both maps belong to them?")
        pairs = rows.astype(np.int64) * classes + columns
        self.matrix += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    @property
    def pixel_accuracy(self) -> float:
        """Share of pixels with the right class; 1.0 if there were none."""
        total = int(self.matrix.sum())
        return int(np.trace(self.matrix)) / total if total else 1.0

    @property
    def iou(self) -> NDArray[np.float64]:
        """``(C,)`` intersection over union by class; NaN where a class is in neither map."""
        hits = np.diag(self.matrix).astype(np.float64)
        union = self.matrix.sum(0) + self.matrix.sum(1) - hits
        result = np.full_like(hits, np.nan)
        np.divide(hits, union, out=result, where=union > 0)
        return result

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that occur; 1.0 if none does."""
        iou = self.iou
        return float(np.nanmean(iou)) if not np.all(np.isnan(iou)) else 1.0
