"""Check label maps before a metric counts anything."""

from __future__ import annotations

import numpy as np

from edge_vseg.errors import OptionError
from edge_vseg.types import IGNORE_ID, LabelMap

MAX_CLASSES = 255
"""Ids are uint8, and 255 is :data:`~edge_vseg.types.IGNORE_ID`."""


def check_classes(classes: int) -> None:
    """Check the number of classes.

    Raises:
        OptionError: If it is not an int from 1 to :data:`MAX_CLASSES`.
    """
    if type(classes) is not int or not 1 <= classes <= MAX_CLASSES:
        raise OptionError(
            f"classes must be an int from 1 to {MAX_CLASSES}, got {classes!r}; give the number of the bundle's labels"
        )


def check_map(name: str, labels: LabelMap) -> None:
    """Check that an array is a label map.

    Args:
        name: Its name in the message.
        labels: The array.

    Raises:
        OptionError: If it is not ``(H, W)`` uint8 with at least one pixel.
    """
    if not isinstance(labels, np.ndarray):
        raise OptionError(f"{name}: expected an (H, W) uint8 array, got {type(labels).__name__}; use numpy.asarray")
    if labels.ndim != 2 or labels.dtype != np.uint8 or not labels.size:
        raise OptionError(
            f"{name}: expected an (H, W) uint8 map of class ids, got {labels.shape} {labels.dtype}; "
            "give one frame at a time, with astype(numpy.uint8)"
        )


def check_pair(truth: LabelMap, labels: LabelMap) -> None:
    """Check that two maps can be compared pixel by pixel.

    Raises:
        OptionError: If one is not a label map, or they differ in shape.
    """
    check_map("truth", truth)
    check_map("labels", labels)
    if truth.shape != labels.shape:
        raise OptionError(
            f"expected two maps of one shape, got {truth.shape} and {labels.shape}; "
            "resize the labels to the truth by nearest neighbour"
        )


def check_ids(name: str, labels: LabelMap, classes: int) -> None:
    """Check that all ids are a class or :data:`~edge_vseg.types.IGNORE_ID`.

    Raises:
        OptionError: If one is not.
    """
    # Adding one turns 255 into 0, so the largest other id takes one pass.
    largest = int((labels + np.uint8(1)).max()) - 1
    if largest >= classes:
        raise unknown_class(classes, largest, name)


def check_same_video(size_hw: tuple[int, ...], previous_hw: tuple[int, ...] | None, next_step: str) -> None:
    """Check that a frame has the size of the previous frames.

    Args:
        size_hw: Size of this frame.
        previous_hw: Size of the previous frames; ``None`` without any.
        next_step: What to do for another video, for the message.

    Raises:
        OptionError: If they differ.
    """
    if previous_hw is not None and size_hw != previous_hw:
        raise OptionError(
            f"expected maps of {previous_hw} like the previous frames, got {size_hw}; for another video, {next_step}"
        )


def unknown_class(classes: int, found: int, name: str = "") -> OptionError:
    """The error for a pixel whose class is unknown."""
    where = f"{name}: " if name else ""
    what = f"{found}, which means no class" if found == IGNORE_ID else f"{found}"
    return OptionError(f"{where}expected class ids below {classes}, got {what}; do the maps belong to these classes?")
