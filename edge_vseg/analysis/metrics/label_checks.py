"""What every metric asks of its label maps, before it counts anything."""

from __future__ import annotations

import numpy as np

from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID, LabelMap

MAX_CLASSES = 255
"""Ids are uint8, and 255 is :data:`~edge_vseg.types.IGNORE_ID`."""


def check_classes(classes: int) -> None:
    """Refuse a number of classes that label maps cannot hold.

    Raises:
        OptionError: If it is no int from 1 to :data:`MAX_CLASSES`.
    """
    if type(classes) is not int or not 1 <= classes <= MAX_CLASSES:
        raise OptionError(
            f"classes must be an int from 1 to {MAX_CLASSES}, got {classes!r}; give the number of the bundle's labels"
        )


def check_map(name: str, labels: LabelMap) -> None:
    """Refuse what is no label map.

    Args:
        name: What the message calls it.
        labels: Should be ``(H, W)`` uint8, with a pixel at least.

    Raises:
        OptionError: If it is something else.
    """
    if not isinstance(labels, np.ndarray):
        raise OptionError(f"{name}: expected an (H, W) uint8 array, got {type(labels).__name__}; use numpy.asarray")
    if labels.ndim != 2 or labels.dtype != np.uint8 or not labels.size:
        raise OptionError(
            f"{name}: expected an (H, W) uint8 map of class ids, got {labels.shape} {labels.dtype}; "
            "give one frame at a time, as astype(numpy.uint8)"
        )


def check_pair(truth: LabelMap, labels: LabelMap) -> None:
    """Refuse two maps that cannot be compared pixel by pixel.

    Raises:
        OptionError: If one is no label map, or they differ in shape.
    """
    check_map("truth", truth)
    check_map("labels", labels)
    if truth.shape != labels.shape:
        raise OptionError(
            f"expected two maps of one shape, got {truth.shape} and {labels.shape}; "
            "resize the labels to the truth, nearest neighbour"
        )


def check_ids(name: str, labels: LabelMap, classes: int) -> None:
    """Refuse ids that are neither a class nor :data:`~edge_vseg.types.IGNORE_ID`.

    Raises:
        OptionError: If there is one.
    """
    # One more, and 255 has become 0: the largest of the others in one pass.
    largest = int((labels + np.uint8(1)).max()) - 1
    if largest >= classes:
        raise unknown_class(classes, largest, name)


def check_same_video(size_hw: tuple[int, ...], before_hw: tuple[int, ...] | None, way_out: str) -> None:
    """Refuse a frame whose size is not that of the frames before it.

    Args:
        size_hw: Of this frame.
        before_hw: Of the frames before; ``None`` if there are none.
        way_out: How the caller says that another video begins.

    Raises:
        OptionError: If they differ.
    """
    if before_hw is not None and size_hw != before_hw:
        raise OptionError(
            f"expected maps of {before_hw} as in the frames before, got {size_hw}; if another video begins, {way_out}"
        )


def unknown_class(classes: int, found: int, name: str = "") -> OptionError:
    """The error for a pixel of a class that a metric does not have."""
    where = f"{name}: " if name else ""
    what = f"{found}, which means no class" if found == IGNORE_ID else f"{found}"
    return OptionError(f"{where}expected class ids below {classes}, got {what}; do the maps belong to these classes?")
