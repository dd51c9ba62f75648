"""How the mIoU falls with the distance from the last keyframe."""

from __future__ import annotations

import math

import numpy as np

from edge_vseg.analysis.metrics.confusion import Confusion
from edge_vseg.analysis.metrics.label_checks import check_classes
from edge_vseg.errors import OptionError
from edge_vseg.types import LabelMap


class ByDistance:
    """One confusion matrix for each distance from the last keyframe; memory does not grow with the frames.

    Args:
        classes: Number of classes.
        most: Distances of ``most`` frames and more are counted together, under ``most``; 1 and more.

    Raises:
        OptionError: If one of them is out of range.
    """

    def __init__(self, classes: int, most: int = 32) -> None:
        check_classes(classes)
        if type(most) is not int or most < 1:
            raise OptionError(f"most must be an int of 1 frame or more, got {most!r}; 32 is the default")
        self._classes = classes
        self._most = most
        self._confusions: dict[int, Confusion] = {}
        self._frames: dict[int, int] = {}

    def add(self, truth: LabelMap, labels: LabelMap, distance: int) -> None:
        """Count one frame.

        Args:
            truth: ``(H, W)`` uint8; pixels of :data:`~edge_vseg.types.IGNORE_ID` do not count.
            labels: ``(H, W)`` uint8, the prediction.
            distance: Frames since the last keyframe, 0 for a keyframe itself; ``Result.age_frames`` is one.

        Raises:
            OptionError: If the distance is negative or no int, one map is no label map, the two differ in shape, or a
                counted pixel has an unknown class. Then nothing is counted.
        """
        if isinstance(distance, bool) or not isinstance(distance, int | np.integer) or distance < 0:
            raise OptionError(f"distance must be an int of 0 frames or more, got {distance!r}; a keyframe has 0")
        place = min(int(distance), self._most)
        confusion = self._confusions.get(place) or Confusion(self._classes)
        confusion.add(truth, labels)
        self._confusions[place] = confusion
        self._frames[place] = self._frames.get(place, 0) + 1

    @property
    def miou(self) -> dict[int, float]:
        """By distance, in ascending order, for those that occurred; NaN where all pixels were ignored."""
        return {
            distance: confusion.mean_iou if confusion.matrix.any() else math.nan
            for distance, confusion in sorted(self._confusions.items())
        }

    @property
    def frames(self) -> dict[int, int]:
        """By distance, in ascending order, the number of frames."""
        return dict(sorted(self._frames.items()))
