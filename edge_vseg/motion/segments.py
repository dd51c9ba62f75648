"""Segments of a frame: connected cells of a class that move together, with their looks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import Image, LabelMap, Mask, MotionField

LEAST_CELLS = 16
"""Smaller segments look like too much else."""
MOST_SEGMENTS = 24
"""The largest are kept; each costs some hundredths of a millisecond on every frame."""
EVEN_MOTION = 0.3
"""Cells: a segment whose motion has a smaller standard deviation is one."""
ANOTHER_MOTION, ANOTHER_SHARE = 0.6, 0.15
"""Cells a frame by which the motion of another thing differs, and the share of the segment that it has at least."""


@dataclass(slots=True, kw_only=True, eq=False)
class Segment:
    """Connected cells of one class, and where they are by now.

    Attributes:
        label: Its class.
        left, top: Cells from the frame's corner to that of its box, in its own frame.
        mask: ``(h, w)`` bool, its cells in the box.
        color: ``(h, w, 3)`` uint8, the box of its own frame.
        grey: ``(h, w)`` uint8, the same in grey.
        x, y: Cells by which it has moved since.
        speed_x, speed_y: Cells by which it moves from frame to frame.
        looks: How often it was looked for.
    """

    label: int
    left: int
    top: int
    mask: Mask
    color: Image
    grey: NDArray[np.uint8]
    x: float = 0.0
    y: float = 0.0
    speed_x: float
    speed_y: float
    looks: int = 0


def cut_segments(
    picture: Image, labels: LabelMap, motion: MotionField | None, classes: Collection[int]
) -> list[Segment]:
    """Cut a frame into its segments.

    Two cars in one another's way are one patch of their class. The motion tells them apart, as far as it sees both.

    Args:
        picture: ``(h, w, 3)`` uint8, the frame.
        labels: ``(h, w)`` uint8 class ids.
        motion: ``(h, w, 2)`` float32 in cells, to the frame before; ``None`` if there is none.
        classes: Classes whose segments are wanted.

    Returns:
        Segments of :data:`LEAST_CELLS` or more, the largest :data:`MOST_SEGMENTS` patches first.
    """
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    patches = [(label, *patch) for label in classes for patch in _patches(labels == label)]
    patches.sort(key=lambda patch: -np.count_nonzero(patch[3]))
    segments: list[Segment] = []
    for label, left, top, mask in patches[:MOST_SEGMENTS]:
        for part, (speed_x, speed_y) in _parts(mask, motion, left, top):
            x, y, wide, tall = cv2.boundingRect(part.view(np.uint8))
            box = np.s_[top + y : top + y + tall, left + x : left + x + wide]
            segments.append(
                Segment(
                    label=label,
                    left=left + x,
                    top=top + y,
                    mask=np.ascontiguousarray(part[y : y + tall, x : x + wide]),
                    color=picture[box].copy(),
                    grey=grey[box].copy(),
                    speed_x=speed_x,
                    speed_y=speed_y,
                )
            )
    return segments[:MOST_SEGMENTS]


def _patches(mask: Mask) -> list[tuple[int, int, Mask]]:
    """Left, top and mask of each connected patch that is large enough."""
    count, ids, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    found = []
    for number in range(1, count):
        left, top, wide, tall, cells = (int(value) for value in boxes[number])
        if cells >= LEAST_CELLS:
            found.append((left, top, ids[top : top + tall, left : left + wide] == number))
    return found


def _parts(mask: Mask, motion: MotionField | None, left: int, top: int) -> list[tuple[Mask, tuple[float, float]]]:
    """The parts of a patch that move differently, each with its speed in cells a frame."""
    if motion is None:
        return [(mask, (0.0, 0.0))]
    moves = -motion[top : top + mask.shape[0], left : left + mask.shape[1]]
    mean, spread = cv2.meanStdDev(moves, mask=mask.view(np.uint8))
    if spread.max() < EVEN_MOTION:
        return [(mask, (float(mean[0, 0]), float(mean[1, 0])))]
    # That of a cell in the middle of all, not between the two halves.
    cells = moves[mask]
    speed_x, speed_y = cells[cells[:, 0].argsort()[(len(cells) - 1) // 2]].tolist()
    for _ in range(2):
        near = (np.abs(moves - np.array((speed_x, speed_y), np.float32)).max(axis=-1) < ANOTHER_MOTION) & mask
        if near.any():
            speed_x, speed_y = _median(moves, near)
    far = mask & ~near
    if np.count_nonzero(far) < max(LEAST_CELLS, ANOTHER_SHARE * np.count_nonzero(mask)):
        return [(mask, (speed_x, speed_y))]
    closed = cv2.morphologyEx(far.view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    parts, rest = [], mask.copy()
    for x, y, patch in _patches(np.asarray(closed, np.uint8).view(np.bool_)):
        part = np.zeros_like(mask)
        part[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
        part &= mask
        if np.count_nonzero(part) >= LEAST_CELLS:
            rest &= ~part
            parts.append((part, _median(moves, part)))
    if np.count_nonzero(rest) >= LEAST_CELLS:
        parts.append((rest, (speed_x, speed_y)))
    return parts


def _median(moves: MotionField, mask: Mask) -> tuple[float, float]:
    x, y = np.median(moves[mask], axis=0)
    return float(x), float(y)
