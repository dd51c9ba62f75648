"""Label maps from coarse scores that are interpolated only where classes meet.

A class that wins at all four cells around a pixel wins at the pixel, too: bilinear interpolation keeps an order that
all four share. In street scenes that leaves a twelfth of the pixels. There the same rule drops every class that a
winner beats at all four cells, and where two classes remain the sign of their difference decides: the cost hardly
depends on the number of classes.

With a guide, the border between two cells is where the image says; see :mod:`~edge_vseg.imaging.guided_filter`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.imaging.guided_filter import Grey, fit_to_grey
from edge_vseg.types import LabelMap, Logits, Probabilities, Size

MAX_BORDER_SHARE = 0.4
"""Share of border intervals above which interpolating every pixel is no slower."""
MAX_BATCH = 2**20
"""Interpolated values held at a time where more than two classes compete."""

_Floats: TypeAlias = NDArray[np.float32]
_Ints: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Axis:
    """The pixels between neighbouring cells along one axis: intervals, one more than cells.

    Before the first cell and after the last one the outermost cell counts twice.

    Attributes:
        before: ``(n,)`` index of the cell before each interval.
        after: ``(n,)`` index of the cell after it.
        pixels: ``(most, n)`` the interval's pixels; the last one again where there are fewer than in the longest.
        weights: ``(most, n)`` weight of the cell after.
        filled: ``(n,)`` bool, whether an interval has pixels.
        cells: ``(pixels,)`` index of a cell beside each pixel.
    """

    before: _Ints
    after: _Ints
    pixels: _Ints
    weights: _Floats
    filled: NDArray[np.bool_]
    cells: _Ints

    @classmethod
    def of(cls, source: int, target: int, align: str) -> _Axis:
        places = sample_places(source, target, align)
        interval = np.floor(places).astype(np.intp) + 1
        first = np.searchsorted(interval, np.arange(source + 1))
        count = np.bincount(interval, minlength=source + 1)
        steps = np.minimum(np.arange(count.max())[:, None], np.maximum(count - 1, 0))
        pixels = np.minimum(first + steps, target - 1)
        return cls(
            before=np.maximum(np.arange(source + 1) - 1, 0),
            after=np.minimum(np.arange(source + 1), source - 1),
            pixels=pixels,
            weights=(places - np.floor(places)).astype(np.float32)[pixels],
            filled=count > 0,
            cells=np.clip(interval - 1, 0, source - 1),
        )


class BorderLabels:
    """Makes label maps of one size from scores of one size, at least twice as small in both directions.

    Args:
        source_hw: Size of the scores.
        size_hw: Size of the label maps.
        align: Sampling grid: ``half_pixel``, ``align_corners`` or ``asymmetric``.
    """

    def __init__(self, source_hw: Size, size_hw: Size, align: str) -> None:
        self.source_hw = source_hw
        self._size_hw = size_hw
        self._rows, self._columns = (
            _Axis.of(source, target, align) for source, target in zip(source_hw, size_hw, strict=True)
        )
        self._filled = self._rows.filled[:, None] & self._columns.filled

    def __call__(self, scores: Logits | Probabilities, guide: Grey | None = None) -> LabelMap | None:
        """The label map of class scores.

        Args:
            scores: ``(C, h, w)`` float32.
            guide: ``(H, W)`` uint8, the image that the borders follow; ``None`` for linear interpolation.

        Returns:
            ``(H, W)`` uint8; ``None`` without a guide if most of it is border.
        """
        coarse = best_class(scores)
        # Beyond the outermost cells their values continue.
        padded = cv2.copyMakeBorder(coarse, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        top, left = padded[:-1], padded[:, :-1]
        is_border = (left[:-1] != padded[:-1, 1:]) | (left[1:] != padded[1:, 1:]) | (top[:, :-1] != padded[1:, :-1])
        rows, columns = np.nonzero(is_border & self._filled)
        if guide is None and len(rows) > MAX_BORDER_SHARE * is_border.size:
            return None
        # A class of a cell beside each pixel.
        labels = coarse.take(self._columns.cells, axis=1).take(self._rows.cells, axis=0)
        if len(rows) == 0:
            return labels
        above, below = (cells[rows] * scores.shape[2] for cells in (self._rows.before, self._rows.after))
        before, after = self._columns.before[columns], self._columns.after[columns]
        around = np.stack([row + column for row, column in itertools.product((above, below), (before, after))])
        winners = coarse.reshape(-1).take(around)
        # take() and not [:, rows], whose result is laid out column by column: four times slower ever after.
        down, across = self._rows.weights.take(rows, axis=1), self._columns.weights.take(columns, axis=1)
        y, x = self._rows.pixels.take(rows, axis=1), self._columns.pixels.take(columns, axis=1)
        pixels = (y * labels.shape[1])[:, None] + x
        if guide is None:
            drawn = _decide(_corners(scores, around), winners, down, across)
        else:
            drawn = _decide_by_guide(scores, guide, around, winners, guide.reshape(-1).take(pixels), down, across)
        labels.reshape(-1)[pixels] = drawn
        return labels


def best_class(planes: _Floats) -> LabelMap:
    """``argmax`` over the classes, several times faster than numpy's.

    Args:
        planes: ``(C, h, w)`` float32, C at most 255.

    Returns:
        ``(h, w)`` uint8; on ties the lower class wins.
    """
    best = planes[0].copy()
    labels = np.zeros(best.shape, np.uint8)
    wins, number = np.empty_like(labels), np.empty_like(labels)
    for class_id in range(1, len(planes)):
        cv2.compare(planes[class_id], best, cv2.CMP_GT, dst=wins)
        cv2.max(best, planes[class_id], dst=best)
        number.fill(class_id)
        cv2.min(wins, number, dst=wins)  # several times faster than np.minimum with a number
        # Ids ascend: where this class wins, its id is the largest so far, so max() overwrites.
        cv2.max(labels, wins, dst=labels)
    return labels


def sample_places(source: int, target: int, align: str) -> NDArray[np.float64]:
    """Where each target pixel of an axis lies among the source cells, as ONNX Resize defines it."""
    pixels = np.arange(target, dtype=np.float64)
    match align:
        case "half_pixel":
            places = (pixels + 0.5) * (source / target) - 0.5
        case "align_corners":
            places = pixels * ((source - 1) / max(target - 1, 1))
        case _:
            places = pixels * (source / target)
    return np.asarray(places, np.float64)


def _decide(corners: _Floats, winners: NDArray[np.uint8], down: _Floats, across: _Floats) -> NDArray[np.uint8]:
    """Labels between cells.

    Args:
        corners: ``(4, C, n)`` scores at the four cells around each of n intervals.
        winners: ``(4, n)`` their best classes.
        down: ``(rows, n)`` weights of the lower cells.
        across: ``(columns, n)`` weights of the right ones.

    Returns:
        ``(rows, columns, n)`` class ids.
    """
    low, high = winners.min(axis=0), winners.max(axis=0)
    lower, higher = _of_class(corners, low), _of_class(corners, high)
    others = _others(corners, lower, higher)
    ahead = _between(higher - lower, down, across) > 0
    labels: LabelMap = ahead.view(np.uint8) * (high - low) + low
    many = np.flatnonzero(((winners != low) & (winners != high)).any(axis=0) | others.any(axis=0))
    if len(many) == 0:
        return labels
    competing = np.asarray(others[:, many].any(axis=1))
    competing[winners[:, many]] = True
    ids = np.flatnonzero(competing).astype(np.uint8)
    batches = -(-len(many) * len(ids) * len(down) * len(across) // MAX_BATCH)
    for part in np.array_split(many, batches):
        between = _between(
            corners.take(ids, axis=1).take(part, axis=2), down.take(part, axis=1), across.take(part, axis=1)
        )
        best = best_class(between.reshape(len(ids), len(down), -1))
        labels[..., part] = ids[best].reshape(between.shape[1:])
    return labels


def _decide_by_guide(
    scores: Logits | Probabilities,
    guide: Grey,
    around: _Ints,
    winners: NDArray[np.uint8],
    grey: Grey,
    down: _Floats,
    across: _Floats,
) -> NDArray[np.uint8]:
    """Labels between cells, of classes that win at one of them.

    Args:
        scores: ``(C, h, w)`` scores.
        guide: ``(H, W)`` grey picture.
        around: ``(4, n)`` the cells around each of n intervals.
        winners: ``(4, n)`` their best classes.
        grey: ``(rows, columns, n)`` grey levels of the intervals' pixels.
        down: ``(rows, n)`` weights of the lower cells.
        across: ``(columns, n)`` weights of the right ones.

    Returns:
        ``(rows, columns, n)`` class ids.
    """
    present = np.unique(winners)  # sorted; in a scene there are few classes of many
    place = np.zeros(256, np.intp)
    place[present] = np.arange(len(present)) * (scores.shape[1] * scores.shape[2])
    fitted = fit_to_grey(scores[present], guide)

    def difference(one: NDArray[np.uint8], other: NDArray[np.uint8], part: _Ints | slice = slice(None)) -> _Floats:
        """How far one class is ahead of another at each pixel."""
        to_one, to_other = place[one] + around[:, part], place[other] + around[:, part]
        slope, offset = (
            _between(plane.take(to_one) - plane.take(to_other), down[:, part], across[:, part])
            for plane in (fitted.slope, fitted.offset)
        )
        slope *= grey[..., part]
        slope += offset
        return slope

    low, high = winners.min(axis=0), winners.max(axis=0)
    labels: LabelMap = (difference(high, low) > 0).view(np.uint8) * (high - low) + low
    many = np.flatnonzero(((winners != low) & (winners != high)).any(axis=0))
    if len(many):
        four = np.sort(winners[:, many], axis=0)
        ahead = np.stack([difference(each, four[0], many) for each in four])
        labels[..., many] = np.take_along_axis(four[:, None, None], ahead.argmax(axis=0)[None], axis=0)[0]
    return labels


def _corners(scores: Logits | Probabilities, around: _Ints) -> _Floats:
    """The scores ``(4, C, n)`` at the cells around each interval."""
    corners = np.empty((4, len(scores), around.shape[1]), np.float32)
    for cells, out in zip(around, corners, strict=True):
        # mode="raise" would make numpy copy first.
        np.take(scores.reshape(len(scores), -1), cells, 1, out=out, mode="clip")
    return corners


def _of_class(corners: _Floats, ids: NDArray[np.uint8]) -> _Floats:
    """The scores ``(4, n)`` of one class per interval."""
    count = corners.shape[2]
    chosen: _Floats = corners.reshape(4, -1).take(ids.astype(np.intp) * count + np.arange(count), axis=1)
    return chosen


def _others(corners: _Floats, lower: _Floats, higher: _Floats) -> NDArray[np.bool_]:
    """``(C, n)`` bool: the classes that two rivals leave a chance, for neither of them is ahead at all four cells."""
    others = np.ones(corners.shape[1:], np.bool_)
    for rival in (lower, higher):
        behind = corners[0] <= rival[0]
        for corner, best in zip(corners[1:], rival[1:], strict=True):
            behind &= corner <= best
        others &= ~behind
    return others


def _between(corners: _Floats, down: _Floats, across: _Floats) -> _Floats:
    """Interpolate ``(4, ..., n)`` values to ``(..., rows, columns, n)``."""
    top_left, top_right, bottom_left, bottom_right = corners[..., None, :]
    top = top_left + (top_right - top_left) * across
    bottom = bottom_left + (bottom_right - bottom_left) * across
    bottom -= top
    between: _Floats = bottom[..., None, :, :] * down[:, None]
    between += top[..., None, :, :]
    return between
