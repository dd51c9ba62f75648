"""Find segments of an older frame again by their looks, where the motion has lost them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion.field import sampling_grid
from edge_vseg.motion.segments import Segment, cut_segments
from edge_vseg.types import Image, LabelMap, Mask, MotionField

Grey = NDArray[np.uint8]
MARGIN = 16
"""Cells around the frame in which a segment may be on its way out."""
AGREES = 30
"""Grey levels: a cell that differs by less shows the segment."""
MARGIN_LEVELS = 3
"""Grey levels by which a segment has to explain a cell better than the map's own motion does."""
MOST_LEVELS = 30.0
"""What differs by more counts no more: it is hidden, however bright what hides it is."""
SEEN_SHARE = 0.35
"""A segment of which less is seen goes on as it went."""
QUIET_LEVELS = 3.0
"""Where the motion explains a segment's place better than that, there is nothing to look for."""
FIRST_RADIUS, STEPS = 6, 3
"""Cells to each side searched at first, for the flow underrates what is fast, and cells to go from there or later."""
STEP_LEVELS = 0.15
"""Grey levels that a cell of distance from the expected place counts for."""
SPEED_GAIN = 0.4
"""Weight of a new speed in the running mean."""
LEAST_FOUND = 4
"""Cells; fewer are chance."""
LEAST_AROUND = 0.4
"""Share of the 3x3 cells around one that have to be found for it to be."""
_GREY = np.full((1, 3), 1 / 3, np.float32)
_CROSS = ((0, -1), (0, 1), (-1, 0), (1, 0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundSegment:
    """Cells of a frame that show a segment.

    Attributes:
        label: Its class.
        rows, columns: Where in the frame.
        mask: ``(h, w)`` bool, which of these cells.
    """

    label: int
    rows: slice
    columns: slice
    mask: Mask


class SegmentMemory:
    """The segments of one frame, followed from frame to frame.

    Each is a template that moves on at its own speed. Its place is searched around the expected one, at the least
    difference with what is hidden counting no more than so much; where too little of it is seen, it goes on as it went,
    and can be found again when it comes out. A cell is found where the segment's picture fits, and fits better than
    what the motion carries there: so what the motion gets right stays as it is.

    Templates keep their size, so what comes closer fast is lost at its edges first.

    Args:
        classes: Classes whose segments are remembered.

    Reference: the purpose, not the means, is that of Cheng and Schwing, XMem: Long-Term Video Object Segmentation with
    an Atkinson-Shiffrin Memory Model, ECCV 2022; their memory holds features of a network, this one pictures.
    """

    def __init__(self, classes: Collection[int]) -> None:
        self._classes = tuple(classes)
        self._segments: list[Segment] = []
        self._picture: Image | None = None

    def __len__(self) -> int:
        return len(self._segments)

    def remember(self, picture: Image, labels: LabelMap, motion: MotionField | None) -> None:
        """Begin anew with the segments of a frame.

        Args:
            picture: ``(h, w, 3)`` uint8.
            labels: ``(h, w)`` uint8 class ids.
            motion: ``(h, w, 2)`` float32 in cells a frame, to the frame before; ``None`` if it is unknown.
        """
        self._picture = picture
        self._segments = cut_segments(picture, labels, motion, self._classes)

    def forget(self) -> None:
        """Forget all segments."""
        self._picture, self._segments = None, []

    def look(self, picture: Image, frames: int = 1) -> None:
        """Follow all segments into a frame ``frames`` after the last one."""
        view = _View(picture)
        self._segments = [each for each in self._segments if _follow(each, view, frames) is not None]

    def find(self, picture: Image, motion: MotionField, frames: int = 1) -> list[FoundSegment]:
        """Follow all segments into a frame, and find where they show what the motion does not.

        Args:
            picture: ``(h, w, 3)`` uint8.
            motion: ``(h, w, 2)`` float32 in cells, from there to the frame of the segments.
            frames: Frames since the last one.
        """
        if not self._segments or self._picture is None:
            return []
        positions = cv2.add(motion, sampling_grid((motion.shape[0], motion.shape[1])))
        carried = cv2.remap(self._picture, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        unexplained = _difference(picture, np.asarray(carried, np.uint8))
        view, kept, found = _View(picture), [], []
        for segment in self._segments:
            if _goes_along(segment, motion, unexplained, frames):
                kept.append(segment)
                continue
            place = _follow(segment, view, frames)
            if place is not None:
                kept.append(segment)
                found += _shown(segment, view, place, unexplained)
        self._segments = kept
        return found


def write_found(labels: LabelMap, found: Sequence[FoundSegment], picture_hw: tuple[int, int]) -> None:
    """Write the classes of what was found into a label map of any size, where a picture of ``picture_hw`` shows it."""
    (height, width), (tall, wide) = labels.shape, picture_hw
    for each in found:
        top, bottom = (round(row * height / tall) for row in (each.rows.start, each.rows.stop))
        left, right = (round(column * width / wide) for column in (each.columns.start, each.columns.stop))
        if bottom > top and right > left:
            share = cv2.resize(each.mask.astype(np.float32), (right - left, bottom - top))
            labels[top:bottom, left:right][np.asarray(share) > 0.5] = each.label


class _View:
    """A frame with a margin, in which segments are looked for."""

    def __init__(self, picture: Image) -> None:
        self.hw = picture.shape[0], picture.shape[1]
        color = cv2.copyMakeBorder(picture, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT)
        self.color: Image = np.asarray(color, np.uint8)
        self._grey = cv2.cvtColor(self.color, cv2.COLOR_BGR2GRAY)

    def has(self, segment: Segment, x: int, y: int) -> bool:
        """Whether a segment with its corner there is in the view."""
        (tall, wide), (height, width) = segment.mask.shape, self.hw
        return bool(-MARGIN <= x <= width + MARGIN - wide and -MARGIN <= y <= height + MARGIN - tall)

    def misfit(self, segment: Segment, x: int, y: int) -> float:
        """Mean difference of a segment with its corner there, in grey levels up to a limit; infinite outside."""
        if not self.has(segment, x, y):
            return np.inf
        (tall, wide), row, column = segment.mask.shape, y + MARGIN, x + MARGIN
        difference = cv2.absdiff(self._grey[row : row + tall, column : column + wide], segment.grey)
        cv2.min(difference, MOST_LEVELS, dst=difference)  # type: ignore[call-overload]
        return cv2.mean(difference, segment.mask.view(np.uint8))[0]

    def difference(self, segment: Segment, x: int, y: int) -> Grey:
        """Difference of each cell of a segment's box with its corner there: ``(h, w)`` uint8 grey levels."""
        (tall, wide), row, column = segment.mask.shape, y + MARGIN, x + MARGIN
        return _difference(self.color[row : row + tall, column : column + wide], segment.color)


_Place = tuple[int, int, Grey, Mask]
"""A segment's corner in the frame, the difference of its cells there, and which of them show it."""


def _follow(segment: Segment, view: _View, frames: int) -> _Place | None:
    """Move a segment on to where it is found, or expected; ``None`` if it has left."""
    x, y = segment.x + frames * segment.speed_x, segment.y + frames * segment.speed_y
    left, top = segment.left + round(x), segment.top + round(y)
    first = segment.looks == 0
    segment.looks += 1
    dx, dy = _search(segment, view, left, top, FIRST_RADIUS if first else 0)
    if view.has(segment, left + dx, top + dy):
        difference = view.difference(segment, left + dx, top + dy)
        shows = (difference < AGREES) & segment.mask
        if np.count_nonzero(shows) >= SEEN_SHARE * np.count_nonzero(segment.mask):
            gain = (1.0 if first else SPEED_GAIN) / frames
            segment.x, segment.y = x + dx, y + dy
            segment.speed_x += gain * dx
            segment.speed_y += gain * dy
            return left + dx, top + dy, difference, shows
    if not view.has(segment, left, top):
        return None
    segment.x, segment.y = x, y
    difference = view.difference(segment, left, top)
    return left, top, difference, (difference < AGREES) & segment.mask


def _search(segment: Segment, view: _View, left: int, top: int, radius: int) -> tuple[int, int]:
    """Cells from the expected place to the best: sideways in twos, then downhill."""

    def misfit(dx: int, dy: int) -> float:
        return view.misfit(segment, left + dx, top + dy) + STEP_LEVELS * (abs(dx) + abs(dy))

    tried = {(dx, 0): misfit(dx, 0) for dx in range(-radius, radius + 1, 2)}
    best = min(tried, key=lambda place: tried[place])
    for _ in range(STEPS):
        around = [(best[0] + dx, best[1] + dy) for dx, dy in _CROSS]
        tried |= {place: misfit(*place) for place in around if place not in tried}
        last, best = best, min(tried, key=lambda place: tried[place])
        if best == last:
            break
    return best


def _goes_along(segment: Segment, motion: MotionField, unexplained: Grey, frames: int) -> bool:
    """Move a segment on along the motion, where that explains the picture; returns whether it does."""
    if segment.looks == 0:
        return False
    (tall, wide), (height, width) = segment.mask.shape, unexplained.shape
    x, y = segment.x + frames * segment.speed_x, segment.y + frames * segment.speed_y
    left, top = segment.left + round(x), segment.top + round(y)
    if not (0 <= left <= width - wide and 0 <= top <= height - tall):
        return False
    box, mask = np.s_[top : top + tall, left : left + wide], segment.mask.view(np.uint8)
    if cv2.mean(unexplained[box], mask)[0] >= QUIET_LEVELS:
        return False
    back_x, back_y, *_ = cv2.mean(motion[box], mask)
    if abs(back_x + x) + abs(back_y + y) > 1.5:  # it explains the place by something else
        return False
    gain = SPEED_GAIN / frames
    segment.speed_x -= gain * (back_x + x)
    segment.speed_y -= gain * (back_y + y)
    segment.x, segment.y = -back_x, -back_y
    segment.looks += 1
    return True


def _shown(segment: Segment, view: _View, place: _Place, unexplained: Grey) -> list[FoundSegment]:
    """Where a segment shows itself, and the motion shows something else: at most one."""
    left, top, difference, shows = place
    (tall, wide), (height, width) = segment.mask.shape, view.hw
    rows, columns = slice(max(0, top), min(height, top + tall)), slice(max(0, left), min(width, left + wide))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return []
    own = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    gain = unexplained[rows, columns].astype(np.int16) - difference[own]
    better = shows[own] & (gain > MARGIN_LEVELS)
    if np.count_nonzero(better) < LEAST_FOUND:
        return []
    around = cv2.boxFilter(better.view(np.uint8), cv2.CV_32F, (3, 3), borderType=cv2.BORDER_CONSTANT)
    mask = (np.asarray(around) > LEAST_AROUND) & shows[own]
    return [FoundSegment(label=segment.label, rows=rows, columns=columns, mask=mask)] if mask.any() else []


def _difference(first: Image, second: Image) -> Grey:
    """Mean absolute difference of the channels over the 3x3 cells around each, in levels: ``(h, w)`` uint8."""
    mean = cv2.transform(cv2.absdiff(first, second), _GREY)
    return np.asarray(cv2.blur(mean, (3, 3), borderType=cv2.BORDER_REPLICATE), np.uint8)
