"""How far the ground ahead is free: rows of the image up to the first pixel of another class, from the bottom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.labels import ids_by_name
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import FrameError, OptionError
from edge_vseg.types import LabelMap, Mask


def class_ids(labels: Sequence[Label], names: Iterable[str]) -> frozenset[int]:
    """Ids of classes by name; all of them where an old bundle has several of one name.

    Args:
        labels: The classes of a bundle, such as ``segmenter.labels``.
        names: Names of some of them.

    Raises:
        OptionError: If a name is unknown, or there is none.
    """
    known = ids_by_name(labels)
    wanted = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise OptionError(f"expected names of classes, got {unknown or wanted}; known: {', '.join(known)}")
    return frozenset(number for name in wanted for number in known[name])


def class_mask(labels: LabelMap, classes: Iterable[int]) -> Mask:
    """Where a label map has one of some classes.

    Args:
        labels: ``(H, W)`` uint8.
        classes: Class ids.

    Returns:
        ``(H, W)`` bool.

    Raises:
        FrameError: If it is no label map.
        OptionError: If an id is not from 0 to 255.
    """
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype != np.uint8 or 0 in labels.shape:
        shown = f"{labels.shape} {labels.dtype}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise FrameError(f"expected a (H, W) uint8 label map, got {shown}; give result.labels")
    table = np.zeros((1, 256), np.uint8)
    for number in classes:
        if not 0 <= number <= 255:
            raise OptionError(f"class ids are from 0 to 255, got {number}")
        table[0, number] = 1
    return np.asarray(cv2.LUT(labels, table)).view(np.bool_)


def free_distance(labels: LabelMap, classes: Iterable[int]) -> NDArray[np.int32]:
    """Free rows of each column, counted from the bottom of the image up to the first pixel of another class.

    A pixel without a class (255) is not free, unless 255 is among the classes. If the camera sees the robot itself at
    the bottom, such as a bonnet, cut those rows off: ``labels[:430]``.

    Args:
        labels: ``(H, W)`` uint8.
        classes: Ids of the classes that can be driven on; see :func:`class_ids`.

    Returns:
        ``(W,)`` int32, 0 to H.

    Raises:
        FrameError: If it is no label map.
        OptionError: If an id is not from 0 to 255.
    """
    upwards = ~class_mask(labels, classes)[::-1]
    first = upwards.argmax(axis=0)
    blocked = upwards[first, np.arange(labels.shape[1])]
    return np.asarray(np.where(blocked, first, labels.shape[0]), np.int32)


def free_polygon(labels: LabelMap, classes: Iterable[int]) -> NDArray[np.int32]:
    """The outline of the free space that :func:`free_distance` measures.

    Its area is the number of free pixels. Pixel ``(x, y)`` is the square from ``(x, y)`` to ``(x + 1, y + 1)``.

    Args:
        labels: ``(H, W)`` uint8.
        classes: Ids of the classes that can be driven on.

    Returns:
        ``(N, 2)`` int32 corners ``(x, y)``, clockwise on the screen from the bottom left corner of the image; along
        columns without free space it runs on the bottom edge. Empty if nothing is free.

    Raises:
        FrameError: If it is no label map.
        OptionError: If an id is not from 0 to 255.
    """
    height, width = labels.shape[:2] if isinstance(labels, np.ndarray) and labels.ndim == 2 else (0, 0)
    tops = height - free_distance(labels, classes)
    if (tops == height).all():
        return np.empty((0, 2), np.int32)
    steps = np.flatnonzero(np.diff(tops)) + 1  # columns at which the outline goes up or down
    edges = np.concatenate(([0], np.repeat(steps, 2), [width]))
    heights = np.repeat(tops[np.concatenate(([0], steps))], 2)
    corners = np.column_stack((edges, heights))
    return np.concatenate(([[0, height]], corners, [[width, height]])).astype(np.int32)
