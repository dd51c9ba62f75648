"""Count pairs of classes, and average: the accumulators that the metrics share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.metrics.label_checks import check_pair, unknown_class
from edge_vseg.types import IGNORE_ID, LabelMap

_EXACT_PIXELS = 1 << 24
"""OpenCV's histograms are float32, which is exact up to this count."""


def count_pairs(truth: LabelMap, labels: LabelMap, classes: int) -> NDArray[np.int64]:
    """Count the pixels of each true class by predicted class.

    Args:
        truth: ``(H, W)`` uint8; pixels of :data:`~edge_vseg.types.IGNORE_ID` do not count.
        labels: ``(H, W)`` uint8, the prediction; :data:`~edge_vseg.types.IGNORE_ID` for no prediction.
        classes: Number of classes.

    Returns:
        ``(C, C + 1)`` int64, rows are true classes; the last column counts pixels without a prediction.

    Raises:
        OptionError: If one is not a label map, the two differ in shape, or a counted pixel has an unknown class.
    """
    check_pair(truth, labels)
    table = _table(truth, labels)[:IGNORE_ID]
    counts = np.concatenate((table[:classes, :classes], table[:classes, IGNORE_ID:]), axis=1)
    if int(counts.sum()) != int(table.sum()):
        rows, columns = np.nonzero(table)
        raise unknown_class(classes, int(max(rows.max(), columns[columns != IGNORE_ID].max(initial=0))))
    return counts


def _table(truth: LabelMap, labels: LabelMap) -> NDArray[np.int64]:
    """``(256, 256)`` counts of all pairs of bytes, so that nothing has to be masked or checked before."""
    table = np.zeros((256, 256), np.int64)
    rows = max(1, _EXACT_PIXELS // truth.shape[1])
    for top in range(0, len(truth), rows):
        band = [np.ascontiguousarray(m[top : top + rows]) for m in (truth, labels)]
        table += cv2.calcHist(band, [0, 1], None, [256, 256], [0, 256, 0, 256]).astype(np.int64)
    return table


def intersection_over_union(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Jaccard index by class.

    Args:
        counts: ``(C, C)`` or ``(C, C + 1)`` int64 from :func:`count_pairs`.

    Returns:
        ``(C,)`` float64; NaN for classes that are neither in the truth nor predicted.
    """
    hits = np.diagonal(counts)
    return ratio(hits, counts.sum(1) + counts[:, : len(counts)].sum(0) - hits)


def ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """``part / whole`` element by element; NaN where the whole is 0."""
    result = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def mean_of_defined(values: NDArray[np.float64], otherwise: float = float("nan")) -> float:
    """Mean of the values that are not NaN; ``otherwise`` if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else otherwise


@dataclass(slots=True)
class RunningMean:
    """Mean of values that come one by one, or share of hits in a count.

    Attributes:
        total: Sum of the values.
        count: Number of values.
    """

    total: float = 0.0
    count: int = 0

    def add(self, value: float, count: int = 1) -> None:
        """Add a value, or the sum of several."""
        self.total += value
        self.count += count

    @property
    def value(self) -> float:
        """The mean; NaN without values."""
        return self.total / self.count if self.count else math.nan
