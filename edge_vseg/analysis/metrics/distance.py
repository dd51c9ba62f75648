"""mIoU by distance from the last keyframe."""

from __future__ import annotations

import math

import numpy as np

from edge_vseg.analysis.metrics.confusion import Confusion
from edge_vseg.analysis.metrics.label_checks import check_classes
from edge_vseg.errors import OptionError
from edge_vseg.types import LabelMap


class ByDistance:
    """One confusion matrix per distance from the last keyframe, in constant memory.

    Args:
        classes: Number of classes.
        max_distance: Frames; larger distances are counted under this one. At least 1.

    Raises:
        OptionError: If one of them is out of range.
    """

    def __init__(self, classes: int, max_distance: int = 32) -> None:
        check_classes(classes)
        if type(max_distance) is not int or max_distance < 1:
            raise OptionError(
                f"max_distance must be an int of 1 frame or more, got {max_distance!r}; 32 is the default"
            )
        self._classes = classes
        self._max_distance = max_distance
        self._confusions: dict[int, Confusion] = {}
        self._frames: dict[int, int] = {}

    def add(self, truth: LabelMap, labels: LabelMap, distance: int) -> None:
        """Add one frame.

        Args:
            truth: ``(H, W)`` uint8; pixels of :data:`~edge_vseg.types.IGNORE_ID` do not count.
            labels: ``(H, W)`` uint8, the prediction.
            distance: Frames since the last keyframe, 0 for a keyframe; ``Result.age_frames``.

        Raises:
            OptionError: If the distance is negative or not an int, one map is not a label map, the two differ in
                shape, or a counted pixel has an unknown class. Then nothing is counted.
        """
        if isinstance(distance, bool) or not isinstance(distance, int | np.integer) or distance < 0:
            raise OptionError(f"distance must be an int of 0 frames or more, got {distance!r}; a keyframe has 0")
        bucket = min(int(distance), self._max_distance)
        confusion = self._confusions.get(bucket) or Confusion(self._classes)
        confusion.add(truth, labels)
        self._confusions[bucket] = confusion
        self._frames[bucket] = self._frames.get(bucket, 0) + 1

    @property
    def miou(self) -> dict[int, float]:
        """By distance, in ascending order; NaN if all pixels were ignored."""
        return {
            distance: confusion.mean_iou if confusion.matrix.any() else math.nan
            for distance, confusion in sorted(self._confusions.items())
        }

    @property
    def frames(self) -> dict[int, int]:
        """Number of frames by distance, in ascending order."""
        return dict(sorted(self._frames.items()))
